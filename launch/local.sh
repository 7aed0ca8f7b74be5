#!/usr/bin/env bash
# Starts several training processes on this machine.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=launch/common.sh
source "$here/common.sh"

usage() {
  cat <<'END'
usage: launch/local.sh [--processes N] [--dry-run] --config FILE[:RECIPE] [--workdir DIR] [--config.FIELD=VALUE ...]

Trains with N processes on this machine. Process 0 writes to the terminal, the others to WORKDIR/launch/. If one fails, the
others are stopped. Signals are forwarded. Exit code: that of the first process that failed; else 75 if the run was stopped
and saved; else 0.

  --processes N           number of processes (default 1); GPUs are split evenly among them
  --devices-per-process N simulate N CPU devices in each process
  --port PORT             port of the coordinator (default: a free port)
  --grace SECONDS         after one process has ended, kill the others after this time (default 60)
  --env FILE              environment variables, see launch/env.example
  --dry-run               print the commands, one per process
END
}

option+=([processes]=1 [devices-per-process]="" [port]="" [grace]=60)
parse "$@"
check processes '[1-9][0-9]*' "a positive integer"
check devices-per-process '([1-9][0-9]*)?' "a positive integer"
check port '([1-9][0-9]*)?' "a port number"
check grace '[0-9]+' "a number of seconds"
check_config
read_env
apply_env
processes=${option[processes]} workdir=${option[workdir]}

gpus=0
if [[ ! ${option[devices-per-process]} && ${JAX_PLATFORMS:-cuda} =~ cuda|gpu ]]; then
  if [[ -v CUDA_VISIBLE_DEVICES ]]; then
    [[ ! $CUDA_VISIBLE_DEVICES || $CUDA_VISIBLE_DEVICES =~ ^(-|NoDevFiles) ]] || # which hide all GPUs
      gpus=$(tr ',' '\n' <<<"$CUDA_VISIBLE_DEVICES" | wc -l)
  elif command -v nvidia-smi >/dev/null; then
    gpus=$(nvidia-smi --list-gpus 2>/dev/null | grep -c '^GPU' || true)
  fi
fi
((gpus % processes == 0)) || fail "--processes=$processes: expected a divisor of the number of GPUs, $gpus"

# Prints an unused port below the range of ephemeral ports.
free_port() {
  local port
  for _ in {1..100}; do
    port=$((20000 + RANDOM % 12000))
    (: <"/dev/tcp/127.0.0.1/$port") 2>/dev/null || { echo "$port" && return; }
  done
  fail "--port: no free port found; set one"
}

shared=("${assignments[@]}")
if [[ ${option[devices-per-process]} ]]; then
  fake=--xla_force_host_platform_device_count=${option[devices-per-process]}
  shared+=(JAX_PLATFORMS=cpu "XLA_FLAGS=${XLA_FLAGS:+$XLA_FLAGS }$fake")
fi
if ((processes > 1)); then
  shared+=("JAX_COORDINATOR_ADDRESS=127.0.0.1:${option[port]:-$(free_port)}" "JAX_NUM_PROCESSES=$processes")
  option[distributed]=${option[distributed]:-on}
fi
train=("$here/run.sh" --restarts 0 --crashes 0 --config "${option[config]}" --workdir "$workdir")
[[ ! ${option[distributed]} ]] || train+=(--distributed "${option[distributed]}")

# Sets `command` to the command of one process.
command_of() {
  local rank=$1 each=$((gpus / processes)) own=()
  ((processes == 1)) || own+=("JAX_PROCESS_ID=$rank")
  ((processes == 1 || gpus == 0)) || own+=("JAX_LOCAL_DEVICE_IDS=$(seq -s, $((rank * each)) $((rank * each + each - 1)))")
  command=(env "${shared[@]}" "${own[@]}" "${train[@]}" "${words[@]}")
}

if [[ ${flag[dry-run]} ]]; then
  for ((rank = 0; rank < processes; rank++)); do
    command_of "$rank"
    quote "${command[@]}"
    echo
  done
  exit 0
fi

logs=$workdir/launch
[[ $workdir == *://* ]] && logs=${TMPDIR:-/tmp}/jaxssl-$$
((processes == 1)) || mkdir -p "$logs" || fail "--workdir=$workdir: cannot be written to"

set -m # gives each process its own group; otherwise background processes ignore SIGINT
declare -A running=()
stopped="" failed="" result=0 deadline=""
pending=() # signals that the loop below forwards once all processes are started

# Sends a signal to every process; KILL also goes to the processes they have started.
forward() {
  local rank group=""
  [[ $1 != KILL ]] || group=-
  for rank in "${!running[@]}"; do kill -s "$1" -- "$group${running[$rank]}" 2>/dev/null || true; done
}

for name in TERM INT USR1 HUP; do # HUP: the terminal was closed
  # shellcheck disable=SC2064
  trap "stopped=yes; pending+=(${name/HUP/TERM})" "$name"
done

for ((rank = 0; rank < processes; rank++)); do
  command_of "$rank"
  if ((rank == 0)); then "${command[@]}" & else "${command[@]}" >>"$logs/process-$rank.log" 2>&1 & fi
  running[$rank]=$!
done

# Records how a process ended, and stops the others if it failed.
ended() {
  local rank=$1 code=$2
  if ((code == 0)); then
    ((rank > 0)) || deadline=${deadline:-$((SECONDS + option[grace]))} # process 0 has more to do at the end than the others
    return
  fi
  deadline=${deadline:-$((SECONDS + option[grace]))}
  if ((code == AGAIN || code == INTERRUPTED)); then # stopped and saved, as the others will
    ((result)) || result=$code
    return
  fi
  [[ $failed ]] && return
  failed=yes result=$code
  echo "local.sh: process $rank ended with exit code $code" >&2
  if ((rank > 0)); then
    echo "local.sh: last lines of $logs/process-$rank.log:" >&2
    tail -n 20 "$logs/process-$rank.log" >&2
  fi
  [[ $stopped ]] || forward TERM
}

while ((${#running[@]})); do
  for name in "${pending[@]}"; do
    forward "$name"
    pending=("${pending[@]:1}")
  done
  for rank in "${!running[@]}"; do
    kill -0 "${running[$rank]}" 2>/dev/null && continue
    code=0
    wait "${running[$rank]}" || code=$?
    unset "running[$rank]"
    ended "$rank" "$code"
  done
  if [[ $deadline ]] && ((${#running[@]} && SECONDS >= deadline)); then
    echo "local.sh: killed process ${!running[*]} after ${option[grace]} s of waiting" >&2
    forward KILL
    deadline=$((SECONDS + option[grace] + 1))
  fi
  sleep 0.1
done
exit "$result"
