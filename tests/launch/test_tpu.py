"""launch/tpu_vm.sh, tpu_queued.sh and tpu_worker.sh: the commands they print and run."""

import shlex
import shutil
import subprocess
import tarfile

import pytest

from tests.launch.scripts import CONFIG, ROOT, calls, dry, environment, finish, stand_in, start

WORKDIR = "gs://bucket/my run"
TRAIN = ["--config", CONFIG, "--workdir", WORKDIR, "--distributed", "on", "--config.data.path=gs://b/it's"]
PLACE = ["--zone=us-west4-a", "--project=mine"]
WORDS = ["--accelerator-type=v5litepod-16", "--config", CONFIG, "--workdir", WORKDIR, *PLACE, "--config.data.path=gs://b/it's"]
VM = ["gcloud", "compute", "tpus", "tpu-vm"]
QUEUE = ["gcloud", "compute", "tpus", "queued-resources"]


@pytest.fixture
def env(tmp_path):
  (tmp_path / "env").write_text("TFDS_DATA_DIR=gs://b/t f\nHOME=/elsewhere\n")  # what is set here does not matter there
  return environment(tmp_path)


def packed(tmp_path) -> list[str]:
  git = ["git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard", "|"]
  return [*git, "tar", "-C", str(ROOT), "--null", "-T", "-", "-czf", f"{tmp_path}/jaxssl.tar.gz"]


def test_a_tpu_is_made_given_the_code_and_started(env, tmp_path):
  make, pack, copy, begin = dry("tpu_vm.sh", *WORDS, "--spot", "--env", str(tmp_path / "env"), env=env)
  kind = ["--accelerator-type=v5litepod-16", "--version=v2-alpha-tpuv5-lite", "--spot"]
  unless = [*VM, "describe", "jaxssl", *PLACE, ">/dev/null", "2>&1", "||"]
  assert make == [*unless, *VM, "create", "jaxssl", *PLACE, *kind]
  assert pack == packed(tmp_path)
  assert copy == [*VM, "scp", f"{tmp_path}/jaxssl.tar.gz", "jaxssl:jaxssl.tar.gz", *PLACE, "--worker=all"]
  assert begin[:-1] == [*VM, "ssh", "jaxssl", *PLACE, "--worker=all"]
  unpack = ["mkdir", "-p", "jaxssl", "&&", "tar", "-xzf", "jaxssl.tar.gz", "-C", "jaxssl", "&&"]
  settings = ["--set=TFDS_DATA_DIR=gs://b/t f", "--set=HOME=/elsewhere"]
  there = [*unpack, "sudo", "jaxssl/launch/tpu_worker.sh", *settings, *TRAIN]
  assert shlex.split(begin[-1].removeprefix("--command=")) == there


@pytest.mark.parametrize(
  "kind, version",
  [("v4-32", "tpu-ubuntu2204-base"), ("v5p-128", "v2-alpha-tpuv5"), ("v6e-8", "v2-alpha-tpuv6e"), ("v9-8", "mine")],
)
def test_each_type_has_its_software(env, kind, version):
  given = ["--version=mine"] if kind == "v9-8" else []
  words = [f"--accelerator-type={kind}", "--config", CONFIG, "--workdir=gs://b/r", *given, "--name=tpu-2"]
  made = dry("tpu_vm.sh", *words, env=env)[0]
  assert made[-3:] == ["tpu-2", f"--accelerator-type={kind}", f"--version={version}"]


@pytest.mark.parametrize("there", [True, False])
def test_what_is_run_is_what_was_printed(env, tmp_path, there):
  stand_in(tmp_path, "gcloud", f"[[ $4 != describe || {int(there)} == 1 ]]")
  code, out, err = finish(start("tpu_vm.sh", *WORDS, env=env))
  assert code == 0, err
  did = [call[3] for call in calls(tmp_path, "gcloud")]
  assert did == ["describe", *([] if there else ["create"]), "scp", "ssh"]
  assert "journalctl --unit=jaxssl --follow" in out and "systemctl stop jaxssl" in out and "tpu-vm delete jaxssl" in out
  with tarfile.open(tmp_path / "jaxssl.tar.gz") as archive:
    names = archive.getnames()
  assert {"pyproject.toml", "jaxssl/main.py", "launch/run.sh", "configs/nnboot.py"} <= set(names)
  assert not [name for name in names if name.startswith((".git/", ".venv", "runs/"))]
  stand_in(tmp_path, "gcloud", "[[ $4 == describe ]] || exit 3")  # a command that fails ends it
  (tmp_path / "gcloud.calls").unlink()
  assert finish(start("tpu_vm.sh", *WORDS, env=env))[0] == 3
  assert [call[3] for call in calls(tmp_path, "gcloud")] == ["describe", "scp"]


def test_a_host_trains_as_a_unit_of_systemd(env, tmp_path):
  root = tmp_path / "new"  # where nothing has been installed yet
  shutil.copytree(ROOT / "launch", root / "launch")
  (root / "pyproject.toml").touch()
  install, begin = dry("tpu_worker.sh", "--set=A=b c", *TRAIN, env=env, root=root)
  assert install[-2:] == ["touch", ".venv/installed"] and ".[tpu]" in install
  settings = ["--setenv=A=b c", f"--setenv=PYTHON={root}/.venv/bin/python"]
  assert begin[:3] == ["systemd-run", "--unit=jaxssl", "--collect"]
  assert begin[-len(settings + TRAIN) - 2 :] == [*settings, str(root / "launch/run.sh"), "--restart-crashes", *TRAIN]
  assert f"--property=WorkingDirectory={root}" in begin and "--property=KillMode=mixed" in begin


def test_a_tpu_is_asked_for_with_a_script_that_starts_by_itself(env, tmp_path):
  pack, copy, write, ask = dry("tpu_queued.sh", *WORDS, "--spot", "--service-account=me@x", env=env)
  assert pack == packed(tmp_path)
  assert copy == ["gcloud", "storage", "cp", f"{tmp_path}/jaxssl.tar.gz", f"{WORKDIR}.code.tar.gz"]
  kind = ["--accelerator-type=v5litepod-16", "--runtime-version=v2-alpha-tpuv5-lite", "--spot", "--service-account=me@x"]
  script = f"--metadata-from-file=startup-script={tmp_path}/jaxssl.startup.sh"
  assert ask == [*QUEUE, "create", "jaxssl", "--node-id=jaxssl", *PLACE, *kind, script]
  assert write[:2] == ["printf", r"%s\n"] and write[-2:] == [">", f"{tmp_path}/jaxssl.startup.sh"]
  lines = write[2:-2]
  assert lines[0] == "#!/bin/bash" and shlex.split(lines[-1]) == ["exec", "launch/tpu_worker.sh", *TRAIN]
  assert f"gcloud storage cat '{WORKDIR}.code.tar.gz' | tar -xz" in lines[3]


def test_the_start_up_script_fetches_the_code_once(env, tmp_path):
  stand_in(tmp_path, "gcloud", "")
  assert finish(start("tpu_queued.sh", *WORDS, env=env))[0] == 0
  there = tmp_path / "opt"
  script = (tmp_path / "jaxssl.startup.sh").read_text().replace("/opt/jaxssl", str(there))
  (tmp_path / "jaxssl.startup.sh").write_text(script)
  (tmp_path / "launch").mkdir()
  stand_in(tmp_path / "launch", "tpu_worker.sh", f"pwd >>{tmp_path}/where")
  with tarfile.open(tmp_path / "code.tar.gz", "w:gz") as archive:
    archive.add(tmp_path / "launch", "launch")
  stand_in(tmp_path, "gcloud", f"cat {tmp_path}/code.tar.gz")
  for _ in range(2):
    subprocess.run(["bash", tmp_path / "jaxssl.startup.sh"], env=env, check=True, timeout=60)
  assert (tmp_path / "where").read_text() == f"{there}\n" * 2
  assert sum(call[:2] == ["storage", "cat"] for call in calls(tmp_path, "gcloud")) == 1


# One state a look; the run is finished when there are no more.
CLOUD = """
case "$*" in
  *describe*) state=$(head -n 1 "$STATES"); sed -i 1d "$STATES"; [[ $state != ERROR ]] && echo "$state" ;;
  *results.json*) [[ -s $STATES ]] || echo '  "finished": true,' ;;
esac
"""


@pytest.mark.parametrize(
  "states, words, code, asked",
  [
    ("WAITING_FOR_RESOURCES ACTIVE", [], 0, 1),
    ("ACTIVE SUSPENDING SUSPENDED ACTIVE", [], 0, 2),
    ("ACTIVE ERROR SUSPENDED PROVISIONING SUSPENDED ACTIVE", [], 0, 3),
    ("SUSPENDED SUSPENDED ACTIVE", ["--restarts=1"], 2, 2),
    ("FAILED ACTIVE", [], 2, 1),
  ],
)
def test_a_spot_tpu_that_was_taken_away_is_asked_for_again(env, tmp_path, states, words, code, asked):
  (tmp_path / "states").write_text("\n".join(states.split()) + "\n")
  stand_in(tmp_path, "gcloud", CLOUD)
  words, env = [*WORDS, "--spot", "--watch", "--every=0", *words], env | {"STATES": str(tmp_path / "states")}
  found, _, err = finish(start("tpu_queued.sh", *words, env=env))
  assert found == code, err
  did = [call[3] for call in calls(tmp_path, "gcloud") if call[0] == "compute"]
  assert did.count("create") == asked
  assert did.count("delete") == asked - 1 + (code == 0 or "--restarts=1" in words)  # the last is given back
