#!/usr/bin/env bash
# Creates a Cloud TPU of one or many hosts if needed, copies the code, and starts training on all its hosts.
set -euo pipefail
# shellcheck source=launch/tpu.sh
source "$(dirname "${BASH_SOURCE[0]}")/tpu.sh"

usage() {
  cat <<'END'
usage: launch/tpu_vm.sh --accelerator-type TYPE [--dry-run]
         --config FILE[:RECIPE] --workdir gs://BUCKET/FOLDER [--config.FIELD=VALUE ...]

Trains on a Cloud TPU, in the background on all its hosts, and prints how to watch it. Creates the TPU if none of that name
exists. Copies all files of the repository that git does not ignore, uncommitted changes included.

END
  tpu_options
}

parse "$@"
prepare vm
check workdir '(gs://|/).+' "gs://BUCKET/FOLDER, or an absolute path on a disk shared by all hosts"

name=${option[name]}
tpu=(gcloud compute tpus tpu-vm)
on_all() { quote "${tpu[@]}" ssh "$name" "${place[@]}" --worker=all "--command=$1"; }

there=$(quote "${tpu[@]}" describe "$name" "${place[@]}")
run "$there >/dev/null 2>&1 || $(quote "${tpu[@]}" create "$name" "${place[@]}" "${kind[@]}")"
run "$pack"
run "$(quote "${tpu[@]}" scp "$archive" "$name:jaxssl.tar.gz" "${place[@]}" --worker=all)"
run "$(on_all "mkdir -p jaxssl && tar -xzf jaxssl.tar.gz -C jaxssl && sudo jaxssl/$(quote "${worker[@]}")")"

[[ ! ${flag[dry-run]} ]] || exit 0
echo "Training has started. To watch it, to save and stop it, to delete the TPU:"
quote "${tpu[@]}" ssh "$name" "${place[@]}" --worker=0 "--command=sudo journalctl --unit=jaxssl --follow"
echo
on_all "sudo systemctl stop jaxssl"
echo
quote "${tpu[@]}" delete "$name" "${place[@]}"
echo
