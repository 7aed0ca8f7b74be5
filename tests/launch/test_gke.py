"""launch/gke: manifests are valid by JobSet's schema and hold what the options say."""

import json
import pathlib
import re

import jsonschema
import pytest
import yaml

from tests.launch.scripts import CONFIG, ROOT, calls, environment, finish, follow, stand_in, start

SCHEMA = json.loads(pathlib.Path(__file__).with_name("jobset.schema.json").read_text())
WORKDIR = 'gs://bucket/my "run"'
WORDS = ["--config", CONFIG, "--workdir", WORKDIR, "--image=r/p/jaxssl:1"]
TPU = ["--topology=v5e:4x4"]
GPU = ["--gpus=nvidia-h100-80gb:8", "--hosts=2"]


def manifest(tmp_path, *words: str) -> tuple[dict, dict]:
  """Returns the service account and the JobSet that --dry-run prints."""
  code, out, err = finish(start("gke/apply.sh", "--dry-run", *WORDS, *words, env=environment(tmp_path)))
  assert code == 0, err
  account, jobset = yaml.safe_load_all(out)
  jsonschema.validate(jobset, SCHEMA)
  assert account == {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": account["metadata"]}
  return account, jobset


def job(jobset: dict) -> dict:
  (replicated,) = jobset["spec"]["replicatedJobs"]
  assert replicated["replicas"] == 1
  return replicated["template"]["spec"]


def pod(jobset: dict) -> dict:
  return job(jobset)["template"]["spec"]


def volumes(jobset: dict) -> dict[str, dict]:
  """Returns where each volume is mounted and what it is."""
  kinds = {volume.pop("name"): volume for volume in pod(jobset)["volumes"]}
  return {mount["mountPath"]: kinds[mount["name"]] for mount in container(jobset)["volumeMounts"]}


def container(jobset: dict) -> dict:
  (only,) = pod(jobset)["containers"]
  return only


@pytest.mark.parametrize(
  "topology, more, kind, hosts, chips",
  [
    ("v5e:4x4", [], "tpu-v5-lite-podslice", 4, 4),
    ("v5e:16x16", [], "tpu-v5-lite-podslice", 64, 4),
    ("v5e:2x4", ["--chips-per-host=8"], "tpu-v5-lite-podslice", 1, 8),
    ("v6e:1x1", [], "tpu-v6e-slice", 1, 1),
    ("v5p:4x4x4", [], "tpu-v5p-slice", 16, 4),
    ("v4:2x2x1", [], "tpu-v4-podslice", 1, 4),
  ],
)
def test_a_slice_of_tpus(tmp_path, topology, more, kind, hosts, chips):
  _, jobset = manifest(tmp_path, f"--topology={topology}", *more)
  assert job(jobset)["parallelism"] == job(jobset)["completions"] == hosts
  shape = {"cloud.google.com/gke-tpu-accelerator": kind, "cloud.google.com/gke-tpu-topology": topology.partition(":")[2]}
  assert pod(jobset)["nodeSelector"] == shape
  assert container(jobset)["resources"] == {"requests": {"google.com/tpu": chips}, "limits": {"google.com/tpu": chips}}
  args = container(jobset)["args"]
  assert args[args.index("--distributed") + 1] == ("on" if hosts > 1 else "off")
  exclusive = {"alpha.jobset.sigs.k8s.io/exclusive-topology": "cloud.google.com/gke-nodepool"}
  assert jobset["metadata"] == {"name": "jaxssl", "annotations": exclusive}


def test_hosts_with_gpus_find_each_other(tmp_path):
  _, jobset = manifest(tmp_path, *GPU, "--name=two")
  assert job(jobset)["parallelism"] == job(jobset)["completions"] == 2
  assert pod(jobset)["nodeSelector"] == {"cloud.google.com/gke-accelerator": "nvidia-h100-80gb"}
  assert container(jobset)["resources"] == {"requests": {"nvidia.com/gpu": 8}, "limits": {"nvidia.com/gpu": 8}}
  env = {entry["name"]: entry.get("value") for entry in container(jobset)["env"]}
  (replicated,) = jobset["spec"]["replicatedJobs"]
  host, port = env["JAX_COORDINATOR_ADDRESS"].split(":")
  assert host == f"two-{replicated['name']}-0-0.two"  # JobSet's name of the first pod
  assert {"containerPort": int(port)} in container(jobset)["ports"]
  assert env["JAX_NUM_PROCESSES"] == "2" and env["JAX_LOCAL_DEVICE_IDS"] == "0,1,2,3,4,5,6,7"
  (number,) = [entry["valueFrom"]["fieldRef"] for entry in container(jobset)["env"] if entry["name"] == "JAX_PROCESS_ID"]
  assert number == {"fieldPath": "metadata.annotations['batch.kubernetes.io/job-completion-index']"}


@pytest.mark.parametrize("kind", [TPU, GPU], ids=["tpu", "gpu"])
def test_what_every_manifest_holds(tmp_path, kind):
  account, jobset = manifest(tmp_path, *kind, "--grace=600", "--service-account=null")
  assert account["metadata"]["name"] == pod(jobset)["serviceAccountName"] == "null"
  assert pod(jobset)["automountServiceAccountToken"] is False
  assert pod(jobset)["terminationGracePeriodSeconds"] == 600
  assert pod(jobset)["restartPolicy"] == "Never" and job(jobset)["completionMode"] == "Indexed"
  assert jobset["spec"]["network"]["enableDNSHostnames"] is True
  train = container(jobset)
  assert train["command"] == ["bash", "launch/run.sh", "--attempt", "$(RESTART_ATTEMPT)"]
  (attempt,) = [entry["valueFrom"]["fieldRef"] for entry in train["env"] if entry["name"] == "RESTART_ATTEMPT"]
  assert attempt == {"fieldPath": "metadata.annotations['jobset.sigs.k8s.io/restart-attempt']"}
  assert train["args"][:4] == ["--restarts", "100", "--pause", "20"]
  assert volumes(jobset) == {"/dev/shm": {"emptyDir": {"medium": "Memory"}}}  # of workers, data.stage and NCCL
  assert "labels" not in jobset["metadata"] and "metadata" not in job(jobset)["template"]
  assert not any("local-ssd" in key for key in pod(jobset)["nodeSelector"])
  assert not any("gke-spot" in str(part) for part in (pod(jobset)["nodeSelector"], pod(jobset)["tolerations"]))
  _, jobset = manifest(tmp_path, *kind, "--spot", "--restarts=7", "--crashes=5")
  assert container(jobset)["args"][:2] == ["--restarts", "7"]
  assert pod(jobset)["nodeSelector"]["cloud.google.com/gke-spot"] == "true"
  spot = {"key": "cloud.google.com/gke-spot", "operator": "Equal", "value": "true", "effect": "NoSchedule"}
  assert spot in pod(jobset)["tolerations"]
  assert jobset["spec"]["failurePolicy"]["maxRestarts"] == 5


def outcome(jobset: dict, code: int = 0, disrupted: bool = False) -> tuple[str, bool]:
  """Returns what JobSet does when a pod fails, and whether it counts, by the rules of Kubernetes and JobSet."""
  reason, message = "BackoffLimitExceeded", "Job has reached the specified backoff limit"
  for index, rule in enumerate(job(jobset)["podFailurePolicy"]["rules"]):
    end = f"matching {rule['action']} rule at index {index}"
    if code in rule.get("onExitCodes", {"values": []})["values"]:
      assert rule["onExitCodes"]["operator"] == "In" and rule["onExitCodes"]["containerName"] == container(jobset)["name"]
      reason, message = (
        "PodFailurePolicy",
        f"Container train for pod default/jaxssl-workers-0-3-x failed with exit code {code} {end}",
      )
      break
    if disrupted and {"type": "DisruptionTarget", "status": "True"} in rule.get("onPodConditions", []):
      reason, message = "PodFailurePolicy", f"Pod default/jaxssl-workers-0-3-x has condition DisruptionTarget {end}"
      break
  for rule in jobset["spec"]["failurePolicy"]["rules"]:
    patterns = rule.get("onJobFailureMessagePatterns", [""])
    if reason in rule["onJobFailureReasons"] and any(re.search(pattern, message) for pattern in patterns):
      return rule["action"].removesuffix("AndIgnoreMaxRestarts"), not rule["action"].endswith("AndIgnoreMaxRestarts")
  return "RestartJobSet", True


@pytest.mark.parametrize("kind", [TPU, GPU], ids=["tpu", "gpu"])
def test_what_follows_an_exit_code_is_the_same_as_elsewhere(tmp_path, kind):
  _, jobset = manifest(tmp_path, *kind)
  assert job(jobset)["backoffLimit"] == 0  # one lost host ends the job: the others cannot go on without it
  policy = jobset["spec"]["failurePolicy"]
  assert (policy["maxRestarts"], policy["restartStrategy"]) == (3, "BlockingRecreate")
  for code in (1, 2, 3, 4, 75, 130, 134, 137, 139, 175, 255):
    action, counts = outcome(jobset, code)
    assert action == ("RestartJobSet" if follow(code)[0] == "restart" else "FailJobSet"), code
    assert counts == (code != 75), code
  assert outcome(jobset, 75, disrupted=True) == outcome(jobset, 137, disrupted=True) == ("RestartJobSet", False)
  assert outcome(jobset, 2, disrupted=True)[0] == "FailJobSet"


@pytest.mark.parametrize("kind", [TPU, GPU], ids=["tpu", "gpu"])
def test_volumes_requests_and_a_queue(tmp_path, kind):
  words = ["--cpu=96", "--memory=300Gi", "--shm=200Gi", "--local-ssd=1Ti", "--data-bucket=my-images", "--queue=team-a"]
  _, jobset = manifest(tmp_path, *kind, *words)
  resources = container(jobset)["resources"]
  ours = {"cpu": 96, "memory": "300Gi", "ephemeral-storage": "1Ti"}
  assert resources["requests"] == resources["limits"] | ours and len(resources["limits"]) == 1
  assert jobset["metadata"]["labels"] == {"kueue.x-k8s.io/queue-name": "team-a"}
  assert pod(jobset)["nodeSelector"]["cloud.google.com/gke-ephemeral-storage-local-ssd"] == "true"
  fuse = {"bucketName": "my-images", "mountOptions": "implicit-dirs"}
  assert volumes(jobset) == {
    "/dev/shm": {"emptyDir": {"medium": "Memory", "sizeLimit": "200Gi"}},
    "/ssd": {"emptyDir": {"sizeLimit": "1Ti"}},
    "/data": {"csi": {"driver": "gcsfuse.csi.storage.gke.io", "readOnly": True, "volumeAttributes": fuse}},
  }
  (data,) = [mount for mount in container(jobset)["volumeMounts"] if mount["mountPath"] == "/data"]
  assert data["readOnly"] is True
  limits = {"gke-gcsfuse/cpu-limit": "0", "gke-gcsfuse/memory-limit": "0"}  # of the sidecar; 0 is none
  assert job(jobset)["template"]["metadata"] == {"annotations": {"gke-gcsfuse/volumes": "true"} | limits}


def test_words_reach_the_command_as_they_are(tmp_path):
  odd = ["--config.a=${NAME} $(HOME) \\n", "--config.b=it's: a # b", "--config.c={x: [1]}"]
  (tmp_path / "env").write_text("NO=1\nTEXT=a: #b ${IMAGE} \\ $(X)\n")
  _, jobset = manifest(tmp_path, *TPU, *odd, "--env", str(tmp_path / "env"))
  words = ["--config", CONFIG, "--workdir", WORKDIR, "--distributed", "on", *odd]
  assert container(jobset)["args"][4:] == [word.replace("$(", "$$(") for word in words]  # Kubernetes reads $$( as $(
  env = {entry["name"]: entry.get("value") for entry in container(jobset)["env"]}
  assert env["NO"] == "1" and env["TEXT"] == "a: #b ${IMAGE} \\ $$(X)"


@pytest.mark.parametrize(
  "words, blueprint",
  [(TPU, "gke-tpu-v5e"), (["--topology=v5p:4x4x4"], "gke-tpu-v5p"), (GPU, "gke-a3-highgpu"), (["--gpus=nvidia-l4:1"], None)],
)
def test_the_command_that_makes_the_cluster(tmp_path, words, blueprint):
  _, out, _ = finish(start("gke/apply.sh", "--dry-run", *WORDS, *words, env=environment(tmp_path)))
  command = f"./gcluster deploy -d examples/{blueprint}/{blueprint}-deployment.yaml examples/{blueprint}/{blueprint}.yaml"
  assert (f"#   {command}\n" in out) == (blueprint is not None)
  assert "# Input of kubectl apply --validate=strict --filename=-" in out


def test_kubectl_is_given_the_manifest(tmp_path):
  stand_in(tmp_path, "kubectl", f"[[ $1 != apply ]] || cat >{tmp_path}/given; exit ${{CODE:-0}}")
  code, out, err = finish(start("gke/apply.sh", *WORDS, *TPU, env=environment(tmp_path)))
  assert code == 0, err
  look, *did = calls(tmp_path, "kubectl")
  assert look[:3] == ["get", "jobset", "jaxssl"] and did == [["apply", "--validate=strict", "--filename=-"]]
  assert list(yaml.safe_load_all((tmp_path / "given").read_text())) == list(manifest(tmp_path, *TPU))
  assert "kubectl logs --follow" in out and "kubectl delete jobset jaxssl" in out
  code, _, err = finish(start("gke/apply.sh", *WORDS, *TPU, env=environment(tmp_path, CODE=1)))
  assert code == 2 and "./gcluster deploy" in err


@pytest.mark.parametrize("state, does", [("Completed", ["delete", "apply"]), ("Failed", ["delete", "apply"]), ("", [])])
def test_a_jobset_that_has_ended_is_replaced(state, does, tmp_path):
  stand_in(tmp_path, "kubectl", f"[[ $1 != get ]] || echo jaxssl={state}; [[ $1 != apply ]] || cat >/dev/null")
  code, _, err = finish(start("gke/apply.sh", *WORDS, *TPU, env=environment(tmp_path)))
  assert [call[0] for call in calls(tmp_path, "kubectl")] == ["get", *does] and code == (0 if does else 2), err
  assert does or err == "error: --name=jaxssl: this JobSet has not ended; to save and stop it: kubectl delete jobset jaxssl\n"


def test_the_image_holds_what_the_manifest_starts():
  lines = (ROOT / "launch" / "gke" / "Dockerfile").read_text().splitlines()
  copied = [line.split()[1:-1] for line in lines if line.startswith("COPY")]
  for path in (path for paths in copied for path in paths):
    assert path == "${VERSIONS}" or (ROOT / path).exists(), path
  (install,) = [line for line in lines if line.startswith("RUN")]
  assert "ARG VERSIONS=constraints.txt" in lines and (ROOT / "constraints.txt").exists()
  assert "--constraint pins.txt" in install and '".[${EXTRA}]"' in install
  assert "WORKDIR /jaxssl" in lines and ["launch"] in copied
  before = {name for line in lines[: lines.index(install)] if line.startswith("COPY") for name in line.split()[1:-1]}
  assert {"pyproject.toml", "setup.py", "README.md", "jaxssl", "configs"} <= before  # what pip builds the package from
