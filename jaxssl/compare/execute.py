"""Trains the runs of a comparison one after the other, each in a process of its own."""

import contextlib
import pathlib
import signal
import subprocess
import sys
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
    before = _lines(workdir.log)
    code = _train(run.command(folder))
    if code in (AGAIN, INTERRUPTED):
      LOG.info("stopped in %s; rerun the same command to resume", run.name)
      return code, failures
    if code:
      failures[run.name] = _reason(_lines(workdir.log)[len(before) :], code)
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
  """Runs `jaxssl` with these words, forwarding signals; returns its exit code."""
  # A session of its own, so that Ctrl-C reaches it once, from here.
  process = subprocess.Popen([sys.executable, "-m", "jaxssl.main", *words], start_new_session=True)
  with _forwarded(process):
    return process.wait()


def _lines(log: pathlib.Path) -> list[str]:
  return log.read_text(errors="replace").splitlines() if log.exists() else []


def _reason(lines: Sequence[str], code: int) -> str:
  """Returns the last error in the new lines of a run's log, or the exit code of its process."""
  errors = [line for line in lines if " ERROR " in line]
  return errors[-1].partition(" ERROR ")[2] if errors else f"exit code {code}"


@contextlib.contextmanager
def _forwarded(process: subprocess.Popen) -> Iterator[None]:
  def forward(number: int, frame: FrameType | None) -> None:
    process.send_signal(number)

  numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
  before = {number: signal.signal(number, forward) for number in numbers}
  try:
    yield
  finally:
    for number, handler in before.items():
      signal.signal(number, handler)
