# shellcheck shell=bash
# Read by tpu_vm.sh and tpu_queued.sh: what both ask for, and the lines of shell that both run.

# shellcheck source=launch/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

option+=([name]=jaxssl [accelerator-type]="" [version]="" [zone]="" [project]="" [service-account]="")
flag+=([spot]="")

tpu_options() {
  cat <<'END'
  --accelerator-type TYPE  such as v5litepod-16, v5p-128 or v6e-8
  --name NAME              of the TPU (default jaxssl)
  --version VERSION        of its software (default: that of the type)
  --zone, --project        default: gcloud's own
  --spot                   cheaper, and may be taken away at any time
  --service-account EMAIL  as which it reads and writes gs:// (default: the project's own)
  --env FILE               NAME=VALUE lines for the environment, see launch/env.example
  --dry-run                prints the commands
END
}

# Checks the options; sets `place` (where the TPU is), `kind` (what it is), `pack` (a line that packs the code) and `worker`
# (what each host runs).
# shellcheck disable=SC2034
prepare() {
  local root version
  check name '[a-z]([a-z0-9-]{0,60}[a-z0-9])?' "small letters, digits and -"
  check accelerator-type 'v[0-9][a-z]*-[0-9]+' "a type such as v5litepod-16, v5p-128 or v6e-8"
  read_env
  root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
  cd "$root" || exit
  check_config
  [[ ${option[config]} != /* ]] || fail "--config ${option[config]} is not allowed; allowed: a path from the folder of jaxssl"
  case ${option[accelerator-type]} in
    v5litepod-*) version=v2-alpha-tpuv5-lite ;;
    v5p-*) version=v2-alpha-tpuv5 ;;
    v6e-*) version=v2-alpha-tpuv6e ;;
    v[234]-*) version=tpu-ubuntu2204-base ;;
    *) version="" ;;
  esac
  version=${option[version]:-$version}
  [[ $version ]] || fail "--version is missing; the software of ${option[accelerator-type]} is not known here"
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
