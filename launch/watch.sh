# shellcheck shell=bash disable=SC2154
# Sourced by tpu_vm.sh and tpu_queued.sh for --watch: reads the heartbeats that launch/heartbeat.sh writes.

readonly SILENT=240 # seconds after which a heartbeat is late: four intervals
readonly BOOT=1200  # seconds in which a new host boots, installs and reports
readonly STUCK=1800 # seconds without a new line in the log of a host that runs
declare -A known=() # host -> what was last printed about it
active=$SECONDS     # since when the hosts have been there

# Prints a command that succeeds if its input has such a line. It reads all of it: what writes to grep may fail after a match.
having() { quote awk "/$1/ { found = 1 } END { exit !found }"; }

logs=${option[workdir]}/launch
beats="$(quote gcloud storage cat) $(quote "$logs/host-")*.beat"
# shellcheck disable=SC2034
forget="$(quote gcloud storage rm --quiet) $(quote "$logs/host-")*.beat >/dev/null 2>&1 || true"
# results.json alone may be that of a shorter run before this launch, and of files that are still being stored.
finished="$(quote gcloud storage cat "${option[workdir]}/results.json") 2>/dev/null | $(having '"finished": true') &&\
 $beats 2>/dev/null | $(having ' ended 0$')"

say() { printf '%(%H:%M:%S)T %s\n' -1 "$*"; }

is_finished() { bash -o pipefail -c "$finished"; }

# Prints what is new about a host, and where its log is unless it is fine.
report() {
  local host=$1 text=$2
  [[ ${known[$host]:-} != "$text" ]] || return 0
  known[$host]=$text
  say "host $host: $text"
  [[ $text == running ]] || echo "  $(quote gcloud storage cat "$logs/host-$host.log")"
}

# Reports which hosts run, have ended, are silent or are missing. Sets `ended` to the exit code of those that have ended: one that
# forbids a restart if there is one, otherwise that of a crash, otherwise AGAIN; empty if none has ended.
look_at_hosts() {
  local host hosts=0 count time state code now
  local -A seen=()
  ended=""
  printf -v now '%(%s)T' -1
  while read -r host count time state code; do
    [[ "$host $count $time $code" =~ ^[0-9]+\ [0-9]+\ [0-9]+\ [0-9]+$ ]] || continue
    seen[$host]=yes hosts=$count
    case $state in
      running)
        ((code <= STUCK)) || state="running, but its log has not changed since $(printf '%(%H:%M:%S)T' $((time - code)))"
        ((now - time <= SILENT)) || state="silent since $(printf '%(%H:%M:%S)T' "$time")"
        ;;
      stopped) state="stopped by a signal" ;;
      *)
        state="ended with exit code $code"
        case $code in
          "$DONE") ;;
          "$MISTAKE" | "$DIVERGED" | "$INTERRUPTED") ended=$code ;;
          "$AGAIN") ended=${ended:-$code} ;;
          *) [[ $ended && $ended != "$AGAIN" ]] || ended=$code ;;
        esac
        ;;
    esac
    report "$host" "$state"
  done < <(bash -c "$beats" 2>/dev/null)
  ((SECONDS - active > BOOT)) || return 0
  ((${#seen[@]})) || report 0 "no host has reported in $((BOOT / 60)) minutes"
  for ((host = 0; host < hosts; host++)); do [[ -v seen[$host] ]] || report "$host" "missing"; done
}
