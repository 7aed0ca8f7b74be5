# shellcheck shell=bash
# Sourced by tpu_vm.sh and tpu_queued.sh: their common options and commands.

# shellcheck source=launch/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

option+=([name]=jaxssl [accelerator-type]="" [version]="" [zone]="" [project]="" [service-account]="")
flag+=([spot]="")

tpu_options() {
  cat <<'END'
  --accelerator-type TYPE  such as v5litepod-16, v5p-128 or v6e-8
  --name NAME              name of the TPU (default jaxssl)
  --version VERSION        software version (default: by accelerator type)
  --zone, --project        default: those of gcloud
  --spot                   cheaper; may be preempted at any time
  --service-account EMAIL  account that reads and writes gs:// (default: that of the project)
  --env FILE               environment variables, see launch/env.example
  --dry-run                print the commands
END
}

# Checks the options; sets `place` (zone and project), `kind` (accelerator type and version), `pack` (the command that packs
# the code) and `worker` (the command of each host).
# shellcheck disable=SC2034
prepare() {
  local root version
  check name '[a-z]([a-z0-9-]{0,60}[a-z0-9])?' "lowercase letters, digits and -"
  check accelerator-type 'v[0-9][a-z]*-[0-9]+' "a type such as v5litepod-16, v5p-128 or v6e-8"
  read_env
  root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
  cd "$root" || exit
  check_config
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
  archive=${TMPDIR:-/tmp}/${option[name]}.tar.gz
  pack="$(quote git -C "$root" ls-files -z --cached --others --exclude-standard)"
  pack+=" | $(quote tar -C "$root" --null -T - -czf "$archive")"
  worker=(launch/tpu_worker.sh "${assignments[@]/#/--set=}" --config "${option[config]}" --workdir "${option[workdir]}"
    --distributed "${option[distributed]:-on}" "${words[@]}")
}
