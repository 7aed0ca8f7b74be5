# shellcheck shell=bash
# Sourced by tpu_vm.sh and tpu_queued.sh: their common options and commands.

# shellcheck source=launch/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

option+=([name]=jaxssl [accelerator-type]="" [version]="" [zone]="" [project]="" [service-account]="" [data-disk]=""
  [constraints]="" [every]=60)
flag+=([spot]="" [watch]="")

tpu_options() {
  cat <<'END'
  --accelerator-type TYPE  such as v5litepod-16, v5p-128 or v6e-8
  --name NAME              name of the TPU (default jaxssl)
  --version VERSION        software version (default: by accelerator type)
  --zone, --project        default: those of gcloud
  --spot                   cheaper; may be preempted at any time
  --service-account EMAIL  account that reads and writes gs:// (default: that of the project)
  --data-disk DISK         projects/P/zones/Z/disks/D, attached to every host and mounted read-only at /mnt/data
  --constraints FILE       package versions for every host (default: those installed here, of the Python that PYTHON names)
  --every SECONDS          interval of --watch (default 60)
  --env FILE               environment variables, see launch/env.example
  --dry-run                print the commands
END
}

# Checks the options; sets `place` (zone and project), `kind` (what to create), `files` (a local folder) and
# `archive` in it, and `worker` (the command of each host).
# shellcheck disable=SC2034
prepare() {
  local version
  check name '[a-z]([a-z0-9-]{0,60}[a-z0-9])?' "lowercase letters, digits and -"
  check accelerator-type 'v[0-9][a-z]*-[0-9]+' "a type such as v5litepod-16, v5p-128 or v6e-8"
  check data-disk '(projects/[^/,]+/zones/[^/,]+/disks/[^/,]+)?' "projects/PROJECT/zones/ZONE/disks/DISK"
  check every '[0-9]+' "a number of seconds"
  [[ ! ${option[constraints]} || -f ${option[constraints]} ]] || fail "--constraints=${option[constraints]}: file not found"
  [[ ! ${option[constraints]} ]] || option[constraints]=$(realpath "${option[constraints]}")
  read_env
  root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
  cd "$root" || exit
  check_config
  option[workdir]=${option[workdir]%"${option[workdir]##*[!/]}"} # no / at the end
  [[ ${option[config]} != /* ]] || fail "--config=${option[config]}: expected a path relative to the repository"
  case ${option[accelerator-type]} in
    v5litepod-*) version=v2-alpha-tpuv5-lite ;;
    v5p-*) version=v2-alpha-tpuv5 ;;
    v6e-*) version=v2-alpha-tpuv6e ;;
    v[234]-*) version=tpu-ubuntu2204-base ;;
    *) version="" ;;
  esac
  version=${option[version]:-$version}
  [[ $version ]] || fail "--version: required for --accelerator-type=${option[accelerator-type]}"
  place=()
  [[ ! ${option[zone]} ]] || place+=("--zone=${option[zone]}")
  [[ ! ${option[project]} ]] || place+=("--project=${option[project]}")
  kind=("--accelerator-type=${option[accelerator-type]}")
  if [[ $1 == queued ]]; then kind+=("--runtime-version=$version"); else kind+=("--version=$version"); fi
  [[ ! ${flag[spot]} ]] || kind+=(--spot)
  [[ ! ${option[service-account]} ]] || kind+=("--service-account=${option[service-account]}")
  [[ ! ${option[data-disk]} ]] || kind+=("--data-disk=source=${option[data-disk]},mode=read-only")
  files=${TMPDIR:-/tmp}/${option[name]}.launch archive=$files/code.tar.gz
  worker=(launch/tpu_worker.sh "${assignments[@]/#/--set=}")
  [[ ! ${option[data-disk]} ]] || worker+=(--mount=/mnt/data)
  worker+=(--heartbeat "${option[workdir]}/launch" --config "${option[config]}" --workdir "${option[workdir]}"
    --distributed "${option[distributed]:-on}" "${words[@]}")
}

# Writes the code and the versions of its packages to the archive.
pack() {
  run "$(quote mkdir -p "$files")"
  if [[ ${option[constraints]} ]]; then
    run "$(quote cp "${option[constraints]}" "$files/versions.txt")"
  else
    [[ ${flag[dry-run]} ]] || command -v "${PYTHON:-python}" >/dev/null ||
      fail "PYTHON=${PYTHON:-python}: command not found; expected the Python that runs jaxssl, or --constraints FILE"
    run "$(quote "${PYTHON:-python}" launch/versions.py) > $(quote "$files/versions.txt")"
  fi
  run "$(quote git -C "$root" ls-files -z --cached --others --exclude-standard) |\
 while IFS= read -rd '' file; do [[ ! -e \$file && ! -L \$file ]] || printf '%s\\0' \"\$file\"; done |\
 $(quote tar -czf "$archive" -C "$files" versions.txt -C "$root" --null -T -)"
}
