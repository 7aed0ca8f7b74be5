#!/usr/bin/env bash
# Runs one training process: sets its environment, forwards signals, restarts it. All launchers call this script.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=launch/common.sh
source "$here/common.sh"
# shellcheck source=launch/heartbeat.sh
source "$here/heartbeat.sh"

usage() {
  cat <<'END'
usage: launch/run.sh [--env FILE] [--restarts N] [--crashes N] [--dry-run] --config FILE[:RECIPE] [--workdir DIR] [ARGUMENT ...]

Runs `python -m jaxssl.main` with all other arguments, and restarts it, so that it resumes: after exit code 75 (saved, or
interrupted by something temporary), and a few times after a crash (1, above 128, or any unknown code). It is not restarted
after 0 (finished), 2 (a mistake in the command), 3 (diverged) and 130 (Ctrl-C), nor after SIGTERM, SIGINT or SIGUSR1, which
are forwarded.

  --env FILE          environment variables, see launch/env.example; variables that are already set are kept
  --restarts N        maximum number of restarts after exit code 75 (default 100)
  --crashes N         maximum number of restarts after crashes in a row (default 3); a run of 10 minutes ends the row. If both
                      are 0, this process becomes the training process
  --pause SECONDS     wait before a restart (default 5); after the second and third crash in a row 6 and 36 times as long
  --heartbeat FOLDER  write host-N.beat and host-N.log (the log of the systemd unit jaxssl) to this folder or bucket
  --every SECONDS     interval of --heartbeat (default 60)
  --attempt N         the platform restarts the run and has done so N times: do not restart it here, refuse to start if N is
                      larger than --restarts, and wait for --pause before leaving with code 75, so that the platform first sees
                      the host that caused it
  --in-srun           do not restart it here; add 200 to exit codes 1, 2 and 3, since srun returns the largest of its tasks and
                      the others leave with 75
  --dry-run           print the command
  PYTHON              environment variable that names the interpreter (default: python)
END
}

option=([env]="" [restarts]=100 [crashes]=3 [pause]=5 [heartbeat]="" [every]=60 [attempt]="")
flag+=([in-srun]="")
any_word=yes
parse "$@"
for one in restarts crashes; do check "$one" '0|[1-9][0-9]*' "an integer"; done
for one in pause every; do check "$one" '[0-9]+' "a number of seconds"; done
check attempt '[0-9]*' "an integer"
((${option[attempt]:-0} <= option[restarts])) ||
  fail "--attempt=${option[attempt]}: giving up after --restarts=${option[restarts]}; launch again with a larger one to resume"
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
if [[ ${flag[in-srun]} ]]; then
  trap : TERM INT USR1 # Slurm sends them to the training process as well
  code=0
  "${command[@]}" || code=$?
  ((code == 0 || code > DIVERGED)) || code=$((code + 200))
  exit "$code"
fi
[[ ${option[heartbeat]}${option[attempt]} ]] || ((option[restarts] + option[crashes])) || exec "${command[@]}"

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

# Waits, but not after a signal.
rest() {
  local until=$((SECONDS + $1))
  while [[ ! $stopped ]] && ((SECONDS < until)); do sleep 0.1; done
}

# Exits, with a last heartbeat.
leave() {
  [[ ! ${option[heartbeat]} ]] || end_heartbeat "${stopped:+stopped}" "$code"
  exit "$code"
}

[[ ! ${option[heartbeat]} ]] || start_heartbeat
while true; do
  began=$SECONDS
  "${command[@]}" &
  child=$!
  deliver # signals that arrived before `child` was set
  while interrupted="" code=0; do
    wait "$child" || code=$?
    [[ $interrupted ]] || break # otherwise `code` belongs to the signal
  done
  child=""
  [[ ! $stopped ]] || leave
  if [[ ${option[attempt]} ]]; then
    ((code != AGAIN)) || rest "${option[pause]}"
    leave
  fi
  follow "$code" $((SECONDS - began))
  [[ ! $reason ]] || echo "run.sh: exit code $code; $reason" >&2
  [[ $next == restart ]] || leave
  rest "$delay"
  [[ ! $stopped ]] || leave
done
