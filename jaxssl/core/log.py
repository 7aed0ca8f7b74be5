"""Logs a command to the terminal and, for a run, to a file; shows the progress of long tasks."""

import contextlib
import io
import logging
import os
import pathlib
import sys
import threading
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from jaxssl.core.errors import OneLineError, one_line

if TYPE_CHECKING:
  import tqdm  # takes half the time of `import jaxssl`, so on first use

LOG = logging.getLogger("jaxssl")
SECONDS_BETWEEN_LINES = 10.0


def quiet_tensorflow() -> None:
  """Keeps TensorFlow, which is imported later, from printing lines about itself, such as its use of oneDNN."""
  os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
  os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
  os.environ.setdefault("GCS_READAHEAD_BUFFER_SIZE_BYTES", str(2**18))  # it would fetch 64 MB for each image in a large file


class _Line(logging.Formatter):
  """Escapes what would break a line, such as a file name with a line break."""

  def formatMessage(self, record: logging.LogRecord) -> str:
    return one_line(super().formatMessage(record))


class _AboveBar(logging.StreamHandler):
  """Prints log lines above the progress bar; skips lines marked `bar`, which repeat a visible bar."""

  def emit(self, record: logging.LogRecord) -> None:
    import tqdm

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
def also_in(path: pathlib.Path | None, process: int = 0) -> Iterator[None]:
  """Sends the log of the block to a file too, if given, with the error that ends it, which the terminal gets elsewhere."""
  start(path, process)
  try:
    yield
  except Exception as error:
    explained = isinstance(error, OneLineError)
    record = LOG.makeRecord(LOG.name, logging.ERROR, "", 0, "%s", (error,), None if explained else sys.exc_info())
    for handler in LOG.handlers:
      if isinstance(handler, logging.FileHandler):
        handler.handle(record)
    raise
  finally:
    start(None, process)


def duration(seconds: float) -> str:
  """Returns a time in words, in two units at most: 45 s, 12 min, 3 h 20 min, 2 days 5 h."""
  if seconds < 90:
    return f"{seconds:.0f} s"
  minutes = round(seconds / 60)
  if minutes < 60:
    return f"{minutes} min"
  hours, minutes = divmod(minutes, 60)
  if hours < 24:
    return f"{hours} h {minutes} min" if minutes else f"{hours} h"
  days, hours = divmod(round(seconds / 3600), 24)
  return f"{days} day{'s' * (days > 1)}" + (f" {hours} h" if hours else "")


class _Heartbeats(threading.local):
  """The heartbeats of a thread: what each adds to its lines, the innermost last."""

  def __init__(self) -> None:
    self.notes: list[list[str]] = []


_heartbeats = _Heartbeats()


@contextlib.contextmanager
def heartbeat(task: str) -> Iterator[None]:
  """Logs every ten seconds how long the block has been running, and what `note_progress` adds."""
  began, over, note = time.monotonic(), threading.Event(), [""]

  def report() -> None:
    while not over.wait(SECONDS_BETWEEN_LINES):
      LOG.info("%s: %.0f s so far%s", task, time.monotonic() - began, *note)

  thread = threading.Thread(target=report, daemon=True)
  thread.start()
  _heartbeats.notes.append(note)
  try:
    yield
  finally:
    _heartbeats.notes.pop()
    over.set()
    thread.join()


def note_progress(done: int, total: int, began: float) -> None:
  """Adds to the innermost heartbeat of this thread how many images are done since `began`, and the time that is left."""
  if _heartbeats.notes:
    left = duration((time.monotonic() - began) * (total - done) / max(done, 1))
    _heartbeats.notes[-1][:] = [f"; {done} of {total} images, left {left}"]


def bar_shown() -> bool:
  """Returns whether progress bars are visible: on a terminal or in a notebook."""
  return (sys.stderr.isatty() and _columns() > 0) or in_notebook()


def _columns() -> int:
  """Returns the width of the terminal; 0 if it states none, as terminals of some containers, where no bar is drawn."""
  try:
    return os.get_terminal_size(sys.stderr.fileno()).columns
  except (OSError, ValueError):
    return 0


def in_notebook() -> bool:
  """Returns whether the program is a cell of a notebook."""
  shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
  return getattr(shell, "kernel", None) is not None


class _LogLines(io.TextIOBase):
  """Logs what a progress bar writes."""

  def write(self, text: str) -> int:
    if text.strip():
      LOG.info("%s", text.strip())
    return len(text)


def image_progress(total: int, done: int = 0, unit: str = "images") -> "tqdm.tqdm":
  """Returns a bar for `total` images, `done` of them by an earlier command; without a terminal it logs every ten seconds."""
  line = f"{{n}}/{{total}} {unit} {{rate_noinv_fmt}} left {{remaining}}"
  return _progress(line, total=total, initial=done, unit=f" {unit}")


def byte_progress(total: int) -> "tqdm.tqdm":
  """Returns a bar for `total` bytes; without a terminal it logs every ten seconds."""
  return _progress("copied {n_fmt}B of {total_fmt}B, {rate_fmt}, left {remaining}", total=total, unit="B", unit_scale=True)


def _progress(line: str, **settings: Any) -> "tqdm.tqdm":
  import tqdm

  if bar_shown():
    return tqdm.tqdm(**settings, dynamic_ncols=True)
  return tqdm.tqdm(**settings, file=_LogLines(), mininterval=SECONDS_BETWEEN_LINES, miniters=1, bar_format=line)
