#!/usr/bin/env bash
# Runs one training process: sets its environment, forwards signals, restarts it. All launchers call this script.
set -euo pipefail
# shellcheck source=launch/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

usage() {
  cat <<'END'
usage: launch/run.sh [--env FILE] [--restarts N] [--dry-run] --config FILE[:RECIPE] [--workdir DIR] [ARGUMENT ...]

Runs `python -m jaxssl.main` with all other arguments. If another host stops the run (exit code 75: stopped and saved), it is
restarted and resumes. It is not restarted after exit codes 0, 1 (training failed) and 2 (a mistake in the command), nor after
SIGTERM, SIGINT or SIGUSR1, which are forwarded.

  --env FILE         environment variables, see launch/env.example; variables that are already set are kept
  --restarts N       maximum number of restarts (default 100); with 0 this process becomes the training process
  --restart-crashes  also restart it if it was killed or aborted (exit codes above 128)
  --pause SECONDS    wait before a restart (default 5)
  --dry-run          print the command
  PYTHON             environment variable that names the interpreter (default: python)
END
}

option=([env]="" [restarts]=100 [pause]=5)
flag+=([restart-crashes]="")
any_word=yes
parse "$@"
check restarts '0|[1-9][0-9]*' "an integer"
check pause '[0-9]+' "a number of seconds"
read_env
apply_env

python=${PYTHON:-python}
command=(env "${assignments[@]}" "PYTHONUNBUFFERED=${PYTHONUNBUFFERED:-1}" "$python" -m jaxssl.main "${words[@]}")
if [[ ${flag[dry-run]} ]]; then
  quote "${command[@]}"
  echo
  exit 0
fi
command -v "$python" >/dev/null || fail "PYTHON=$python: command not found; expected a Python with jaxssl installed"
((option[restarts])) || exec "${command[@]}"

set -m # otherwise the process ignores SIGINT
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
  deliver # signals that arrived before `child` was set
  while interrupted="" code=0; do
    wait "$child" || code=$?
    [[ $interrupted ]] || break # otherwise `code` belongs to the signal
  done
  child=""
  [[ $stopped ]] && exit "$code"
  ((code == 75)) || { ((code > 128)) && [[ ${flag[restart-crashes]} ]]; } || exit "$code"
  if ((starts > option[restarts])); then
    echo "run.sh: exit code $code; giving up after --restarts=${option[restarts]}" >&2
    exit "$code"
  fi
  echo "run.sh: exit code $code; restart $starts of ${option[restarts]}" >&2
  until=$((SECONDS + option[pause]))
  while [[ ! $stopped ]] && ((SECONDS < until)); do sleep 0.1; done
  [[ $stopped ]] && exit "$code"
done
