#!/usr/bin/env bash
# Trains on all devices of this machine, in one process.
#
#   launch/local.sh --config=configs/regnetz.py:500mf --workdir=runs/regnetz
set -euo pipefail
# shellcheck source=launch/env.sh
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"
exec "${PYTHON:-python}" -m fastscale_jax.main "$@"
