"""launch/gke: manifests are valid by JobSet's schema and hold what the options say."""

import json
import pathlib

import jsonschema
import pytest
import yaml

from tests.launch.scripts import CONFIG, ROOT, calls, environment, finish, stand_in, start

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
  (mount,), (volume,) = container(jobset)["volumeMounts"], pod(jobset)["volumes"]
  assert mount["mountPath"] == "/dev/shm" and volume == {"name": mount["name"], "emptyDir": {"medium": "Memory"}}


@pytest.mark.parametrize("kind", [TPU, GPU], ids=["tpu", "gpu"])
def test_what_every_manifest_holds(tmp_path, kind):
  account, jobset = manifest(tmp_path, *kind, "--grace=600", "--service-account=null")
  assert account["metadata"]["name"] == pod(jobset)["serviceAccountName"] == "null"
  assert pod(jobset)["automountServiceAccountToken"] is False
  assert pod(jobset)["terminationGracePeriodSeconds"] == 600
  assert pod(jobset)["restartPolicy"] == "Never" and job(jobset)["completionMode"] == "Indexed"
  assert jobset["spec"]["network"]["enableDNSHostnames"] is True
  train = container(jobset)
  assert [*train["command"], *train["args"][:2]] == ["bash", "launch/run.sh", "--restarts", "0"]
  assert not any("gke-spot" in str(part) for part in (pod(jobset)["nodeSelector"], pod(jobset)["tolerations"]))
  _, jobset = manifest(tmp_path, *kind, "--spot", "--restarts=7")
  assert pod(jobset)["nodeSelector"]["cloud.google.com/gke-spot"] == "true"
  spot = {"key": "cloud.google.com/gke-spot", "operator": "Equal", "value": "true", "effect": "NoSchedule"}
  assert spot in pod(jobset)["tolerations"]
  (fatal,) = job(jobset)["podFailurePolicy"]["rules"]  # exit codes 1 and 2 end it, others start all hosts again
  exits = {"containerName": container(jobset)["name"], "operator": "In", "values": [1, 2]}
  assert fatal == {"action": "FailJob", "onExitCodes": exits}
  assert job(jobset)["backoffLimit"] == 0  # one lost host ends the job: the others cannot go on without it
  policy = jobset["spec"]["failurePolicy"]
  assert (policy["maxRestarts"], policy["restartStrategy"]) == (7, "BlockingRecreate")
  (rule,) = policy["rules"]
  assert (rule["action"], rule["onJobFailureReasons"]) == ("FailJobSet", ["PodFailurePolicy"])


def test_words_reach_the_command_as_they_are(tmp_path):
  odd = ["--config.a=${NAME} $(HOME) \\n", "--config.b=it's: a # b", "--config.c={x: [1]}"]
  (tmp_path / "env").write_text("NO=1\nTEXT=a: #b ${IMAGE} \\ $(X)\n")
  _, jobset = manifest(tmp_path, *TPU, *odd, "--env", str(tmp_path / "env"))
  words = ["--config", CONFIG, "--workdir", WORKDIR, "--distributed", "on", *odd]
  assert container(jobset)["args"][2:] == [word.replace("$(", "$$(") for word in words]  # Kubernetes reads $$( as $(
  env = {entry["name"]: entry["value"] for entry in container(jobset)["env"]}
  assert env["NO"] == "1" and env["TEXT"] == "a: #b ${IMAGE} \\ $$(X)"


@pytest.mark.parametrize(
  "words, blueprint",
  [(TPU, "gke-tpu-v5e"), (["--topology=v5p:4x4x4"], "gke-tpu-v5p"), (GPU, "gke-a3-highgpu"), (["--gpus=nvidia-l4:1"], None)],
)
def test_the_command_that_makes_the_cluster(tmp_path, words, blueprint):
  _, out, _ = finish(start("gke/apply.sh", "--dry-run", *WORDS, *words, env=environment(tmp_path)))
  command = f"./gcluster deploy -d examples/{blueprint}/{blueprint}-deployment.yaml examples/{blueprint}/{blueprint}.yaml"
  assert (f"#   {command}\n" in out) == (blueprint is not None)
  assert "# Input of kubectl apply --filename=-" in out


def test_kubectl_is_given_the_manifest(tmp_path):
  stand_in(tmp_path, "kubectl", f"cat >{tmp_path}/given; exit ${{CODE:-0}}")
  code, out, err = finish(start("gke/apply.sh", *WORDS, *TPU, env=environment(tmp_path)))
  assert code == 0, err
  assert calls(tmp_path, "kubectl") == [["apply", "--filename=-"]]
  assert list(yaml.safe_load_all((tmp_path / "given").read_text())) == list(manifest(tmp_path, *TPU))
  assert "kubectl logs --follow" in out and "kubectl delete jobset jaxssl" in out
  code, _, err = finish(start("gke/apply.sh", *WORDS, *TPU, env=environment(tmp_path, CODE=1)))
  assert code == 2 and "./gcluster deploy" in err


def test_the_image_holds_what_the_manifest_starts():
  lines = (ROOT / "launch" / "gke" / "Dockerfile").read_text().splitlines()
  copied = [line.split()[1:-1] for line in lines if line.startswith("COPY")]
  for path in (path for paths in copied for path in paths):
    assert (ROOT / path).exists(), path
  assert "WORKDIR /jaxssl" in lines and ["launch"] in copied and ["configs"] in copied
