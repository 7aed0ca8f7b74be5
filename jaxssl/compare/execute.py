"""Trains the runs of a comparison one after the other, each in a process of its own."""

import contextlib
import pathlib
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from types import FrameType

from jaxssl.compare.grid import Planned
from jaxssl.core import LOG, UserError
from jaxssl.core.exit_codes import AGAIN, INTERRUPTED
from jaxssl.train.config_changes import ConfigChanges
from jaxssl.workdir import results
from jaxssl.workdir.workdir import Workdir


def execute(planned: Sequence[Planned], folder: pathlib.Path) -> tuple[int, dict[str, str]]:
  """Trains what is not finished.

  Returns an exit code, 0 unless a signal stopped the comparison, and why runs failed, by name. A failure does not stop the
  others.
  """
  failures: dict[str, str] = {}
  for number, run in enumerate(planned, 1):
    try:
      if is_finished(run, folder):
        LOG.info("[%d/%d] %s: finished before", number, len(planned), run.name)
        continue
    except UserError as error:
      failures[run.name] = str(error)
      LOG.error("[%d/%d] %s: %s", number, len(planned), run.name, error)
      continue
    LOG.info("[%d/%d] %s", number, len(planned), run.name)
    workdir = Workdir(folder / run.name)
    before = workdir.log_lines()
    code = _train(run.command(folder))
    if code in (AGAIN, INTERRUPTED):
      LOG.info("stopped in %s; rerun the same command to resume", run.name)
      return code, failures
    if code:
      failures[run.name] = _reason(workdir.log_lines()[len(before) :], code)
      LOG.error("[%d/%d] %s: %s", number, len(planned), run.name, failures[run.name])
  return 0, failures


def finished(planned: Sequence[Planned], folder: pathlib.Path) -> list[str]:
  """Returns the names of the runs that are complete."""
  names = []
  for run in planned:
    with contextlib.suppress(UserError):  # the folder belongs to another config
      names += [run.name] if is_finished(run, folder) else []
  return names


def is_finished(run: Planned, folder: pathlib.Path) -> bool:
  """Returns whether a run is complete, with this config. Raises UserError if its folder belongs to another config."""
  workdir = Workdir(folder / run.name)
  changes = ConfigChanges(workdir, run.config, accept=False)
  return bool(results.read(workdir.results).get("finished")) and not changes


def _train(words: Sequence[str]) -> int:
  """Runs `jaxssl` with these words, forwarding signals; returns its exit code, AGAIN or INTERRUPTED if a signal ended it."""
  with _forwarded() as (processes, received):
    # A session of its own, so that Ctrl-C reaches it once, from here.
    process = subprocess.Popen([sys.executable, "-m", "jaxssl.main", *words], start_new_session=True)
    for number in received:  # before the process was there
      process.send_signal(number)
    processes.append(process)
    code = process.wait()
  if code and received:
    return INTERRUPTED if signal.SIGINT in received else AGAIN
  return code


def _reason(lines: Sequence[str], code: int) -> str:
  """Returns the last error in the new lines of a run's log, or the exit code of its process."""
  errors = [line for line in lines if " ERROR " in line]
  return errors[-1].partition(" ERROR ")[2] if errors else f"exit code {code}"


@contextlib.contextmanager
def _forwarded() -> Iterator[tuple[list[subprocess.Popen], list[int]]]:
  """Forwards signals to the processes in the first list, and adds them to the second; in the main thread, which gets them."""
  processes: list[subprocess.Popen] = []
  received: list[int] = []

  def forward(number: int, frame: FrameType | None) -> None:
    received.append(number)
    for process in processes:
      process.send_signal(number)

  main_thread = threading.current_thread() is threading.main_thread()
  numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1) if main_thread else ()
  before = {number: signal.signal(number, forward) for number in numbers}
  try:
    yield processes, received
  finally:
    for number, handler in before.items():
      signal.signal(number, handler)
