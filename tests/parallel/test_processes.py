"""Two processes of two devices and of one each train as one run, even if one of them is killed or stopped."""

import json
import os
import pathlib
import shlex
import signal
import socket
import subprocess
import sys
import threading
import time

import jax
import numpy as np
import pytest

from jaxssl import main
from jaxssl.core import UserError
from jaxssl.parallel import processes
from jaxssl.parallel.preemption import Preemption
from jaxssl.workdir.checkpoint import Checkpoints
from tests import devices
from tests.launch.scripts import stand_in, start
from tests.test_main import losses, measurements
from tests.tiny_run import TINY

pytestmark = pytest.mark.slow

ROOT = pathlib.Path(__file__).parents[2]
BOUND = 240  # timeout in seconds
WORDS = [f"--config={ROOT}/configs/nnboot.py:runlocal"] + [
  f"--config.{word}"
  for word in (
    "data.limit=64", "data.placement=host", "train.epochs=5", "train.checkpoint_every_steps=2", "optim.name=sgd",
    "optim.lr=0.05", "evals.baselines=false", "evals.periodic=", "evals.final=knn", "evals.report=false",
  )
] + TINY  # fmt: skip


DIE = """
import functools, os, signal, sys
sys.modules["clu"] = sys.modules["keras"] = None  # without TensorBoard events; both take seconds to import
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

SLOW = """
import sys, time
sys.modules["clu"] = sys.modules["keras"] = None
from jaxssl import main
from jaxssl.train.setup import Experiment
step = Experiment.step
def slow_step(run, state, batch):
  time.sleep(1)  # the signal reaches all processes within two seconds
  return step(run, state, batch)
Experiment.step = slow_step
main.run()
"""


def killed_in_a_save(folder: pathlib.Path, workdir: pathlib.Path, env: dict[str, str]) -> None:
  """Trains with two processes of two devices, of which the second is killed in the middle of a save."""
  with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    address = f"127.0.0.1:{free.getsockname()[1]}"
  running, logs = [], [folder / f"{rank}.log" for rank in range(2)]
  for rank, log in enumerate(logs):
    code = f"RANK = {rank}\n{DIE}\nfrom jaxssl import main\nmain.run()"
    command = [sys.executable, "-c", code, *WORDS, f"--workdir={workdir}"]
    cluster = dict(zip(processes.CLUSTER_VARIABLES, (address, "2", str(rank)), strict=True))
    flags = env["XLA_FLAGS"].replace("device_count=8", "device_count=2")
    with log.open("w") as file:
      running.append(subprocess.Popen(command, cwd=ROOT, stdout=file, stderr=file, env={**env, **cluster, "XLA_FLAGS": flags}))
  try:
    code, killed = (process.wait(BOUND) for process in running)
  finally:
    for process in running:
      process.kill()
  assert code != 0 and killed == -signal.SIGKILL, logs[0].read_text() + logs[1].read_text()


def wait_for_step(workdir: pathlib.Path, step: int, process: subprocess.Popen) -> None:
  """Waits until the run has logged this step."""
  end = time.monotonic() + BOUND
  while not (workdir / "metrics.jsonl").exists() or max(losses(workdir), default=0) < step:
    assert process.poll() is None and time.monotonic() < end
    time.sleep(0.1)


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


# A killed process costs the start of two more; tests/train/test_fault_tolerance.py kills a run of one process.
@pytest.mark.parametrize("killed", [False, pytest.param(True, marks=pytest.mark.full)])
def test_two_interrupted_processes_equal_one_uninterrupted_process(killed, tmp_path, capfd):
  env = {**os.environ, "JAX_COMPILATION_CACHE_DIR": str(tmp_path / "compiled"), "PYTHON": str(tmp_path / "python")}
  whole, workdir = tmp_path / "whole", tmp_path / "a run"
  with devices.only(1):
    assert main.main([*WORDS, f"--workdir={whole}"]) == 0  # uninterrupted
  devices_each, reached = 2, 3
  if killed:
    killed_in_a_save(tmp_path, workdir, env)
    devices_each, reached = 1, 5  # one step more than the killed processes logged
  # One of two processes receives a signal to stop.
  start_slow = f'exec {shlex.quote(sys.executable)} -c {shlex.quote(SLOW)} "${{@:3}}"'  # instead of -m jaxssl.main
  stand_in(tmp_path, "python", f'echo $$ >"{tmp_path}/pid-$JAX_PROCESS_ID"\n{start_slow}')
  command = ("local.sh", "--processes=2", f"--devices-per-process={devices_each}", *WORDS, f"--workdir={workdir}")
  stopped = start(*command, env=env)
  wait_for_step(workdir, reached, stopped)
  os.kill(int((tmp_path / "pid-1").read_text()), signal.SIGTERM)
  out, err = stopped.communicate(timeout=BOUND)
  assert stopped.returncode == 75, out + err
  assert ("resumes at step 2" in err) == killed and f"{2 * devices_each} x cpu of 2 processes" in err
  assert "a process got a signal: " in err  # in a step, or between two epochs
  saved = weights(workdir)[1]
  assert reached <= saved < 10
  assert "step" not in (workdir / "launch/process-1.log").read_text()
  capfd.readouterr()
  with devices.only(1):
    assert main.main([*WORDS, f"--workdir={workdir}"]) == 0  # finishes the run
  assert f"resumes at step {saved}" in capfd.readouterr().err
  near(workdir, whole)


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


def test_in_another_thread_no_handler_is_installed_and_a_stop_can_be_requested():
  before, seen = signal.getsignal(signal.SIGINT), []

  def work():
    with Preemption() as preemption:
      seen.append((preemption.stop_requested(), signal.getsignal(signal.SIGINT)))
      preemption.request()
      seen.append((preemption.stop_requested(), preemption.code))

  thread = threading.Thread(target=work)
  thread.start()
  thread.join()
  assert seen == [(False, before), (True, 75)]
