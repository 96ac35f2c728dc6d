# shellcheck shell=bash
# Settings that matter for speed and memory; every script here reads them. What is set already stays.

# Programs compiled once are taken from here the next time. On a cluster: a folder that all hosts see.
export JAX_COMPILATION_CACHE_DIR="${JAX_COMPILATION_CACHE_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/fastscale_jax/programs}"

# The share of a GPU's memory that JAX takes at its start; the rest is for NCCL and the display.
export XLA_PYTHON_CLIENT_MEM_FRACTION="${XLA_PYTHON_CLIENT_MEM_FRACTION:-0.92}"

# What NCCL cannot do is said; a network that it guesses wrongly is named here: eth0, ib0, hsn0.
export NCCL_DEBUG="${NCCL_DEBUG:-WARN}"
# export NCCL_SOCKET_IFNAME=ib0

# Several processes on CPUs sum their gradients by Gloo, which comes with JAX.
export JAX_CPU_COLLECTIVES_IMPLEMENTATION="${JAX_CPU_COLLECTIVES_IMPLEMENTATION:-gloo}"

# A proxy between the hosts of a cluster would swallow what they have to tell one another.
export NO_PROXY="${NO_PROXY:+$NO_PROXY,}localhost,127.0.0.1"

export PYTHONUNBUFFERED=1 # logs appear as they are written
