"""Two processes of four devices each train as one run, even if one of them is killed or stopped."""

import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import time

import jax
import numpy as np
import pytest

from jaxssl import main
from jaxssl.core.errors import UserError
from jaxssl.parallel import processes
from jaxssl.parallel.preemption import Preemption
from jaxssl.workdir.checkpoint import Checkpoints
from tests.launch.scripts import start
from tests.test_main import losses, measurements

pytestmark = pytest.mark.slow

ROOT = pathlib.Path(__file__).parents[2]
BOUND = 240  # timeout in seconds
WORDS = [f"--config={ROOT}/configs/nnboot.py:runlocal"] + [
  f"--config.{word}"
  for word in (
    "data.limit=64", "data.placement=host", "train.epochs=4", "train.checkpoint_every_steps=2", "optim.name=sgd",
    "optim.lr=0.05", "evals.baselines=false", "evals.periodic=", "evals.final=knn,quality",
    "model.name=vit_ti", "model.depth=1", "model.patch=14",
  )
]  # fmt: skip


DIE = """
import functools, os, signal
import jax
from jaxssl.workdir import checkpoint
jax.distributed.initialize = functools.partial(jax.distributed.initialize, heartbeat_timeout_seconds=10)  # of 100
save = checkpoint.Checkpoints.save
def save_and_die(self, step, state):
  save(self, step, state)
  if step == 4 and RANK == 1:
    os.kill(os.getpid(), signal.SIGKILL)  # the save continues in the background
checkpoint.Checkpoints.save = save_and_die
"""


class TwoProcesses:
  """Two processes of one run; their output goes to files."""

  def __init__(self, folder: pathlib.Path, env: dict[str, str], before: str = ""):
    """Starts both processes, which first execute the code `before`."""
    with socket.socket() as free:
      free.bind(("127.0.0.1", 0))
      address = f"127.0.0.1:{free.getsockname()[1]}"
    folder.mkdir(exist_ok=True)
    self.workdir, self.logs = folder / "a run", [folder / f"{rank}.log" for rank in range(2)]
    words = [*WORDS, f"--workdir={self.workdir}"]
    self.processes = []
    for rank, log in enumerate(self.logs):
      code = f"RANK = {rank}\n{before}\nfrom jaxssl import main\nmain.run()"
      cluster = dict(zip(processes.CLUSTER_VARIABLES, (address, "2", str(rank)), strict=True))
      with log.open("w") as file:
        process = subprocess.Popen(
          [sys.executable, "-c", code, *words],
          cwd=ROOT,
          stdout=file,
          stderr=file,
          start_new_session=True,
          env={**env, "XLA_FLAGS": env["XLA_FLAGS"].replace("device_count=8", "device_count=4"), **cluster},
        )
      self.processes.append(process)

  def __enter__(self) -> "TwoProcesses":
    return self

  def __exit__(self, *_: object) -> None:
    for process in self.processes:
      process.kill()
      process.wait()

  def until(self, step: int) -> None:
    """Waits until the run has logged this step."""
    end = time.monotonic() + BOUND
    while not (self.workdir / "metrics.jsonl").exists() or max(losses(self.workdir) or [0]) < step:
      assert self.processes[0].poll() is None and time.monotonic() < end, self.log(0)
      time.sleep(0.01)

  def codes(self) -> list[int]:
    """Waits for both processes and returns their exit codes."""
    return [process.wait(BOUND) for process in self.processes]

  def log(self, rank: int) -> str:
    return self.logs[rank].read_text()


def weights(workdir):
  student, teacher, step = Checkpoints(workdir / "checkpoints", 1).weights()
  return jax.tree.leaves((student, teacher)), step


def near(actual, expected):
  """Asserts that two runs are equal up to rounding, which depends on the order of sums."""
  assert losses(actual).keys() == losses(expected).keys()
  np.testing.assert_allclose(list(losses(actual).values()), list(losses(expected).values()), rtol=5e-4)
  lines = [[json.loads(line) for line in (run / "neighbors.jsonl").read_text().splitlines()] for run in (actual, expected)]
  assert [line["neighbors"] for line in lines[0]] == [line["neighbors"] for line in lines[1]]
  assert [line["partners"] for line in lines[0]] == [line["partners"] for line in lines[1]]
  ours, theirs = (
    {(m["name"], m["subject"]): m["value"] for m in measurements(run) if m["evaluation"] == "knn"} for run in (actual, expected)
  )
  assert ours == theirs and ours
  (leaves, step), (expected_leaves, expected_step) = weights(actual), weights(expected)
  assert step == expected_step
  for ours, theirs in zip(leaves, expected_leaves, strict=True):
    np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-4)


def test_two_interrupted_processes_equal_one_uninterrupted_process(tmp_path):
  env = {**os.environ, "JAX_COMPILATION_CACHE_DIR": str(tmp_path / "compiled"), "PYTHON": sys.executable}
  whole = tmp_path / "whole"
  # One process with eight devices, uninterrupted.
  assert main.main([*WORDS, f"--workdir={whole}", "--config.evals.report=false"]) == 0
  with TwoProcesses(tmp_path, env, DIE) as two:  # one is killed in the middle of a save
    code, killed = two.codes()
    assert code != 0 and killed == -signal.SIGKILL, two.log(0) + two.log(1)
  with TwoProcesses(tmp_path, env) as two:  # one receives a signal to stop
    two.until(5)
    two.processes[1].send_signal(signal.SIGTERM)
    assert two.codes() == [75, 75], two.log(0) + two.log(1)
    assert "resumes at step 2" in two.log(0)
  saved = weights(two.workdir)[1]
  assert 5 <= saved < 8
  words = ["--processes=2", "--devices-per-process=1", *WORDS, f"--workdir={two.workdir}"]
  process = start("local.sh", *words, env=env)  # resumes on fewer devices
  out, err = process.communicate(timeout=BOUND)
  assert process.returncode == 0, out + err
  log = (two.workdir / "train.log").read_text()
  assert f"resumes at step {saved}" in log and "2 x cpu of 2 processes" in log and (two.workdir / "report.html").exists()
  assert "step" not in (two.workdir / "launch/process-1.log").read_text()
  near(two.workdir, whole)


def test_incomplete_cluster_variables_are_an_error(monkeypatch):
  monkeypatch.setenv("JAX_COORDINATOR_ADDRESS", "127.0.0.1:1")
  with pytest.raises(UserError, match="JAX_NUM_PROCESSES, JAX_PROCESS_ID is not set"):
    processes.start("auto")
  processes.start("off")


def test_a_cluster_has_several_processes(monkeypatch):
  for name in ("SLURM_NTASKS", "SLURM_STEP_NODELIST", "OMPI_COMM_WORLD_SIZE", "TPU_WORKER_HOSTNAMES", "JOB_COMPLETION_INDEX"):
    monkeypatch.delenv(name, raising=False)
  assert not processes._cluster()
  for name, value, several in (
    ("SLURM_NTASKS", "2", False),  # an allocation, but no step in it
    ("SLURM_STEP_NODELIST", "a,b", True),
    ("SLURM_NTASKS", "1", False),
    ("TPU_WORKER_HOSTNAMES", "a", False),
    ("TPU_WORKER_HOSTNAMES", "a,b", True),
  ):
    monkeypatch.setenv(name, value)
    assert processes._cluster() == several


@pytest.mark.parametrize("number, code", [(signal.SIGTERM, 75), (signal.SIGUSR1, 75), (signal.SIGINT, 130)])
def test_the_first_signal_requests_a_stop_and_restores_the_handler(number, code):
  before = signal.getsignal(number)
  with Preemption() as preemption:
    assert not preemption.stop_requested(1) and preemption.code == 0
    os.kill(os.getpid(), number)
    assert preemption.stop_requested(2) and preemption.code == code
    assert signal.getsignal(number) is before
  assert signal.getsignal(number) is before
