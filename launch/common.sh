# shellcheck shell=bash
# Read by the scripts beside it: their options, one-line errors, and lines that --dry-run prints instead of running.

if ((BASH_VERSINFO[0] * 100 + BASH_VERSINFO[1] < 404)); then
  echo "error: bash ${BASH_VERSION} is too old; 4.4 or newer is needed" >&2
  exit 2
fi

declare -A option=([config]="" [workdir]="" [distributed]="" [env]="") # --NAME VALUE; a script adds its own, then calls `parse`
declare -A flag=([dry-run]="")                                         # --NAME
words=()                                                               # what the training command gets besides
assignments=()                                                         # NAME=VALUE from the file of --env
any_word=""                                                            # set by scripts that pass every word on

fail() {
  printf 'error: %s\n' "$*" >&2
  exit 2
}

# Prints the words as one line that a shell reads back as the same words.
quote() {
  local word line=""
  for word; do
    if [[ $word =~ ^[A-Za-z0-9_./:=,@%+-]+$ ]]; then line+=" $word"; else line+=" ${word@Q}"; fi
  done
  printf '%s' "${line# }"
}

# Runs a line of shell, or prints it under --dry-run.
run() {
  if [[ ${flag[dry-run]} ]]; then printf '%s\n' "$1"; else bash -o errexit -o pipefail -c "$1"; fi
}

# Takes a word that is for the training command.
take() {
  [[ $any_word || $1 == --config.*=* ]] ||
    fail "$1 is not understood; allowed: --config.FIELD=VALUE," \
      "$(printf -- '--%s\n' "${!option[@]}" "${!flag[@]}" | sort | paste -sd' ')"
  words+=("$1")
}

# Sorts the words of the command line into `option`, `flag` and `words`.
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
        (($# > 1)) || fail "--$name has no value: write --$name VALUE"
        option[$name]=$2
        shift
      fi
    elif [[ -v flag[$name] ]]; then
      [[ $1 == "--$name" ]] || fail "$1 is not allowed; --$name takes no value"
      flag[$name]=yes
    else
      take "$1"
    fi
    shift
  done
}

# Fails unless the option's value matches; the rest says what is allowed.
check() {
  local name=$1 pattern=$2
  [[ ${option[$name]} =~ ^($pattern)$ ]] || fail "--$name=${option[$name]} is not allowed; allowed: ${*:3}"
}

# The config must be given; without a workdir it is runs/ and the config's name, as the training command has it.
check_config() {
  [[ ${option[config]} ]] || fail "--config is missing; for example --config configs/nnboot.py"
  local file=${option[config]%%:*} recipe=""
  [[ -f $file ]] || fail "--config ${option[config]} is no file"
  [[ ${option[config]} == *:* ]] && recipe=${option[config]#*:}
  file=${file##*/}
  [[ ${option[workdir]} ]] || option[workdir]=runs/${file%.py}${recipe:+-${recipe//,/-}}
}

# Reads NAME=VALUE lines, as docker's --env-file has them, into `assignments`.
read_env() {
  local file=${option[env]} line number=0
  [[ $file ]] || return 0
  [[ -r $file && ! -d $file ]] || fail "--env=$file is no file that can be read"
  while IFS= read -r line || [[ $line ]]; do
    number=$((number + 1))
    [[ $line =~ ^[[:space:]]*(#.*)?$ ]] && continue
    [[ $line =~ ^[A-Za-z_][A-Za-z0-9_]*=[^\"\']*$ ]] ||
      fail "$file, line $number: $line is not understood; allowed: NAME=VALUE, with no quotes, and lines that start with #"
    assignments+=("$line")
  done <"$file"
}

# Takes `assignments` into the environment; drops those that it has already.
apply_env() {
  local line new=()
  for line in "${assignments[@]}"; do
    [[ -v ${line%%=*} ]] && continue
    new+=("$line")
    export "${line?}"
  done
  assignments=("${new[@]}")
}
