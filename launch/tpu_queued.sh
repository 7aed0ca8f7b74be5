#!/usr/bin/env bash
# A Cloud TPU from the queue, whose hosts begin to train by themselves when they start, and start again.
set -euo pipefail
# shellcheck source=launch/tpu.sh
source "$(dirname "${BASH_SOURCE[0]}")/tpu.sh"

usage() {
  cat <<'END'
usage: launch/tpu_queued.sh --accelerator-type TYPE [--spot] [--watch] [--dry-run]
         --config FILE[:RECIPE] --workdir gs://BUCKET/FOLDER [--config.FIELD=VALUE ...]

Asks for a Cloud TPU as a queued resource. Its start-up script trains on every host, and goes on when a host was restarted or
the TPU is a new one. The code lies in gs://BUCKET/FOLDER.code.tar.gz. A spot TPU that was taken away does not come back by
itself: --watch asks for it again.

  --watch                  stays, asks for the TPU again when it was taken away, and gives it back when the run is finished
  --every SECONDS          how often it looks (default 60)
  --restarts N             at most so often is it asked for again (default 100)
END
  tpu_options
}

option+=([every]=60 [restarts]=100)
flag+=([watch]="")
parse "$@"
check every '[0-9]+' "whole seconds"
check restarts '0|[1-9][0-9]*' "a whole number"
prepare queued
check workdir 'gs://[^/]+/.*[^/]' "gs://BUCKET/FOLDER: the hosts' own disks go with them"

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
  echo "It is asked for. To see its state, to watch the run, to give it back:"
  printf '%s\n' "$state" "$(quote gcloud compute tpus tpu-vm ssh "$name" "${place[@]}" --worker=0 \
    "--command=sudo journalctl --unit=jaxssl --unit=google-startup-scripts --follow")" "$delete"
  exit 0
fi

before="" asked=0
while sleep "${option[every]}"; do
  if bash -o pipefail -c "$finished"; then
    echo "finished: ${option[workdir]}/results.json"
    run "$delete"
    exit 0
  fi
  now=$(bash -c "$state") || continue # the network, or gcloud, for once
  [[ $now == "$before" ]] || echo "$(date +%H:%M:%S) $name: $now"
  before=$now
  [[ $now != FAILED ]] || fail "$name: the request failed; see: $describe"
  [[ $now == SUSPENDED ]] || continue
  run "$delete" || continue
  until ((asked++ >= option[restarts])) || run "$create"; do sleep "${option[every]}"; done
  ((asked <= option[restarts])) || fail "$name was taken away; --restarts=${option[restarts]} allows to ask for it no more"
done
