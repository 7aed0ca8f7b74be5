# shellcheck shell=bash disable=SC2154
# Sourced by apply.sh: fills in a template.

# Prints a word as a quoted YAML string.
text() {
  local word=$1
  [[ ! $word =~ [[:cntrl:]] ]] || fail "${word@Q}: expected one line"
  word=${word//\\/\\\\}
  word=${word//"\$("/"\$\$("} # otherwise Kubernetes expands $(NAME)
  printf '"%s"' "${word//\"/\\\"}"
}

# Prints the environment variables of --env as items of a YAML list.
entries() {
  local assignment word
  for assignment in "${assignments[@]}"; do
    word=$(text "${assignment#*=}") || exit
    printf -- '- {name: "%s", value: %s}\n' "${assignment%%=*}" "$word"
  done
}

# Prints the template with its ${NAME}s replaced by `value`s. Lines that end with `# --OPTION` are left out without that option;
# `# --env` becomes the variables of that file.
manifest() {
  local line filled entry name
  while IFS= read -r line; do
    if [[ $line == *'# --env' ]]; then
      while IFS= read -r entry; do printf '%s\n' "${line%%#*}$entry"; done <<<"$variables"
      continue
    fi
    if [[ $line =~ \#.*--([a-z-]+)$ ]]; then
      name=${BASH_REMATCH[1]}
      [[ ${option[$name]:-}${flag[$name]:-} ]] || continue
    fi
    filled=""
    while [[ $line =~ ^([^$]*)\$\{([A-Z_]+)\}(.*)$ ]]; do
      filled+=${BASH_REMATCH[1]}${value[${BASH_REMATCH[2]}]} line=${BASH_REMATCH[3]}
    done
    printf '%s\n' "$filled$line"
  done <"$template"
}
