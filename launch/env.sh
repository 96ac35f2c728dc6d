# shellcheck shell=bash
# Settings that matter for speed and memory; every script here reads them. What is set already stays.

# Programs compiled once are taken from here the next time. On a cluster: a folder that all hosts see.
export JAX_COMPILATION_CACHE_DIR="${JAX_COMPILATION_CACHE_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/fastscale_jax/programs}"

# The share of a GPU's memory that JAX takes at its start; the rest is for NCCL and the display.
export XLA_PYTHON_CLIENT_MEM_FRACTION="${XLA_PYTHON_CLIENT_MEM_FRACTION:-0.92}"

# Collectives: a step has one reduction, of one array, so that there is nothing to combine or to overlap.
# What NCCL cannot do is said; a network that it guesses wrongly is named here: eth0, ib0, hsn0.
export NCCL_DEBUG="${NCCL_DEBUG:-WARN}"
# export NCCL_SOCKET_IFNAME=ib0

# Several processes on CPUs sum their gradients by Gloo, which comes with JAX.
export JAX_CPU_COLLECTIVES_IMPLEMENTATION="${JAX_CPU_COLLECTIVES_IMPLEMENTATION:-gloo}"
# XLA aborts a process whose devices wait 40 s for a sum, as they do while another process still compiles;
# a run that hangs is ended by --peer_timeout and --hang_timeout, with a word of why.
patience=xla_cpu_collective_call
export XLA_FLAGS="--${patience}_warn_stuck_timeout_seconds=600 --${patience}_terminate_timeout_seconds=1800 ${XLA_FLAGS:-}"

# A proxy would swallow what processes of one machine have to tell one another; on a cluster, add its hosts.
export NO_PROXY="${NO_PROXY:+$NO_PROXY,}localhost,127.0.0.1"

export PYTHONUNBUFFERED=1 # logs appear as they are written
