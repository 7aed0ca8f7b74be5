"""All scripts of launch/: shellcheck, --help, one-line errors, a --dry-run without effects."""

import os
import pathlib
import shutil
import subprocess
import sys

import pytest

from tests.launch.scripts import CONFIG, ROOT, SCRIPTS, STARTED, dry, environment, finish, start

NAMES = [str(path.relative_to(ROOT / "launch")) for path in STARTED]
ENOUGH = {  # words that --dry-run needs
  "run.sh": [],
  "tpu_worker.sh": [],
  "local.sh": ["--processes=2"],
  "slurm.sbatch": [],
  "tpu_vm.sh": ["--accelerator-type=v5litepod-16"],
  "tpu_queued.sh": ["--accelerator-type=v5litepod-16", "--watch"],
  "gke/apply.sh": ["--topology=v5e:4x4", "--image=i"],
}
WORDS = ["--config", CONFIG, "--workdir", "gs://bucket/run"]


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_shellcheck_finds_nothing(path):
  found = shutil.which("shellcheck", path=f"{pathlib.Path(sys.executable).parent}:{os.environ['PATH']}")
  assert found, "install what development needs: pip install --editable '.[dev]'"
  for command in (["bash", "-n", path], [found, "--external-sources", f"--source-path={ROOT}", "--severity=style", path]):
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr


def test_every_script_is_tested_and_can_be_started():
  assert set(NAMES) == set(ENOUGH)
  for path in STARTED:
    assert path.suffix == ".sbatch" or os.access(path, os.X_OK), path
    assert "set -euo pipefail" in path.read_text()


@pytest.mark.parametrize("name", NAMES)
def test_help_names_every_option(name, tmp_path):
  code, out, _ = finish(start(name, "--help", env=environment(tmp_path)))
  assert code == 0 and out.startswith("usage: ") and f"launch/{name}" in out
  assert max(len(line) for line in out.splitlines()) <= 128
  if name in ("run.sh", "tpu_worker.sh"):
    return  # they forward unknown options
  _, _, err = finish(start(name, "--no-such-option", env=environment(tmp_path)))
  assert err.count("\n") == 1 and err.startswith("error: --no-such-option: unknown option; expected ")
  options = {word.rstrip(",") for word in err.split("expected --config.FIELD=VALUE, ")[1].split()}
  assert {option for option in options if option.partition("=")[0] not in out} == {"--distributed"}  # the command's own


@pytest.mark.parametrize("name", NAMES)
def test_a_dry_run_touches_nothing(name, tmp_path):
  (tmp_path / "bin").mkdir()
  for command in (
    "gcloud",
    "kubectl",
    "srun",
    "scontrol",
    "sbatch",
    "systemd-run",
    "curl",
    "mount",
    "tar",
    "python",
    "python3",
  ):
    (tmp_path / "bin" / command).write_text(f"#!/bin/sh\ntouch {tmp_path}/touched\n")
    (tmp_path / "bin" / command).chmod(0o755)
  env = environment(tmp_path / "bin", TMPDIR=tmp_path)
  if name == "gke/apply.sh":
    assert finish(start(name, "--dry-run", *ENOUGH[name], *WORDS, env=env))[0] == 0
  else:
    assert dry(name, *ENOUGH[name], *WORDS, env=env)
  assert [path.name for path in tmp_path.iterdir()] == ["bin"]


TPU = ["--accelerator-type=v5litepod-16"]
GKE = ["--image=i", "--topology=v5e:4x4"]


@pytest.mark.parametrize(
  "name, words, message",
  [
    ("local.sh", [], "--config: required, for example --config configs/nnboot.py"),
    ("local.sh", ["--config=none.py"], "--config=none.py: file not found"),
    ("local.sh", ["--processes"], "--processes: missing value; expected --processes VALUE"),
    ("local.sh", ["--processes=two"], "--processes=two: expected a positive integer"),
    ("local.sh", ["--dry-run=1"], "--dry-run=1: --dry-run takes no value"),
    ("local.sh", ["--config", CONFIG, "--env=none"], "--env=none: cannot be read"),
    ("local.sh", ["knn"], "knn: unknown option"),
    ("run.sh", ["--restarts=-1"], "--restarts=-1: expected an integer"),
    ("run.sh", ["--crashes=some"], "--crashes=some: expected an integer"),
    ("run.sh", ["--attempt=4", "--restarts=3"], "--attempt=4: giving up after --restarts=3"),
    ("run.sh", [], "PYTHON=no-python: command not found; expected a Python with jaxssl installed"),
    ("slurm.sbatch", WORDS, "not a Slurm job; submit it: sbatch"),
    ("tpu_vm.sh", WORDS, "--accelerator-type=: expected a type such as v5litepod-16"),
    ("tpu_vm.sh", [*TPU, "--config", CONFIG], "--workdir=runs/nnboot-runlocal: expected gs://BUCKET/FOLDER"),
    ("tpu_vm.sh", ["--accelerator-type=v9-8", *WORDS], "--version: required for --accelerator-type=v9-8"),
    ("tpu_vm.sh", [*TPU, f"--config={ROOT}/configs/nnboot.py"], "expected a path relative to the repository"),
    ("tpu_queued.sh", [*TPU, *WORDS, "--workdir=/nfs/run"], "--workdir=/nfs/run: expected gs://BUCKET/FOLDER"),
    ("tpu_queued.sh", [*TPU, *WORDS, "--name=My TPU"], "--name=My TPU: expected lowercase letters, digits and -"),
    ("tpu_queued.sh", [*TPU, *WORDS, "--data-disk=mine"], "--data-disk=mine: expected projects/PROJECT/zones/ZONE/disks/DISK"),
    ("tpu_queued.sh", [*TPU, *WORDS, "--constraints=none"], "--constraints=none: file not found"),
    ("tpu_vm.sh", [*TPU, *WORDS, "--batch-size=0"], "--batch-size=0: expected a positive integer"),
    ("tpu_vm.sh", [*TPU, *WORDS, "--watch", "--workdir=/nfs/run"], "--watch: expected --workdir gs://BUCKET/FOLDER"),
    ("gke/apply.sh", [*GKE, *WORDS, "--memory=200"], "--memory=200: expected a size such as 200Gi"),
    ("gke/apply.sh", [*GKE, *WORDS, "--shm=1GB"], "--shm=1GB: expected a size such as 200Gi"),
    ("gke/apply.sh", [*GKE, *WORDS, "--data-bucket=gs://b"], "--data-bucket=gs://b: expected the name of a bucket"),
    ("gke/apply.sh", [*GKE, *WORDS, "--queue=Team A"], "--queue=Team A: expected lowercase letters, digits and -"),
    ("gke/apply.sh", ["--image=i", *WORDS], "--topology or --gpus: required"),
    ("gke/apply.sh", [*GKE, "--gpus=a:1", *WORDS], "--topology, --gpus: expected only one of them"),
    ("gke/apply.sh", [*GKE, *WORDS, "--topology=v5p:4x4"], "--topology=v5p:4x4: expected v5e or v6e and AxB"),
    ("gke/apply.sh", [*GKE, *WORDS, "--chips-per-host=3"], "--chips-per-host=3: expected a divisor of the 16 chips"),
    ("gke/apply.sh", ["--topology=v5e:4x4", *WORDS], "--image: required"),
    ("gke/apply.sh", [*GKE, *WORDS, "--config.a=x\ny"], "expected one line"),
  ],
)
def test_errors_are_one_line(name, words, message, tmp_path):
  code, out, err = finish(start(name, *words, env=environment(tmp_path, PYTHON="no-python")))
  assert (code, out) == (2, "")
  assert err.startswith("error: ") and err.count("\n") == 1 and message in err


def test_every_option_of_a_type_is_checked_before_the_shell_reads_it(tmp_path):
  finish(start("local.sh", f"--$(touch {tmp_path}/touched)=1", f"--a[$(touch {tmp_path}/touched)]", env=environment(tmp_path)))
  assert not (tmp_path / "touched").exists()


def test_the_example_of_an_environment_is_read_and_sets_nothing(tmp_path):
  command = ["env", "PYTHONUNBUFFERED=1", "python", "-m", "jaxssl.main"]
  assert dry("run.sh", "--env=launch/env.example", env=environment(tmp_path)) == [command]
  lines = (ROOT / "launch" / "env.example").read_text().splitlines()
  (tmp_path / "on").write_text("\n".join(line[1:] if line[:1] == "#" and line[1:2] != " " else line for line in lines))
  found = dry("run.sh", f"--env={tmp_path}/on", env=environment(tmp_path))[0]
  assert "PYTHON=.venv/bin/python" in found and len(found) > 8
