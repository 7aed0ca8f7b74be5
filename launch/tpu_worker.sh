#!/usr/bin/env bash
# Runs on every host of a TPU, as root: installs jaxssl once, then trains in the background as the systemd unit `jaxssl`.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=launch/common.sh
source "$here/common.sh"

usage() {
  cat <<'END'
usage: launch/tpu_worker.sh [--set=NAME=VALUE ...] [--mount FOLDER] [--dry-run] ARGUMENT ...

Run by launch/tpu_vm.sh and launch/tpu_queued.sh on every host of a TPU. Installs jaxssl in .venv if needed, with the versions
of versions.txt, and starts launch/run.sh with all other arguments in the background. `journalctl --unit=jaxssl` shows its
log, `systemctl stop jaxssl` saves and stops the run. A second start while it runs is refused.

  --set=NAME=VALUE  environment variable of the run
  --mount FOLDER    mount the data disk there, read-only
END
}

settings=() rest=()
for word; do
  if [[ $word == --set=* ]]; then settings+=("${word#--set=}"); else rest+=("$word"); fi
done
option=([env]="" [mount]="")
any_word=yes
parse "${rest[@]}"
cd "$here/.."

if [[ ${option[mount]} ]] && ! mountpoint --quiet "${option[mount]}"; then
  # The data disk is the only one without partitions. noload (ext4), norecovery (XFS): a read-only disk's journal stays as it is.
  folder=$(quote "${option[mount]}")
  retry "disk=\$(lsblk --raw --paths --noheadings --output NAME,TYPE,FSTYPE,MOUNTPOINT |\
 awk '\$2 == \"disk\" && (\$3 == \"ext4\" || \$3 == \"xfs\") && \$4 == \"\" {print \$1; exit}') &&\
 mkdir -p $folder && { mount -o ro,noload \"\$disk\" $folder || mount -o ro,norecovery \"\$disk\" $folder; }"
fi

# The system's Python may be too old. .venv/installed holds what was installed.
pins=constraints.txt version=3.12
if [[ -f versions.txt ]]; then # of launch/versions.py; missing in a checkout
  pins=versions.txt version=$(sed -n '1s/^# Python //p' versions.txt)
fi
wanted=(pyproject.toml "$pins")
cat "${wanted[@]}" | cmp --silent - .venv/installed ||
  retry "PIP_BREAK_SYSTEM_PACKAGES=1 python3 -m pip install --quiet uv &&\
 python3 -m uv venv --quiet --clear --python ${version:-3.12} .venv &&\
 python3 -m uv pip install --quiet --python .venv/bin/python --constraint $pins --editable '.[tpu]' &&\
 cat ${wanted[*]} > .venv/installed"
# At shutdown systemd sends TERM and waits; run.sh forwards it. If another host stopped the run, run.sh restarts it.
unit=(systemd-run --unit=jaxssl --collect --property=KillMode=mixed --property=TimeoutStopSec=300
  "--property=WorkingDirectory=$PWD" "--setenv=HOME=${HOME:-/root}" "--setenv=PATH=$PATH:/snap/bin" "${settings[@]/#/--setenv=}"
  "--setenv=PYTHON=$PWD/.venv/bin/python" "$here/run.sh" "${words[@]}")
run "$(quote "${unit[@]}")"
