# shellcheck shell=bash disable=SC2154
# Sourced by run.sh: writes a heartbeat and the log of this host to a folder or bucket, where --watch reads them.

host=0 hosts=1 beating="" outbox=""
log_sum="" log_time=0 # of the log, and when it last changed

# Prints an attribute of this Cloud TPU host; nothing elsewhere.
attribute() {
  curl --silent --fail --max-time 20 --header 'Metadata-Flavor: Google' \
    "http://metadata.google.internal/computeMetadata/v1/instance/attributes/$1" || true
}

# Writes host-N.log, and host-N.beat: HOST, HOSTS, TIME, STATE, and the exit code or, while it runs, the seconds since its log
# last changed. Fails if they cannot be written.
beat() {
  local state=$1 number=${2:-} folder=${option[heartbeat]} trouble="" now sum
  printf -v now '%(%s)T' -1
  journalctl --unit=jaxssl --no-pager --output=short-iso --lines=10000 >"$outbox/host-$host.log" 2>/dev/null || true
  sum=$(cksum <"$outbox/host-$host.log")
  [[ $sum == "$log_sum" ]] || log_sum=$sum log_time=$now
  echo "$host $hosts $now $state ${number:-$((now - log_time))}" >"$outbox/host-$host.beat"
  if [[ $folder == *://* ]]; then
    trouble=$(timeout --foreground 50 gcloud storage cp --quiet "$outbox"/* "$folder/" 2>&1)
  else
    trouble=$(mkdir -p "$folder" 2>&1 && cp "$outbox"/* "$folder/" 2>&1)
  fi && return
  echo "run.sh: --heartbeat=$folder: cannot be written to: ${trouble##*$'\n'}" >&2
  return 1
}

start_heartbeat() {
  host=$(attribute agent-worker-number)
  hosts=$(attribute worker-network-endpoints | tr ',' '\n' | grep -c . || true)
  host=${host:-0} hosts=$((hosts > 0 ? hosts : 1))
  outbox=$(mktemp -d)
  while true; do
    beat running || true
    sleep "${option[every]}"
  done &
  beating=$!
}

# Arguments: "stopped" if a signal ended the run, otherwise nothing; the exit code.
end_heartbeat() {
  kill -- "-$beating" 2>/dev/null || true
  wait "$beating" 2>/dev/null || true
  beat "${1:-ended}" "$2" || beat "${1:-ended}" "$2" || true # --watch waits for it
  rm -rf "$outbox"
}
