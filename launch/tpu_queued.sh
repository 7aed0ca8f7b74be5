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
is replaced. The code and the versions of its packages are stored in gs://BUCKET/FOLDER.code.tar.gz, heartbeats and logs of all
hosts in gs://BUCKET/FOLDER/launch.

  --watch                  keep running: print which hosts run, are silent or missing; request the TPU again after a preemption
                           or crashes; delete it when the run has finished
  --restarts N             maximum number of repeated requests (default 100)
  --crashes N              maximum number of repeated requests after crashes, or failed requests, in a row (default 3)
END
  tpu_options
}

option+=([restarts]=100 [crashes]=3)
parse "$@"
for one in restarts crashes; do check "$one" '0|[1-9][0-9]*' "an integer"; done
prepare queued
check workdir 'gs://[^/]+/.*[^/]' "gs://BUCKET/FOLDER, since the disks of the hosts are deleted with them"
# shellcheck source=launch/watch.sh
source "$root/launch/watch.sh"

name=${option[name]} code=${option[workdir]}.code.tar.gz
startup=$files/startup.sh
script=("#!/bin/bash" "set -euo pipefail" "export HOME=/root PATH=\$PATH:/snap/bin" "cd /opt"
  "for pause in 10 20 40 80 0; do"
  "  [[ ! -e jaxssl ]] || break"
  "  rm -rf jaxssl.new && mkdir jaxssl.new" # a download that breaks off leaves no half of the code
  "  if gcloud storage cat $(quote "$code") | tar -xz -C jaxssl.new; then mv jaxssl.new jaxssl; else sleep \$pause; fi"
  "done"
  "cd jaxssl"
  "exec $(quote "${worker[@]}")")
queue=(gcloud compute tpus queued-resources)
create=$(quote "${queue[@]}" create "$name" "--node-id=$name" "${place[@]}" "${kind[@]}" \
  "--metadata-from-file=startup-script=$startup")
delete=$(quote "${queue[@]}" delete "$name" "${place[@]}" --force --quiet)
describe=$(quote "${queue[@]}" describe "$name" "${place[@]}")
state="$describe --format='value(state.state)'"
node_state="$(quote gcloud compute tpus tpu-vm describe "$name" "${place[@]}") --format='value(state)'"

pack
run "$(quote gcloud storage cp "$archive" "$code")"
run "$(quote printf '%s\n' "${script[@]}") > $(quote "$startup")"
run "$forget"
run "$create"

if [[ ${flag[dry-run]} ]]; then
  [[ ! ${flag[watch]} ]] || printf '%s\n' "# every ${option[every]} s:" "if $finished; then $delete; fi" "$beats" \
    "if [[ \$($state) =~ ^(SUSPENDED|FAILED)$ || \$($node_state) =~ ^(PREEMPTED|TERMINATED)$ ]]; then" \
    "$delete && { $forget; } && $create; fi"
  exit 0
fi
if [[ ! ${flag[watch]} ]]; then
  echo "Requested. To see its state, to watch the run, to delete it:"
  printf '%s\n' "$state" "$(quote gcloud compute tpus tpu-vm ssh "$name" "${place[@]}" --worker=0 \
    "--command=sudo journalctl --unit=jaxssl --unit=google-startup-scripts --follow")" "$delete"
  exit 0
fi

before="" requests=0 failures=0

# Deletes the TPU and requests it again. If the deletion fails, the next look tries again.
request_again() {
  retry "$delete" || return 0
  run "$forget"
  until ((requests++ >= option[restarts])) || run "$create"; do sleep "${option[every]}"; done
  ((requests <= option[restarts])) || fail "$name: $1; giving up after --restarts=${option[restarts]}"
  before="" known=()
}

# Sets `now` to the state of the request, or of its TPU once that exists.
look_at_request() {
  local trouble=$files/describe.err
  if ! now=$(bash -c "$state" 2>"$trouble"); then
    ! grep -q NOT_FOUND "$trouble" || fail "$name: the request has been deleted"
    return 1 # a transient error of gcloud or the network
  fi
  [[ $now != ACTIVE ]] || now=$(bash -c "$node_state" 2>/dev/null) || return 1
  [[ $now == "$before" ]] || say "$name: $now"
  [[ $now != READY || $before == READY ]] || active=$SECONDS
  before=$now
}

while sleep "${option[every]}"; do
  if is_finished; then
    say "finished: ${option[workdir]}/results.json"
    run "$delete"
    exit 0
  fi
  look_at_request || continue
  case $now in
    SUSPENDED | PREEMPTED | TERMINATED) request_again "it was preempted" ;;
    FAILED)
      ((failures++ < option[crashes])) || fail "$name: the request failed; giving up after --crashes=${option[crashes]}: $describe"
      request_again "the request failed"
      ;;
    READY)
      failures=0
      look_at_hosts
      [[ $ended ]] || continue
      ((SECONDS - active < 10 * CALM)) || used[crashes]=0 # each host has restarted a few times by itself
      next=stop reason=""
      ((ended == AGAIN)) || follow "$ended" 0
      say "$name: exit code $ended; ${reason:-not requested again}"
      [[ $next == restart ]] || { echo "The TPU is still there. To delete it:" && echo "$delete" && exit "$ended"; }
      request_again "it crashed"
      ;;
  esac
done
