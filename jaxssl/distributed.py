"""Several processes as one run, on JAX's multi-controller runtime: how they start, meet, note things down, and leave."""

import contextlib
import logging
import os
import pathlib
import signal
import sys
import tempfile
from collections.abc import Sequence
from types import FrameType

import jax
import orbax.checkpoint as ocp
from jax.experimental import multihost_utils

from jaxssl import logging as runlog
from jaxssl import paths
from jaxssl.types import UserError

LOG = logging.getLogger("jaxssl")
MODES = ("auto", "on", "off")
TOLD = ("JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID")  # what launch/local.sh and others set
AGAIN, INTERRUPTED = 75, 130  # exit codes of a run that was saved: EX_TEMPFAIL, which launchers start again; Ctrl-C
PATIENCE = 600  # seconds that processes wait for each other where they meet


class Lost(Exception):
  """Another process is gone, or has not come where all of them meet."""


def flag(argv: Sequence[str]) -> tuple[str, list[str]]:
  """Takes --distributed MODE or --distributed=MODE out of the words: (mode, the other words). Raises UserError."""
  mode, rest, words = "auto", [], list(argv)
  while words:
    word = words.pop(0)
    if word == "--distributed" or word.startswith("--distributed="):
      mode = word.partition("=")[2] if "=" in word else words.pop(0) if words else ""
      if mode not in MODES:
        raise UserError(f"--distributed={mode} is not allowed; allowed: {', '.join(MODES)}")
    else:
      rest.append(word)
  return mode, rest


def start(mode: str) -> None:
  """Joins the processes of a cluster, before JAX does anything else; with `auto` where there is one, with `off` never.

  A cluster is what TOLD names, or what JAX finds: Slurm, Open MPI, a Cloud TPU pod, Kubernetes. Raises UserError where there is
  none to be joined, and Lost where the others do not come.
  """
  if mode == "off" or jax.distributed.is_initialized():
    return
  told = [os.environ.get(name, "") for name in TOLD]
  if any(told) and not all(told):
    missing = ", ".join(name for name, value in zip(TOLD, told, strict=True) if not value)
    raise UserError(f"the environment has some of {', '.join(TOLD)}, but not {missing}: set all of them, or --distributed=off")
  if not any(told) and mode == "auto" and not _cluster():
    return
  try:
    if any(told):
      jax.distributed.initialize(told[0], int(told[1]), int(told[2]))
    else:
      jax.distributed.initialize()
  except ValueError as error:
    raise UserError(f"--distributed={mode}: there is no cluster to join: {str(error).splitlines()[0]}") from error
  except RuntimeError as error:
    raise Lost(f"the other processes did not come: {str(error).splitlines()[0]}") from error


def _cluster() -> bool:
  """Whether the environment is that of a cluster with more than one process."""
  slurm, ompi = (int(os.environ.get(name) or 1) for name in ("SLURM_NTASKS", "OMPI_COMM_WORLD_SIZE"))
  pod = len(list(filter(None, os.environ.get("TPU_WORKER_HOSTNAMES", "").split(","))))
  jobs = "JOB_COMPLETION_INDEX" in os.environ and "KUBERNETES_SERVICE_HOST" in os.environ
  return max(slurm if "SLURM_STEP_NODELIST" in os.environ else 1, ompi, pod) > 1 or jobs


def first() -> bool:
  """Whether this is the process that writes."""
  return jax.process_index() == 0


def meet(where: str) -> None:
  """Waits until all processes are here, and says so while it waits. Raises Lost after PATIENCE seconds."""
  if jax.process_count() == 1:
    return
  with runlog.working(f"waiting for the other processes, {where}"):
    try:
      ocp.multihost.sync_global_processes(f"jaxssl: {where}", timeout=PATIENCE)
    except Exception as error:  # the coordination service's errors have no public type
      raise Lost(f"the other processes did not come within {PATIENCE} s, {where}: {str(error).splitlines()[0]}") from error


class Notes:
  """The folder on this machine where a process notes what the run does.

  The first one's is the workdir. Others have a copy of the workdir's files that is gone afterwards, so that all of them read,
  decide and compute the same. Of a workdir in a bucket every process has a copy, and `publish` brings the first one's back.
  """

  def __init__(self, workdir: pathlib.Path):
    self._workdir = workdir
    self._remote = not paths.is_local(workdir)
    self._temporary = tempfile.TemporaryDirectory(prefix="jaxssl-") if self._remote or not first() else None
    self.folder = pathlib.Path(self._temporary.name) if self._temporary else workdir
    self._published: dict[pathlib.Path, tuple[int, int]] = {}

  def __enter__(self) -> "Notes":
    if self._temporary:
      for path in self._workdir.iterdir():
        if not path.is_dir():
          with contextlib.suppress(OSError):  # such as one that is being replaced
            (self.folder / path.name).write_bytes(path.read_bytes())
    meet("before the workdir is written")
    return self

  def publish(self) -> None:
    """Writes files that have changed to the bucket, if the workdir is in one."""
    if not self._remote or not first():
      return
    for path in self.folder.rglob("*"):
      state = path.stat()
      if path.is_file() and self._published.get(path) != (state.st_mtime_ns, state.st_size):
        paths.bring(path, self._workdir / str(path.relative_to(self.folder)))
        self._published[path] = state.st_mtime_ns, state.st_size

  def __exit__(self, *_: object) -> None:
    self.publish()
    if self._temporary:
      self._temporary.cleanup()


def leave(message: str, code: int) -> int:
  """Prints why, and gives the exit code. One of several processes leaves at once: the end that JAX agrees on may never come."""
  print(message, file=sys.stderr, flush=True)
  if jax.distributed.is_initialized():
    os._exit(code)
  return code


class Preemption:
  """Whether the run was asked to save and leave, by SIGTERM, SIGUSR1 or Ctrl-C; a second one ends it at once.

  Of several processes any may be asked: JAX's service makes all of them leave after the same step.
  """

  def __enter__(self) -> "Preemption":
    self.code = 0  # to leave with
    several = jax.process_count() > 1  # then SIGTERM is the service's: a handler here would silence it
    numbers = (signal.SIGUSR1, signal.SIGINT, *(() if several else (signal.SIGTERM,)))
    self._before = {number: signal.signal(number, self._forward if several else self._note) for number in numbers}
    return self

  def asked(self, step: int) -> bool:
    """Whether to leave after this step; to be asked after every step."""
    if jax.process_count() > 1 and multihost_utils.reached_preemption_sync_point(step):
      self.code = self.code or AGAIN
      return True
    return bool(self.code) and jax.process_count() == 1

  def _note(self, number: int, frame: FrameType | None) -> None:
    self.code = INTERRUPTED if number == signal.SIGINT else AGAIN
    signal.signal(number, self._before[signal.Signals(number)])

  def _forward(self, number: int, frame: FrameType | None) -> None:
    self._note(number, frame)
    os.kill(os.getpid(), signal.SIGTERM)

  def __exit__(self, *_: object) -> None:
    for number, handler in self._before.items():
      signal.signal(number, handler)
