#!/usr/bin/env bash
# A JobSet on a GKE cluster, with TPUs or GPUs: fills the manifest beside it in and gives it to kubectl.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=launch/common.sh
source "$here/../common.sh"

usage() {
  cat <<'END'
usage: launch/gke/apply.sh --image IMAGE (--topology v5e:4x4 | --gpus nvidia-h100-80gb:8 --hosts N) [--dry-run]
         --config FILE[:RECIPE] --workdir gs://BUCKET/FOLDER [--config.FIELD=VALUE ...]

Trains on a GKE cluster that has JobSet. Needs kubectl with the cluster as its context, and an image with jaxssl in /jaxssl
(launch/gke/Dockerfile). All hosts start again after a preemption or a crash, and go on; codes 1 and 2 end it.

  --topology TPU:TOPOLOGY  v4, v5e, v5p or v6e and the slice's shape, as `jaxssl plan` has it
  --chips-per-host N       of a TPU host (default 4; 1 for 1x1; 8 for one host of v5e or v6e, 2x4)
  --gpus TYPE:N            the node's label cloud.google.com/gke-accelerator, and how many a host
  --hosts N                GPU hosts (default 1)
  --name NAME              of the JobSet (default jaxssl)
  --service-account NAME   of Kubernetes, as which it reads and writes gs:// (default jaxssl); it is made if there is none
  --spot                   on spot nodes
  --restarts N             at most so often (default 100)
  --grace SECONDS          to save in before the pod is killed (default 300); spot nodes give about 25 whatever this says
  --env FILE               NAME=VALUE lines for the environment, see launch/env.example
  --dry-run                prints the manifest, and as comments the commands that make the cluster and apply it
END
}

option+=([image]="" [topology]="" [chips-per-host]="" [gpus]="" [hosts]=1 [name]=jaxssl
  [service-account]=jaxssl [restarts]=100 [grace]=300)
flag+=([spot]="")
parse "$@"
read_env
cd "$here/../.."
check_config
[[ ${option[config]} != /* ]] ||
  fail "--config ${option[config]} is not allowed; allowed: a path from the folder of jaxssl"
check workdir 'gs://[^/]+/.+' "gs://BUCKET/FOLDER: the pods' own disks go with them"
[[ ${option[image]} ]] || fail "--image is missing; launch/gke/Dockerfile makes one"
check image '[A-Za-z0-9._:/@-]+' "an image such as REGION-docker.pkg.dev/PROJECT/REPOSITORY/jaxssl:1"
for one in name service-account; do
  check "$one" '[a-z]([a-z0-9-]{0,38}[a-z0-9])?' "small letters, digits and -, at most 40"
done
for one in hosts grace; do check "$one" '[1-9][0-9]*' "a whole number from 1"; done
check restarts '0|[1-9][0-9]*' "a whole number"
check chips-per-host '([1-9][0-9]*)?' "a whole number from 1"
[[ ${option[topology]}${option[gpus]} ]] || fail "--topology and --gpus are both missing; give one, such as --topology v5e:4x4"
[[ ! ${option[topology]} || ! ${option[gpus]} ]] || fail "--topology and --gpus are both given; allowed: one of them"

hosts=${option[hosts]} devices="" coordinator="" shape=""
if [[ ${option[topology]} ]]; then
  check topology '(v5e|v6e):[1-9][0-9]*x[1-9][0-9]*|(v4|v5p):[1-9][0-9]*x[1-9][0-9]*x[1-9][0-9]*' \
    "v5e or v6e and AxB, v4 or v5p and AxBxC, such as v5e:4x4 or v5p:4x4x4"
  type=${option[topology]%%:*} shape=${option[topology]#*:}
  chips=$((${shape//x/*}))
  each=${option[chips-per-host]:-$((chips < 4 ? chips : 4))}
  ((chips % each == 0)) || fail "--chips-per-host=$each is not allowed; allowed: a divisor of the $chips chips of $shape"
  hosts=$((chips / each)) template=$here/jobset-tpu.yaml blueprint=gke-tpu-$type
  declare -A accelerators=([v4]=tpu-v4-podslice [v5e]=tpu-v5-lite-podslice [v5p]=tpu-v5p-slice [v6e]=tpu-v6e-slice)
  accelerator=${accelerators[$type]}
else
  check gpus '[a-z0-9-]+:[1-9][0-9]*' "the type and how many a host, such as nvidia-h100-80gb:8"
  accelerator=${option[gpus]%:*} each=${option[gpus]##*:} template=$here/jobset-gpu.yaml
  devices=$(seq -s, 0 $((each - 1)))
  coordinator=${option[name]}-workers-0-0.${option[name]}:8476
  case $accelerator in
    nvidia-h100-80gb) blueprint=gke-a3-highgpu ;;
    nvidia-h100-mega-80gb) blueprint=gke-a3-megagpu ;;
    nvidia-h200-141gb) blueprint=gke-a3-ultragpu ;;
    nvidia-b200) blueprint=gke-a4 ;;
    *) blueprint="" ;;
  esac
fi

# Gives a word as YAML reads it: in quotes, as JSON has them.
text() {
  local word=$1
  [[ ! $word =~ [[:cntrl:]] ]] || fail "${word@Q} is not allowed; allowed: words on one line"
  word=${word//\\/\\\\}
  word=${word//"\$("/"\$\$("} # or Kubernetes puts a variable's value there
  printf '"%s"' "${word//\"/\\\"}"
}

several=off # or jax would look for other pods
((hosts == 1)) || several=on
args=(--restarts 0 --config "${option[config]}" --workdir "${option[workdir]}" --distributed "${option[distributed]:-$several}")
list=""
for word in "${args[@]}" "${words[@]}"; do
  word=$(text "$word")
  list+=${list:+, }$word
done

declare -A value=(
  [NAME]=$(text "${option[name]}") [SERVICE_ACCOUNT]=$(text "${option[service-account]}") [IMAGE]=$(text "${option[image]}")
  [ACCELERATOR]=$(text "$accelerator") [TOPOLOGY]=$(text "$shape") [CHIPS]=$each [HOSTS]=$hosts
  [RESTARTS]=${option[restarts]} [GRACE]=${option[grace]}
  [DEVICES]=$(text "$devices") [COORDINATOR]=$(text "$coordinator") [ARGS]="[$list]"
)

entries=()
for assignment in "${assignments[@]}"; do
  word=$(text "${assignment#*=}")
  entries+=("- {name: \"${assignment%%=*}\", value: $word}")
done

# Prints the manifest, filled in.
manifest() {
  local line filled entry
  while IFS= read -r line; do
    if [[ $line == *'# --env' ]]; then
      for entry in "${entries[@]}"; do printf '%s\n' "${line%%#*}$entry"; done
      continue
    fi
    [[ $line != *'# --spot' || ${flag[spot]} ]] || continue
    filled=""
    while [[ $line =~ ^([^$]*)\$\{([A-Z_]+)\}(.*)$ ]]; do
      filled+=${BASH_REMATCH[1]}${value[${BASH_REMATCH[2]}]} line=${BASH_REMATCH[3]}
    done
    printf '%s\n' "$filled$line"
  done <"$template"
}

cluster="./gcluster deploy -d examples/$blueprint/$blueprint-deployment.yaml examples/$blueprint/$blueprint.yaml"
[[ $blueprint ]] || cluster="no blueprint is known here for $accelerator"
if [[ ${flag[dry-run]} ]]; then
  echo "# A cluster for it, from a checkout of cluster-toolkit, after its deployment file was filled in:"
  echo "#   $cluster"
  echo "# kubectl apply --filename=- is given:"
  manifest
  exit 0
fi
manifest | kubectl apply --filename=- ||
  fail "kubectl could not apply it; where there is no cluster yet, from a checkout of cluster-toolkit: $cluster"
echo "It is asked for. To see its pods, to watch the run, to have it save and end:"
pods=--selector=jobset.sigs.k8s.io/jobset-name=${option[name]}
quote kubectl get pods "$pods"
echo
quote kubectl logs --follow "$pods,batch.kubernetes.io/job-completion-index=0"
echo
quote kubectl delete jobset "${option[name]}"
echo
