#!/usr/bin/env bash
# Runs on every host of a TPU, as root: installs jaxssl once, then trains in the background as the systemd unit `jaxssl`.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=launch/common.sh
source "$here/common.sh"

usage() {
  cat <<'END'
usage: launch/tpu_worker.sh [--set=NAME=VALUE ...] [--dry-run] ARGUMENT ...

Run by launch/tpu_vm.sh and launch/tpu_queued.sh on every host of a TPU. Installs jaxssl in .venv if needed, and starts
launch/run.sh with all other arguments in the background. `journalctl --unit=jaxssl` shows its log, `systemctl stop jaxssl`
saves and stops the run. A second start while it runs is refused.
END
}

settings=() rest=()
for word; do
  if [[ $word == --set=* ]]; then settings+=("${word#--set=}"); else rest+=("$word"); fi
done
option=([env]="")
any_word=yes
parse "${rest[@]}"
cd "$here/.."

# The system's Python may be too old.
[[ .venv/installed -nt pyproject.toml ]] || run "PIP_BREAK_SYSTEM_PACKAGES=1 python3 -m pip install --quiet uv &&\
 python3 -m uv venv --quiet --clear --python 3.12 .venv &&\
 python3 -m uv pip install --quiet --python .venv/bin/python --editable '.[tpu]' && touch .venv/installed"
# At shutdown systemd sends TERM and waits; run.sh forwards it. If another host stopped the run, run.sh restarts it.
unit=(systemd-run --unit=jaxssl --collect --property=KillMode=mixed --property=TimeoutStopSec=300
  "--property=WorkingDirectory=$PWD" "--setenv=HOME=${HOME:-/root}" "${settings[@]/#/--setenv=}"
  "--setenv=PYTHON=$PWD/.venv/bin/python" "$here/run.sh" --restart-crashes "${words[@]}")
run "$(quote "${unit[@]}")"
