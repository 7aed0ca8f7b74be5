#!/usr/bin/env bash
# Creates a Cloud TPU of one or many hosts if needed, copies the code, and starts training on all its hosts.
set -euo pipefail
# shellcheck source=launch/tpu.sh
source "$(dirname "${BASH_SOURCE[0]}")/tpu.sh"

usage() {
  cat <<'END'
usage: launch/tpu_vm.sh --accelerator-type TYPE [--watch] [--dry-run]
         --config FILE[:RECIPE] --workdir gs://BUCKET/FOLDER [--config.FIELD=VALUE ...]

Trains on a Cloud TPU, in the background on all its hosts, and prints how to watch it. Creates the TPU if none of that name
exists. Copies all files of the repository that git does not ignore, uncommitted changes included. Heartbeats and logs of all
hosts are stored in WORKDIR/launch.

  --watch                  keep running until the run ends: print which hosts run, are silent or missing
  --batch-size N           hosts to connect to at the same time (default: all); needs the alpha commands of gcloud
END
  tpu_options
}

option+=([batch-size]="")
parse "$@"
check batch-size '([1-9][0-9]*)?' "a positive integer"
prepare vm
check workdir '(gs://|/).+' "gs://BUCKET/FOLDER, or an absolute path on a disk shared by all hosts"
[[ ! ${flag[watch]} || ${option[workdir]} == gs://* ]] || fail "--watch: expected --workdir gs://BUCKET/FOLDER"
# shellcheck source=launch/watch.sh
source "$root/launch/watch.sh"

name=${option[name]}
tpu=(gcloud compute tpus tpu-vm) hosts=(--worker=all)
connect=("${tpu[@]}")
if [[ ${option[batch-size]} ]]; then
  connect=(gcloud alpha "${tpu[@]:1}") hosts+=("--batch-size=${option[batch-size]}")
fi
on_all() { quote "${connect[@]}" ssh "$name" "${place[@]}" "${hosts[@]}" "--command=$1"; }

there=$(quote "${tpu[@]}" describe "$name" "${place[@]}")
pack # first, so that what is wrong here does not leave a TPU behind
run "$there >/dev/null 2>&1 || $(quote "${tpu[@]}" create "$name" "${place[@]}" "${kind[@]}")"
[[ ${option[workdir]} != gs://* ]] || run "$forget"
retry "$(quote "${connect[@]}" scp "$archive" "$name:jaxssl.tar.gz" "${place[@]}" "${hosts[@]}")"
run "$(on_all "mkdir -p jaxssl && tar -xzf jaxssl.tar.gz -C jaxssl && sudo jaxssl/$(quote "${worker[@]}")")"

if [[ ${flag[dry-run]} ]]; then
  [[ ! ${flag[watch]} ]] || printf '%s\n' "# every ${option[every]} s, until the run ends:" "$finished" "$beats"
  exit 0
fi
echo "Training has started. To watch it, to save and stop it, to delete the TPU:"
quote "${tpu[@]}" ssh "$name" "${place[@]}" --worker=0 "--command=sudo journalctl --unit=jaxssl --follow"
echo
on_all "sudo systemctl stop jaxssl"
echo
quote "${tpu[@]}" delete "$name" "${place[@]}"
echo
[[ ${flag[watch]} ]] || exit 0

active=$SECONDS
until is_finished; do
  sleep "${option[every]}"
  look_at_hosts
  [[ ! $ended ]] || exit "$ended"
done
say "finished: ${option[workdir]}/results.json"
