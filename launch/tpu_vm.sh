#!/usr/bin/env bash
# A Cloud TPU of one or many hosts: made if it is not there, given the code, and set to train on all its hosts.
set -euo pipefail
# shellcheck source=launch/tpu.sh
source "$(dirname "${BASH_SOURCE[0]}")/tpu.sh"

usage() {
  cat <<'END'
usage: launch/tpu_vm.sh --accelerator-type TYPE [--dry-run]
         --config FILE[:RECIPE] --workdir gs://BUCKET/FOLDER [--config.FIELD=VALUE ...]

Trains on a Cloud TPU, in the background on all its hosts, and says how to watch it. The TPU is made if there is none of that
name. What git does not ignore in the folder of jaxssl is copied there, changes that are not committed included.

END
  tpu_options
}

parse "$@"
prepare vm
check workdir '(gs://|/).+' "gs://BUCKET/FOLDER, or an absolute path on a disk that every host has mounted"

name=${option[name]}
tpu=(gcloud compute tpus tpu-vm)
on_all() { quote "${tpu[@]}" ssh "$name" "${place[@]}" --worker=all "--command=$1"; }

there=$(quote "${tpu[@]}" describe "$name" "${place[@]}")
run "$there >/dev/null 2>&1 || $(quote "${tpu[@]}" create "$name" "${place[@]}" "${kind[@]}")"
run "$pack"
run "$(quote "${tpu[@]}" scp "$archive" "$name:jaxssl.tar.gz" "${place[@]}" --worker=all)"
run "$(on_all "mkdir -p jaxssl && tar -xzf jaxssl.tar.gz -C jaxssl && sudo jaxssl/$(quote "${worker[@]}")")"

[[ ! ${flag[dry-run]} ]] || exit 0
echo "It trains. To watch it, to have it save and stop, to give the TPU back:"
quote "${tpu[@]}" ssh "$name" "${place[@]}" --worker=0 "--command=sudo journalctl --unit=jaxssl --follow"
echo
on_all "sudo systemctl stop jaxssl"
echo
quote "${tpu[@]}" delete "$name" "${place[@]}"
echo
