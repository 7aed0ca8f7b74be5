"""launch/tpu_vm.sh, tpu_queued.sh and tpu_worker.sh: the commands they print and run. Their --watch: test_watch.py."""

import re
import shlex
import shutil
import subprocess
import sys
import tarfile

import jax
import pytest

from tests.launch.scripts import CONFIG, ROOT, calls, dry, environment, finish, stand_in, start

WORKDIR = "gs://bucket/my run"
TRAIN = ["--config", CONFIG, "--workdir", WORKDIR, "--distributed", "on", "--config.data.path=gs://b/it's"]
PLACE = ["--zone=us-west4-a", "--project=mine"]
WORDS = ["--accelerator-type=v5litepod-16", "--config", CONFIG, "--workdir", WORKDIR, *PLACE, "--config.data.path=gs://b/it's"]
WORKER = ["launch/tpu_worker.sh", "--heartbeat", f"{WORKDIR}/launch"]
FORGET = ["gcloud", "storage", "rm", "--quiet", f"{WORKDIR}/launch/host-*.beat", ">/dev/null", "2>&1", "||", "true"]
DISK = "projects/p/zones/z/disks/d"
VM = ["gcloud", "compute", "tpus", "tpu-vm"]
QUEUE = ["gcloud", "compute", "tpus", "queued-resources"]


@pytest.fixture
def env(tmp_path):
  (tmp_path / "env").write_text("TFDS_DATA_DIR=gs://b/t f\nHOME=/elsewhere\n")  # what is set here does not matter there
  return environment(tmp_path, PYTHON=sys.executable)


def packed(tmp_path) -> list[list[str]]:
  files = f"{tmp_path}/jaxssl.launch"
  versions = [sys.executable, "launch/versions.py", ">", f"{files}/versions.txt"]
  git = ["git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard", "|"]
  there = 'while IFS= read -rd "" file; do [[ ! -e $file && ! -L $file ]] || printf "%s\\0" "$file"; done |'
  tar = ["tar", "-czf", f"{files}/code.tar.gz", "-C", files, "versions.txt", "-C", str(ROOT), "--null", "-T", "-"]
  return [["mkdir", "-p", files], versions, git + shlex.split(there) + tar]


def test_a_tpu_is_made_given_the_code_and_started(env, tmp_path):
  words = [*WORDS, "--spot", "--env", str(tmp_path / "env"), f"--data-disk={DISK}"]
  *pack, make, forget, copy, begin = dry("tpu_vm.sh", *words, env=env)
  kind = ["--accelerator-type=v5litepod-16", "--version=v2-alpha-tpuv5-lite", "--spot"]
  kind += [f"--data-disk=source={DISK},mode=read-only"]
  unless = [*VM, "describe", "jaxssl", *PLACE, ">/dev/null", "2>&1", "||"]
  assert make == [*unless, *VM, "create", "jaxssl", *PLACE, *kind]
  assert pack == packed(tmp_path) and forget == FORGET
  assert copy == [*VM, "scp", f"{tmp_path}/jaxssl.launch/code.tar.gz", "jaxssl:jaxssl.tar.gz", *PLACE, "--worker=all"]
  assert begin[:-1] == [*VM, "ssh", "jaxssl", *PLACE, "--worker=all"]
  unpack = ["mkdir", "-p", "jaxssl", "&&", "tar", "-xzf", "jaxssl.tar.gz", "-C", "jaxssl", "&&"]
  settings = ["--set=TFDS_DATA_DIR=gs://b/t f", "--set=HOME=/elsewhere"]
  there = [*unpack, "sudo", f"jaxssl/{WORKER[0]}", *settings, "--mount=/mnt/data", *WORKER[1:], *TRAIN]
  assert shlex.split(begin[-1].removeprefix("--command=")) == there


def test_hosts_are_connected_to_in_batches(env):
  *_, copy, begin = dry("tpu_vm.sh", *WORDS, "--batch-size=32", env=env)
  for command in (copy, begin):
    assert command[:2] == ["gcloud", "alpha"] and "--batch-size=32" in command and "--worker=all" in command


@pytest.mark.parametrize(
  "kind, version",
  [("v4-32", "tpu-ubuntu2204-base"), ("v5p-128", "v2-alpha-tpuv5"), ("v6e-8", "v2-alpha-tpuv6e"), ("v9-8", "mine")],
)
def test_each_type_has_its_software(env, kind, version):
  given = ["--version=mine"] if kind == "v9-8" else []
  words = [f"--accelerator-type={kind}", "--config", CONFIG, "--workdir=gs://b/r", *given, "--name=tpu-2"]
  made = dry("tpu_vm.sh", *words, env=env)[3]
  assert made[-3:] == ["tpu-2", f"--accelerator-type={kind}", f"--version={version}"]


@pytest.mark.parametrize("there", [True, False])
def test_what_is_run_is_what_was_printed(env, tmp_path, there):
  stand_in(tmp_path, "gcloud", f"[[ $4 != describe || {int(there)} == 1 ]]")
  code, out, err = finish(start("tpu_vm.sh", *WORDS, env=env))
  assert code == 0, err
  did = [call[3] for call in calls(tmp_path, "gcloud")]
  assert [action for action in did if action != f"{WORKDIR}/launch/host-*.beat"] == [
    "describe",
    *([] if there else ["create"]),
    "scp",
    "ssh",
  ]
  assert "journalctl --unit=jaxssl --follow" in out and "systemctl stop jaxssl" in out and "tpu-vm delete jaxssl" in out
  with tarfile.open(tmp_path / "jaxssl.launch" / "code.tar.gz") as archive:
    names = archive.getnames()
    pinned = archive.extractfile("versions.txt")
    assert pinned is not None
    lines = pinned.read().decode().splitlines()
  assert lines[0] == "# Python {}.{}".format(*sys.version_info) and f"jax=={jax.__version__}" in lines
  assert all(re.fullmatch(r"[A-Za-z0-9._-]+==[^ +]+", line) for line in lines[1:])  # no paths of this machine
  assert not [line for line in lines if line.startswith(("jaxssl==", "libtpu=="))]
  assert {"pyproject.toml", "jaxssl/main.py", "launch/run.sh", "configs/nnboot.py"} <= set(names)
  assert not [name for name in names if name.startswith((".git/", ".venv", "runs/"))]
  stand_in(tmp_path, "gcloud", "[[ $4 == describe || $2 == storage ]] || exit 3")  # a copy that fails is repeated
  (tmp_path / "gcloud.calls").unlink()
  code, _, err = finish(start("tpu_vm.sh", *WORDS, env=env | {"RETRY_PAUSE": "0"}))
  assert code == 3 and "attempt 4 of 5 failed" in err
  assert [call[3] for call in calls(tmp_path, "gcloud")][2:] == ["scp"] * 5


def test_versions_may_be_given(env, tmp_path):
  (tmp_path / "mine.txt").write_text("# Python 3.13\njax==0.12.0\n")
  copied = dry("tpu_vm.sh", *WORDS, f"--constraints={tmp_path}/mine.txt", env=env)[1]
  assert copied == ["cp", f"{tmp_path}/mine.txt", f"{tmp_path}/jaxssl.launch/versions.txt"]


def test_a_python_without_jax_pins_nothing(env, tmp_path):
  stand_in(tmp_path, "gcloud", "")
  (tmp_path / "empty").mkdir()
  stand_in(tmp_path, "bare", f'exec {shlex.quote(sys.executable)} -I -S "$@"')
  code, out, err = finish(start("tpu_vm.sh", *WORDS, env=env | {"PYTHON": str(tmp_path / "bare")}))
  assert code == 2 and "has no jax; expected the one that runs jaxssl" in err and "started" not in out
  code, _, err = finish(start("tpu_vm.sh", *WORDS, env=env | {"PYTHON": "no-python"}))
  assert (code, err.count("\n")) == (2, 1) and "PYTHON=no-python: command not found" in err
  assert not calls(tmp_path, "gcloud")  # before a TPU is created


def test_a_host_trains_as_a_unit_of_systemd(env, tmp_path):
  root = tmp_path / "new"  # where nothing has been installed yet
  shutil.copytree(ROOT / "launch", root / "launch")
  (root / "pyproject.toml").touch()
  (root / "constraints.txt").touch()
  checkout, _ = dry("tpu_worker.sh", *TRAIN, env=env, root=root)
  assert checkout[checkout.index("--constraint") + 1] == "constraints.txt" and "3.12" in checkout
  (root / "versions.txt").write_text("# Python 3.13\njax==0.12.0\n")
  install, begin = dry("tpu_worker.sh", "--set=A=b c", *TRAIN, env=env, root=root)
  assert install[install.index("--constraint") + 1] == "versions.txt" and ".[tpu]" in install
  assert install[install.index("venv") :][:5] == ["venv", "--quiet", "--clear", "--python", "3.13"]
  settings = ["--setenv=A=b c", f"--setenv=PYTHON={root}/.venv/bin/python"]
  assert begin[:3] == ["systemd-run", "--unit=jaxssl", "--collect"]
  assert begin[-len(settings + TRAIN) - 1 :] == [*settings, str(root / "launch/run.sh"), *TRAIN]
  assert f"--property=WorkingDirectory={root}" in begin and "--property=KillMode=mixed" in begin
  (root / ".venv").mkdir()
  (root / ".venv" / "installed").write_text("# Python 3.13\njax==0.12.0\n")
  assert len(dry("tpu_worker.sh", *TRAIN, env=env, root=root)) == 1  # already there
  (root / "versions.txt").write_text("# Python 3.13\njax==0.12.1\n")
  assert len(dry("tpu_worker.sh", *TRAIN, env=env, root=root)) == 2


def test_an_install_that_fails_is_repeated(env, tmp_path):
  root = tmp_path / "new"
  shutil.copytree(ROOT / "launch", root / "launch")
  for name in ("pyproject.toml", "constraints.txt"):
    (root / name).touch()
  (root / ".venv").mkdir()
  stand_in(tmp_path, "python3", """(($(wc -l <"$0.calls") > 2))""")
  stand_in(tmp_path, "systemd-run", "")
  stand_in(tmp_path, "cat", "exit 0")
  code, _, err = finish(start("tpu_worker.sh", *TRAIN, env=env | {"RETRY_PAUSE": "0"}, root=root))
  assert code == 0, err
  assert [call[:3] for call in calls(tmp_path, "python3")] == [["-m", "pip", "install"]] * 3 + [
    ["-m", "uv", "venv"],
    ["-m", "uv", "pip"],
  ]
  assert "attempt 2 of 5 failed" in err and len(calls(tmp_path, "systemd-run")) == 1


def test_the_data_disk_is_mounted_read_only(env, tmp_path):
  mount, *_ = dry("tpu_worker.sh", "--mount=/no such/data", *TRAIN, env=env)
  assert ["mount", "-o", "ro,noload", "$disk", "/no such/data"] == mount[mount.index("mount") :][:5]
  stand_in(tmp_path, "lsblk", r"printf '%s\n' '/dev/sda disk  ' '/dev/sda1 part ext4 /' '/dev/sdb disk ext4 '")
  for name in ("mount", "systemd-run", "python3", "mkdir"):
    stand_in(tmp_path, name, "")
  root = tmp_path / "new"
  shutil.copytree(ROOT / "launch", root / "launch")
  for name in ("pyproject.toml", "constraints.txt"):
    (root / name).touch()
  (root / ".venv").mkdir()
  assert finish(start("tpu_worker.sh", "--mount=/mnt/no", *TRAIN, env=env, root=root))[0] == 0
  assert calls(tmp_path, "mount") == [["-o", "ro,noload", "/dev/sdb", "/mnt/no"]]


def test_a_tpu_is_asked_for_with_a_script_that_starts_by_itself(env, tmp_path):
  *pack, copy, write, forget, ask = dry("tpu_queued.sh", *WORDS, "--spot", "--service-account=me@x", env=env)
  assert pack == packed(tmp_path) and forget == FORGET
  assert copy == ["gcloud", "storage", "cp", f"{tmp_path}/jaxssl.launch/code.tar.gz", f"{WORKDIR}.code.tar.gz"]
  kind = ["--accelerator-type=v5litepod-16", "--runtime-version=v2-alpha-tpuv5-lite", "--spot", "--service-account=me@x"]
  script = f"--metadata-from-file=startup-script={tmp_path}/jaxssl.launch/startup.sh"
  assert ask == [*QUEUE, "create", "jaxssl", "--node-id=jaxssl", *PLACE, *kind, script]
  assert write[:2] == ["printf", r"%s\n"] and write[-2:] == [">", f"{tmp_path}/jaxssl.launch/startup.sh"]
  lines = write[2:-2]
  assert lines[0] == "#!/bin/bash" and shlex.split(lines[-1]) == ["exec", *WORKER, *TRAIN]
  assert f"if gcloud storage cat '{WORKDIR}.code.tar.gz' | tar -xz" in lines[7]


def test_the_start_up_script_fetches_the_code_once(env, tmp_path):
  stand_in(tmp_path, "gcloud", "")
  assert finish(start("tpu_queued.sh", *WORDS, env=env))[0] == 0
  (tmp_path / "opt").mkdir()
  there = tmp_path / "opt" / "jaxssl"
  startup = tmp_path / "jaxssl.launch" / "startup.sh"
  startup.write_text(startup.read_text().replace("cd /opt", f"cd {tmp_path}/opt"))
  (tmp_path / "launch").mkdir()
  stand_in(tmp_path / "launch", "tpu_worker.sh", f"pwd >>{tmp_path}/where")
  with tarfile.open(tmp_path / "code.tar.gz", "w:gz") as archive:
    archive.add(tmp_path / "launch", "launch")
  stand_in(tmp_path, "sleep", "")
  # the first download breaks off
  stand_in(tmp_path, "gcloud", f"""cat {tmp_path}/code.tar.gz; grep -c 'storage cat' "$0.calls" | grep -qv '^1$'""")
  for _ in range(2):
    subprocess.run(["bash", startup], env=env, check=True, timeout=60)
  assert (tmp_path / "where").read_text() == f"{there}\n" * 2
  assert sum(call[:2] == ["storage", "cat"] for call in calls(tmp_path, "gcloud")) == 2
  assert calls(tmp_path, "sleep") == [["10"]]
