#!/usr/bin/env bash
# Every launcher ends here: one process of the training command, with its environment, its signals and its restarts.
set -euo pipefail
# shellcheck source=launch/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

usage() {
  cat <<'END'
usage: launch/run.sh [--env FILE] [--restarts N] [--dry-run] --config FILE[:RECIPE] [--workdir DIR] [WORD ...]

Runs `python -m jaxssl.main` with all further words. When that was told to stop by another host (exit code 75: saved), it is
started again and goes on. Codes 0, 1 (training failed) and 2 (a mistake in the command) end it. SIGTERM, SIGINT and SIGUSR1
are passed on; it is not started again after one.

  --env FILE         NAME=VALUE lines for the environment, see launch/env.example; what is set already stays
  --restarts N       at most so often (default 100); 0: this process becomes the training process
  --restart-crashes  also starts it again when it was killed or aborted (codes over 128)
  --pause SECONDS    before it is started again (default 5)
  --dry-run          prints the command
  PYTHON             the interpreter, from the environment or the file (default: python)
END
}

option=([env]="" [restarts]=100 [pause]=5)
flag+=([restart-crashes]="")
any_word=yes
parse "$@"
check restarts '0|[1-9][0-9]*' "a whole number"
check pause '[0-9]+' "whole seconds"
read_env
apply_env

python=${PYTHON:-python}
command=(env "${assignments[@]}" "PYTHONUNBUFFERED=${PYTHONUNBUFFERED:-1}" "$python" -m jaxssl.main "${words[@]}")
if [[ ${flag[dry-run]} ]]; then
  quote "${command[@]}"
  echo
  exit 0
fi
command -v "$python" >/dev/null || fail "PYTHON=$python is no command; allowed: a Python that has jaxssl"
((option[restarts])) || exec "${command[@]}"

set -m # or bash would have the process ignore SIGINT
child="" pending="" stopped=""

deliver() {
  [[ $child && $pending ]] || return 0
  local name=$pending
  pending=""
  kill -s "$name" "$child" 2>/dev/null || true
}

for name in TERM INT USR1 HUP; do # HUP: the terminal was closed
  # shellcheck disable=SC2064
  trap "stopped=yes interrupted=yes pending=${name/HUP/TERM}; deliver" "$name"
done

for ((starts = 1; ; starts++)); do
  "${command[@]}" &
  child=$!
  deliver # what arrived before `child` was known
  while interrupted="" code=0; do
    wait "$child" || code=$?
    [[ $interrupted ]] || break # else the code is the signal's, not the process's
  done
  child=""
  [[ $stopped ]] && exit "$code"
  ((code == 75)) || { ((code > 128)) && [[ ${flag[restart-crashes]} ]]; } || exit "$code"
  if ((starts > option[restarts])); then
    echo "run.sh: exit code $code after $starts starts; --restarts=${option[restarts]} allows no more" >&2
    exit "$code"
  fi
  echo "run.sh: exit code $code; starts again (${starts} of ${option[restarts]})" >&2
  until=$((SECONDS + option[pause]))
  while [[ ! $stopped ]] && ((SECONDS < until)); do sleep 0.1; done
  [[ $stopped ]] && exit "$code"
done
