#!/usr/bin/env bash
# Requests a Cloud TPU as a queued resource whose startup script trains.
set -euo pipefail
# shellcheck source=launch/tpu.sh
source "$(dirname "${BASH_SOURCE[0]}")/tpu.sh"

usage() {
  cat <<'END'
usage: launch/tpu_queued.sh --accelerator-type TYPE [--spot] [--watch] [--dry-run]
         --config FILE[:RECIPE] --workdir gs://BUCKET/FOLDER [--config.FIELD=VALUE ...]

Requests a Cloud TPU as a queued resource. Its startup script trains on every host, and resumes after a host restarts or the TPU
is replaced. The code is stored in gs://BUCKET/FOLDER.code.tar.gz. A preempted spot TPU is requested again only with --watch.

  --watch                  keep running: request the TPU again after a preemption, delete it when the run has finished
  --every SECONDS          interval of --watch (default 60)
  --restarts N             maximum number of repeated requests (default 100)
END
  tpu_options
}

option+=([every]=60 [restarts]=100)
flag+=([watch]="")
parse "$@"
check every '[0-9]+' "a number of seconds"
check restarts '0|[1-9][0-9]*' "an integer"
prepare queued
check workdir 'gs://[^/]+/.*[^/]' "gs://BUCKET/FOLDER, since the disks of the hosts are deleted with them"

name=${option[name]} code=${option[workdir]}.code.tar.gz
startup=${TMPDIR:-/tmp}/$name.startup.sh
script=("#!/bin/bash" "set -euo pipefail" "mkdir -p /opt/jaxssl && cd /opt/jaxssl"
  "[[ -e launch/tpu_worker.sh ]] || gcloud storage cat $(quote "$code") | tar -xz"
  "export HOME=/root"
  "exec $(quote "${worker[@]}")")
queue=(gcloud compute tpus queued-resources)
create=$(quote "${queue[@]}" create "$name" "--node-id=$name" "${place[@]}" "${kind[@]}" \
  "--metadata-from-file=startup-script=$startup")
delete=$(quote "${queue[@]}" delete "$name" "${place[@]}" --force --quiet)
describe=$(quote "${queue[@]}" describe "$name" "${place[@]}")
state="$describe --format='value(state.state)'"
finished="$(quote gcloud storage cat "${option[workdir]}/results.json") 2>/dev/null | grep -q '\"finished\": true'"

run "$pack"
run "$(quote gcloud storage cp "$archive" "$code")"
run "$(quote printf '%s\n' "${script[@]}") > $(quote "$startup")"
run "$create"

if [[ ${flag[dry-run]} ]]; then
  [[ ! ${flag[watch]} ]] || printf '%s\n' "# every ${option[every]} s:" "if $finished; then $delete; fi" \
    "if [[ \$($state) == SUSPENDED ]]; then $delete && $create; fi"
  exit 0
fi
if [[ ! ${flag[watch]} ]]; then
  echo "Requested. To see its state, to watch the run, to delete it:"
  printf '%s\n' "$state" "$(quote gcloud compute tpus tpu-vm ssh "$name" "${place[@]}" --worker=0 \
    "--command=sudo journalctl --unit=jaxssl --unit=google-startup-scripts --follow")" "$delete"
  exit 0
fi

before="" requests=0
while sleep "${option[every]}"; do
  if bash -o pipefail -c "$finished"; then
    echo "finished: ${option[workdir]}/results.json"
    run "$delete"
    exit 0
  fi
  now=$(bash -c "$state") || continue # a transient error of gcloud or the network
  [[ $now == "$before" ]] || echo "$(date +%H:%M:%S) $name: $now"
  before=$now
  [[ $now != FAILED ]] || fail "$name: the request failed; see: $describe"
  [[ $now == SUSPENDED ]] || continue
  run "$delete" || continue
  until ((requests++ >= option[restarts])) || run "$create"; do sleep "${option[every]}"; done
  ((requests <= option[restarts])) || fail "$name was preempted; giving up after --restarts=${option[restarts]}"
done
