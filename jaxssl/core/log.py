"""Logs a command to the terminal and, for a run, to a file; shows the progress of long tasks."""

import contextlib
import logging
import pathlib
import sys
import threading
import time
from collections.abc import Iterator

import tqdm

from jaxssl.core.errors import one_line

LOG = logging.getLogger("jaxssl")
SECONDS_BETWEEN_LINES = 10.0


class _Line(logging.Formatter):
  """Escapes what would break a line, such as a file name with a line break."""

  def formatMessage(self, record: logging.LogRecord) -> str:
    return one_line(super().formatMessage(record))


class _AboveBar(logging.StreamHandler):
  """Prints log lines above the progress bar; skips lines marked `bar`, which repeat a visible bar."""

  def emit(self, record: logging.LogRecord) -> None:
    if not (bar_shown() and hasattr(record, "bar")):
      tqdm.tqdm.write(self.format(record), file=sys.stderr)


def start(path: pathlib.Path | None, process: int = 0) -> None:
  """Sends the log to the terminal and, if given, to a file; processes other than the first log warnings only."""
  LOG.setLevel(logging.WARNING if process else logging.INFO)
  LOG.propagate = False
  for handler in list(LOG.handlers):
    LOG.removeHandler(handler)
    handler.close()
  terminal = _AboveBar()
  terminal.setFormatter(_Line(f"process {process}: %(message)s" if process else "%(message)s"))
  LOG.addHandler(terminal)
  if path is not None:
    file = logging.FileHandler(path, encoding="utf-8")
    file.setFormatter(_Line("%(asctime)s %(levelname)s %(message)s"))
    LOG.addHandler(file)


@contextlib.contextmanager
def heartbeat(task: str) -> Iterator[None]:
  """Logs every ten seconds how long the block has been running."""
  began, over = time.monotonic(), threading.Event()

  def report() -> None:
    while not over.wait(SECONDS_BETWEEN_LINES):
      LOG.info("%s: %.0f s so far", task, time.monotonic() - began)

  thread = threading.Thread(target=report, daemon=True)
  thread.start()
  try:
    yield
  finally:
    over.set()
    thread.join()


def bar_shown() -> bool:
  """Returns whether progress bars are visible: on a terminal only."""
  return sys.stderr.isatty()


class ImageProgress:
  """Shows how many of `total` images are done: a bar on a terminal, otherwise a log line every ten seconds."""

  def __init__(self, total: int):
    self._total, self._done, self._made = total, 0, 0
    self._began = self._said = time.monotonic()
    self._bar = tqdm.tqdm(total=total, unit="image", disable=not bar_shown(), dynamic_ncols=True)

  def add(self, count: int, made: bool = True) -> None:
    """Adds finished images; `made=False` for those of an earlier command, which do not count for the speed."""
    self._done += count
    self._made += count * made
    self._bar.update(count)
    now = time.monotonic()
    if made and (now - self._said >= SECONDS_BETWEEN_LINES or self._done == self._total):
      rate = self._made / (now - self._began)
      left = (self._total - self._done) / rate
      LOG.info("%d/%d images %.0f images/s left %.0f s", self._done, self._total, rate, left, extra={"bar": True})
      self._said = now

  def close(self) -> None:
    """Removes the bar."""
    self._bar.close()
