#!/usr/bin/env bash
# Fills in the JobSet manifest for TPUs or GPUs and applies it with kubectl.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=launch/common.sh
source "$here/../common.sh"
# shellcheck source=launch/gke/manifest.sh
source "$here/manifest.sh"

usage() {
  cat <<'END'
usage: launch/gke/apply.sh --image IMAGE (--topology v5e:4x4 | --gpus nvidia-h100-80gb:8 --hosts N) [--dry-run]
         --config FILE[:RECIPE] --workdir gs://BUCKET/FOLDER [--config.FIELD=VALUE ...]

Trains on a GKE cluster with JobSet. Needs kubectl with the cluster as its context, and an image with jaxssl in /jaxssl
(launch/gke/Dockerfile). After a preemption, a crash or exit code 75 all hosts restart and resume; 2, 3 and 130 end the job.
A JobSet of this name that has ended is replaced, and resumes the run of its workdir.

  --topology TPU:TOPOLOGY  v4, v5e, v5p or v6e and the shape of the slice, as in `jaxssl plan`
  --chips-per-host N       chips of a TPU host (default 4, 1 for 1x1; 8 for a single host of v5e or v6e with 2x4)
  --gpus TYPE:N            the node label cloud.google.com/gke-accelerator, and the number of GPUs per host
  --hosts N                number of GPU hosts (default 1)
  --name NAME              name of the JobSet (default jaxssl)
  --service-account NAME   Kubernetes account that reads and writes gs:// (default jaxssl); created if it does not exist
  --spot                   use spot nodes
  --cpu N, --memory SIZE   CPUs and memory (such as 200Gi) that a host needs to have free
  --shm SIZE               size of /dev/shm, which uses memory of the host (default: as much as Kubernetes allows)
  --data-bucket BUCKET     mount this bucket at /data, read-only (Cloud Storage FUSE)
  --local-ssd SIZE         use nodes whose ephemeral storage is on local SSDs, and mount SIZE of it at /ssd
  --queue NAME             wait in this local queue of Kueue
  --crashes N              maximum number of restarts after crashes, preemptions not counted (default 3)
  --restarts N             maximum number of restarts of all kinds (default 100)
  --grace SECONDS          time to save before the pod is killed (default 300); spot nodes always give about 25
  --env FILE               environment variables, see launch/env.example
  --dry-run                print the manifest and, as comments, the commands that create the cluster and apply it
END
}

option+=([image]="" [topology]="" [chips-per-host]="" [gpus]="" [hosts]=1 [name]=jaxssl
  [service-account]=jaxssl [restarts]=100 [crashes]=3 [grace]=300 [cpu]="" [memory]="" [shm]="" [data-bucket]="" [local-ssd]=""
  [queue]="")
flag+=([spot]="")
parse "$@"
read_env
cd "$here/../.."
check_config
[[ ${option[config]} != /* ]] ||
  fail "--config=${option[config]}: expected a path relative to the repository"
check workdir 'gs://[^/]+/.+' "gs://BUCKET/FOLDER, since the disks of the pods are deleted with them"
[[ ${option[image]} ]] || fail "--image: required; build one with launch/gke/Dockerfile"
check image '[A-Za-z0-9._:/@-]+' "an image such as REGION-docker.pkg.dev/PROJECT/REPOSITORY/jaxssl:1"
for one in name service-account; do
  check "$one" '[a-z]([a-z0-9-]{0,38}[a-z0-9])?' "lowercase letters, digits and -, at most 40 characters"
done
for one in hosts grace; do check "$one" '[1-9][0-9]*' "a positive integer"; done
for one in restarts crashes; do check "$one" '0|[1-9][0-9]*' "an integer"; done
check cpu '([1-9][0-9]*)?' "a positive integer"
for one in memory shm local-ssd; do check "$one" '([1-9][0-9]*(Mi|Gi|Ti))?' "a size such as 200Gi"; done
check data-bucket '([a-z0-9][a-z0-9._-]+)?' "the name of a bucket, without gs:// and folder"
check queue '([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)?' "lowercase letters, digits and -"
check chips-per-host '([1-9][0-9]*)?' "a positive integer"
[[ ${option[topology]}${option[gpus]} ]] || fail "--topology or --gpus: required, for example --topology v5e:4x4"
[[ ! ${option[topology]} || ! ${option[gpus]} ]] || fail "--topology, --gpus: expected only one of them"

hosts=${option[hosts]} devices="" coordinator="" shape=""
if [[ ${option[topology]} ]]; then
  check topology '(v5e|v6e):[1-9][0-9]*x[1-9][0-9]*|(v4|v5p):[1-9][0-9]*x[1-9][0-9]*x[1-9][0-9]*' \
    "v5e or v6e and AxB, v4 or v5p and AxBxC, such as v5e:4x4 or v5p:4x4x4"
  type=${option[topology]%%:*} shape=${option[topology]#*:}
  chips=$((${shape//x/*}))
  each=${option[chips-per-host]:-$((chips < 4 ? chips : 4))}
  ((chips % each == 0)) || fail "--chips-per-host=$each: expected a divisor of the $chips chips of $shape"
  hosts=$((chips / each)) template=$here/jobset-tpu.yaml blueprint=gke-tpu-$type
  declare -A accelerators=([v4]=tpu-v4-podslice [v5e]=tpu-v5-lite-podslice [v5p]=tpu-v5p-slice [v6e]=tpu-v6e-slice)
  accelerator=${accelerators[$type]}
else
  check gpus '[a-z0-9-]+:[1-9][0-9]*' "TYPE:N, such as nvidia-h100-80gb:8"
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

several=off # otherwise jax waits for other pods
((hosts == 1)) || several=on
# A host that leaves with code 75 waits, so that JobSet first sees the one that crashed or was preempted.
args=(--restarts "${option[restarts]}" --pause 20 --config "${option[config]}" --workdir "${option[workdir]}"
  --distributed "${option[distributed]:-$several}")
list=""
for word in "${args[@]}" "${words[@]}"; do
  word=$(text "$word")
  list+=${list:+, }$word
done

requests=""
for one in cpu memory local-ssd; do
  [[ ! ${option[$one]} ]] || requests+=", ${one/local-ssd/ephemeral-storage}: ${option[$one]}"
done
declare -A value=(
  [NAME]=$(text "${option[name]}") [SERVICE_ACCOUNT]=$(text "${option[service-account]}") [IMAGE]=$(text "${option[image]}")
  [ACCELERATOR]=$(text "$accelerator") [TOPOLOGY]=$(text "$shape") [CHIPS]=$each [HOSTS]=$hosts
  [CRASHES]=${option[crashes]} [REQUESTS]=$requests [SHM]=${option[shm]:+, sizeLimit: ${option[shm]}} [SSD]=${option[local-ssd]}
  [BUCKET]=$(text "${option[data-bucket]}") [QUEUE]=$(text "${option[queue]}") [GRACE]=${option[grace]}
  [DEVICES]=$(text "$devices") [COORDINATOR]=$(text "$coordinator") [ARGS]="[$list]"
)

variables=$(entries)
cluster="./gcluster deploy -d examples/$blueprint/$blueprint-deployment.yaml examples/$blueprint/$blueprint.yaml"
[[ $blueprint ]] || cluster="(unknown blueprint for $accelerator)"
if [[ ${flag[dry-run]} ]]; then
  echo "# To create a cluster, fill in the deployment file in a checkout of cluster-toolkit and run:"
  echo "#   $cluster"
  echo "# Input of kubectl apply --validate=strict --filename=-:"
  manifest
  exit 0
fi
jobset=(jobset "${option[name]}")
there=$(kubectl get "${jobset[@]}" --ignore-not-found --output="jsonpath={.metadata.name}={.status.terminalState}" || true)
case $there in
  "") ;; # none, or a cluster without JobSet, of which kubectl apply informs
  *=Completed | *=Failed) kubectl delete "${jobset[@]}" ;; # its pods cannot be changed
  *) fail "--name=${option[name]}: this JobSet has not ended; to save and stop it: $(quote kubectl delete "${jobset[@]}")" ;;
esac
manifest | kubectl apply --validate=strict --filename=- ||
  fail "kubectl apply failed; JobSet 0.10 or newer is needed; to create a cluster, in a checkout of cluster-toolkit: $cluster"
echo "Submitted. To see its pods, to watch the run, to save and stop it:"
pods=--selector=jobset.sigs.k8s.io/jobset-name=${option[name]}
quote kubectl get pods "$pods"
echo
quote kubectl logs --follow "$pods,batch.kubernetes.io/job-completion-index=0"
echo
quote kubectl delete "${jobset[@]}"
echo
