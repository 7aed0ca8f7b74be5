# shellcheck shell=bash
# Sourced by the other scripts: exit codes and what follows them, options, errors in one line, commands under --dry-run.

if ((BASH_VERSINFO[0] * 100 + BASH_VERSINFO[1] < 404)); then
  echo "error: bash ${BASH_VERSION} is too old; 4.4 or newer is required" >&2
  exit 2
fi

# Exit codes of the training command, as in jaxssl/core/exit_codes.py.
readonly DONE=0          # finished
# shellcheck disable=SC2034
readonly FAILED=1        # an unexpected crash
readonly MISTAKE=2       # a mistake of the user
readonly DIVERGED=3      # diverged, or stopped by an alert of health.stop
readonly AGAIN=75        # saved, or interrupted by something temporary
readonly INTERRUPTED=130 # Ctrl-C
readonly CALM=600        # a run of this many seconds ends a row of crashes

declare -A option=([config]="" [workdir]="" [distributed]="" [env]="") # --NAME VALUE; a script adds its own before `parse`
declare -A flag=([dry-run]="")                                         # --NAME
words=()                                                               # further arguments of the training command
assignments=()                                                         # NAME=VALUE lines of the --env file
any_word=""                                                            # set by scripts that forward unknown options

fail() {
  printf 'error: %s\n' "$*" >&2
  exit "$MISTAKE"
}

declare -A used=([restarts]=0 [crashes]=0) # of the options of these names

# Decides what follows an exit code of a process that ran for some seconds. Sets `next` to stop or restart, `delay` to the
# seconds to wait before, and `reason` to words for the log. Crashes are counted until a run lasts CALM seconds.
# shellcheck disable=SC2034
follow() {
  local code=$1 seconds=$2 limit=crashes
  next=stop delay=${option[pause]:-5} reason=""
  case $code in
    "$DONE" | "$MISTAKE" | "$DIVERGED" | "$INTERRUPTED") return ;;
    "$AGAIN") limit=restarts ;;
    *) ;; # FAILED, killed, aborted
  esac
  ((seconds < CALM)) || used[crashes]=0
  used[$limit]=$((used[$limit] + 1))
  if ((used[$limit] > option[$limit])); then
    reason="giving up after --$limit=${option[$limit]}"
    return
  fi
  next=restart reason="restart ${used[$limit]} of --$limit=${option[$limit]}"
  # The other hosts may take two minutes to notice a crash, and refuse the new process until then.
  [[ $limit == restarts ]] || delay=$((delay * 6 ** (used[crashes] - 1)))
}

# Runs a shell command until it succeeds, up to five times, with pauses that double from 10 s, plus jitter.
retry() {
  local pause=${RETRY_PAUSE:-10} tries
  for tries in 1 2 3 4; do
    run "$1" && return
    echo "attempt $tries of 5 failed; the next in about $pause s: $1" >&2
    sleep $((pause + RANDOM % (pause / 2 + 1)))
    pause=$((pause * 2))
  done
  run "$1"
}

# Prints the words, quoted for a shell, on one line.
quote() {
  local word line=""
  for word; do
    if [[ $word =~ ^[A-Za-z0-9_./:=,@%+-]+$ ]]; then line+=" $word"; else line+=" ${word@Q}"; fi
  done
  printf '%s' "${line# }"
}

# Runs a shell command, or prints it under --dry-run.
run() {
  if [[ ${flag[dry-run]} ]]; then printf '%s\n' "$1"; else bash -o errexit -o pipefail -c "$1"; fi
}

# Adds an argument for the training command.
take() {
  [[ $any_word || $1 == --config.*=* ]] ||
    fail "$1: unknown option; expected --config.FIELD=VALUE," \
      "$(printf -- '--%s\n' "${!option[@]}" "${!flag[@]}" | sort | paste -sd' ')"
  words+=("$1")
}

# Parses the command line into `option`, `flag` and `words`.
parse() {
  local name
  while (($#)); do
    name=${1#--} name=${name%%=*}
    if [[ $1 == --help || $1 == -h ]]; then
      usage
      exit 0
    elif [[ ! $name =~ ^[a-z-]+$ || $1 != --* ]]; then
      take "$1"
    elif [[ -v option[$name] ]]; then
      if [[ $1 == *=* ]]; then
        option[$name]=${1#*=}
      else
        (($# > 1)) || fail "--$name: missing value; expected --$name VALUE"
        option[$name]=$2
        shift
      fi
    elif [[ -v flag[$name] ]]; then
      [[ $1 == "--$name" ]] || fail "$1: --$name takes no value"
      flag[$name]=yes
    else
      take "$1"
    fi
    shift
  done
}

# Fails unless the option's value matches; the remaining arguments describe the expected value.
check() {
  local name=$1 pattern=$2
  [[ ${option[$name]} =~ ^($pattern)$ ]] || fail "--$name=${option[$name]}: expected ${*:3}"
}

# Requires a config, and sets the default workdir as the training command does: runs/ and the config's name.
check_config() {
  [[ ${option[config]} ]] || fail "--config: required, for example --config configs/nnboot.py"
  local file=${option[config]%%:*} recipe=""
  [[ -f $file ]] || fail "--config=${option[config]}: file not found"
  [[ ${option[config]} == *:* ]] && recipe=${option[config]#*:}
  file=${file##*/}
  [[ ${option[workdir]} ]] || option[workdir]=runs/${file%.py}${recipe:+-${recipe//,/-}}
}

# Reads NAME=VALUE lines, in the format of docker's --env-file, into `assignments`.
read_env() {
  local file=${option[env]} line number=0
  [[ $file ]] || return 0
  [[ -r $file && ! -d $file ]] || fail "--env=$file: cannot be read"
  while IFS= read -r line || [[ $line ]]; do
    number=$((number + 1))
    [[ $line =~ ^[[:space:]]*(#.*)?$ ]] && continue
    [[ $line =~ ^[A-Za-z_][A-Za-z0-9_]*=[^\"\']*$ ]] ||
      fail "$file, line $number: $line: expected NAME=VALUE without quotes, or a line that starts with #"
    assignments+=("$line")
  done <"$file"
}

# Exports `assignments`; drops those whose variable is already set.
apply_env() {
  local line new=()
  for line in "${assignments[@]}"; do
    [[ -v ${line%%=*} ]] && continue
    new+=("$line")
    export "${line?}"
  done
  assignments=("${new[@]}")
}
