#!/usr/bin/env bash
# Trains on a Cloud TPU slice: copies the repository to all its hosts, installs it, and starts it.
#
#   launch/tpu_vm.sh NAME ZONE --config=configs/regnetz.py:4gf --workdir=/mnt/shared/runs/regnetz-4gf
#
# The workdir must be on a disk that all hosts see: a Filestore, or another NFS. PYTHON names the
# hosts' interpreter, 3.11 or later. DRY_RUN=1 prints the commands instead.
set -euo pipefail

if (($# < 3)); then
  sed -n '2,7s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2
  exit 2
fi
name=$1 zone=$2
shift 2

run() {
  if [[ ${DRY_RUN:-} ]]; then
    printf '%q ' "$@"
    echo
  else
    "$@"
  fi
}

archive=$(mktemp --suffix=.tar.gz)
trap 'rm -f "$archive"' EXIT
git -C "$(dirname "${BASH_SOURCE[0]}")/.." archive --format=tar.gz --output="$archive" HEAD

on_all=(--zone="$zone" --worker=all)
run gcloud compute tpus tpu-vm scp "$archive" "$name:fastscale.tar.gz" "${on_all[@]}"
set_up="mkdir -p fastscale && tar -xzf fastscale.tar.gz -C fastscale && cd fastscale"
set_up+=" && ${PYTHON:-python3} -m venv .venv && .venv/bin/pip install -q -c requirements.lock -e '.[tpu,data]'"
run gcloud compute tpus tpu-vm ssh "$name" "${on_all[@]}" --command="$set_up"
train="cd fastscale && source launch/env.sh && .venv/bin/python -m fastscale_jax.main --distributed=yes"
run gcloud compute tpus tpu-vm ssh "$name" "${on_all[@]}" --command="$train$(printf ' %q' "$@")"
