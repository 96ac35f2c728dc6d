#!/usr/bin/env bash
# Trains in several processes on this machine's CPU, as several hosts would: to see that it works.
#
#   launch/multiprocess_cpu.sh PROCESSES DEVICES_OF_EACH --config=… --workdir=…
#
# SIGTERM and Ctrl-C stop all processes, which save first. Ends with the status of the first that
# failed, or 0.
set -euo pipefail
# shellcheck source=launch/env.sh
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"

if (($# < 3)); then
  sed -n '2,7s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2
  exit 2
fi
processes=$1 devices=$2
shift 2
python=${PYTHON:-python}
port=$("$python" -c 'import socket; s = socket.socket(); s.bind(("", 0)); print(s.getsockname()[1])')

pids=()
# shellcheck disable=SC2317,SC2329 # the trap calls it
stop() {
  ((${#pids[@]} == 0)) || kill "${pids[@]}" 2>/dev/null || true
}
# the shell starts background jobs deaf to Ctrl-C; those that listen by now take the first signal
trap stop TERM INT

for ((index = 0; index < processes; index++)); do
  JAX_PLATFORMS=cpu JAX_NUM_CPU_DEVICES=$devices "$python" -m fastscale_jax.main "$@" \
    --coordinator_address="127.0.0.1:$port" --num_processes="$processes" --process_id="$index" &
  pids+=($!)
done

status=0
for pid in "${pids[@]}"; do
  code=0
  wait "$pid" || code=$?
  # a signal to this script interrupts `wait`; the process is still to be waited for
  while kill -0 "$pid" 2>/dev/null; do
    code=0
    wait "$pid" || code=$?
  done
  ((status != 0)) || status=$code
done
exit "$status"
