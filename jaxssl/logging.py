"""What a run tells: metrics.jsonl and TensorBoard events, a progress bar or plain lines, and train.log."""

import collections
import contextlib
import importlib.util
import json
import logging
import math
import pathlib
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from typing import Any

import tqdm

from jaxssl import documents
from jaxssl.types import one_line

LOG = logging.getLogger("jaxssl")
SECONDS_BETWEEN_LINES = 10.0


def bar_shown() -> bool:
  """Whether there is a terminal to draw a progress bar on."""
  return sys.stderr.isatty()


class _Line(logging.Formatter):
  """Writes names of any files on one line."""

  def formatMessage(self, record: logging.LogRecord) -> str:
    return one_line(super().formatMessage(record))


class _AboveBar(logging.StreamHandler):
  """Prints log lines above the progress bar instead of through it; a line that says what the bar shows is left out."""

  def emit(self, record: logging.LogRecord) -> None:
    if not (bar_shown() and hasattr(record, "bar")):
      tqdm.tqdm.write(self.format(record), file=sys.stderr)


def start(workdir: pathlib.Path | None, process: int = 0) -> None:
  """Sends the log to the terminal and, with a workdir, to its train.log; of processes but the first, only warnings."""
  LOG.setLevel(logging.WARNING if process else logging.INFO)
  LOG.propagate = False
  for handler in list(LOG.handlers):
    LOG.removeHandler(handler)
    handler.close()
  terminal = _AboveBar()
  terminal.setFormatter(_Line(f"process {process}: %(message)s" if process else "%(message)s"))
  LOG.addHandler(terminal)
  if workdir is not None:
    file = logging.FileHandler(workdir / "train.log", encoding="utf-8")
    file.setFormatter(_Line("%(asctime)s %(levelname)s %(message)s"))
    LOG.addHandler(file)


@contextlib.contextmanager
def working(what: str) -> Iterator[None]:
  """Says now and then that something still goes on inside the block, and for how long; nothing where it is soon over."""
  began, over = time.monotonic(), threading.Event()

  def tell() -> None:
    while not over.wait(SECONDS_BETWEEN_LINES):
      LOG.info("%s: %.0f s so far", what, time.monotonic() - began)

  thread = threading.Thread(target=tell, daemon=True)
  thread.start()
  try:
    yield
  finally:
    over.set()
    thread.join()


class Metrics:
  """Writes metrics.jsonl, one object a line, and the same numbers as TensorBoard events (through clu)."""

  def __init__(self, workdir: pathlib.Path, last_step: int):
    """Opens the files; lines after `last_step` belong to steps that will be taken again, and are cut off."""
    path = workdir / "metrics.jsonl"
    cut(path, last_step)
    self._file = path.open("a")
    self._waiting: list[tuple[int, dict[str, float]]] = []
    self._writer: Any = None
    self._thread = threading.Thread(target=self._open_tensorboard, args=(workdir,), daemon=True)
    self._thread.start()

  def _open_tensorboard(self, workdir: pathlib.Path) -> None:
    """Imports clu beside the first steps: it brings tensorflow, which takes seconds."""
    if importlib.util.find_spec("tensorflow") is None or importlib.util.find_spec("clu") is None:
      LOG.info("no TensorBoard events: clu or tensorflow is not installed; metrics.jsonl holds all numbers")
      return
    from clu import metric_writers

    self._writer = metric_writers.SummaryWriter(str(workdir / "tensorboard"))

  def write(self, step: int, epoch: int, values: Mapping[str, float]) -> None:
    """Adds one line. Values that are not finite are written as null."""
    finite = {name: float(value) if math.isfinite(value) else None for name, value in values.items()}
    self._file.write(json.dumps({"step": step, "epoch": epoch, **finite}) + "\n")
    self._file.flush()
    self._waiting.append((step, {name: value for name, value in finite.items() if value is not None}))
    if not self._thread.is_alive():
      self._drain()

  def _drain(self) -> None:
    if self._writer is not None:
      for step, values in self._waiting:
        self._writer.write_scalars(step, values)
    self._waiting.clear()

  def close(self) -> None:
    """Writes out everything."""
    self._thread.join()
    self._drain()
    if self._writer is not None:
      self._writer.close()
    self._file.close()


def cut(path: pathlib.Path, last_step: int) -> None:
  """Takes the lines of later steps out of a file of lines such as metrics.jsonl; makes the file where there is none."""
  kept = [line for line in documents.lines(path) if line["step"] <= last_step]
  temporary = path.with_suffix(".tmp")
  temporary.write_text("".join(json.dumps(line) + "\n" for line in kept))
  temporary.replace(path)


class Pictures:
  """A bar on a terminal, or a plain line now and then, of how many of `total` pictures are done."""

  def __init__(self, total: int):
    self._total, self._done, self._made = total, 0, 0
    self._began = self._said = time.monotonic()
    self._bar = tqdm.tqdm(total=total, unit="picture", disable=not bar_shown(), dynamic_ncols=True)

  def add(self, count: int, made: bool = True) -> None:
    """Counts pictures that are done; not `made`: by an earlier command, so that they say nothing of the speed."""
    self._done += count
    self._made += count * made
    self._bar.update(count)
    now = time.monotonic()
    if made and (now - self._said >= SECONDS_BETWEEN_LINES or self._done == self._total):
      rate = self._made / (now - self._began)
      left = (self._total - self._done) / rate
      LOG.info("%d/%d pictures %.0f pictures/s left %.0f s", self._done, self._total, rate, left, extra={"bar": True})
      self._said = now

  def close(self) -> None:
    """Takes the bar down."""
    self._bar.close()


class Progress:
  """A progress bar on a terminal and a plain line now and then in the log: loss, pictures/s, wait for data, time left."""

  def __init__(self, total_steps: int, first_step: int, batch_size: int):
    self._total, self._batch, self._first = total_steps, batch_size, first_step
    self._bar = tqdm.tqdm(total=total_steps, initial=first_step, unit="step", disable=not bar_shown(), dynamic_ncols=True)
    self._recent: collections.deque[tuple[float, int, float]] = collections.deque(maxlen=50)  # (time, step, seconds waited)
    self._waited = 0.0
    self._speed = {"pictures_per_second": 0.0, "data_wait": 0.0}
    self._said = time.monotonic()

  def wait(self, seconds: float) -> None:
    """Notes that a batch had to be waited for, until now."""
    self._waited += seconds

  def update(self, step: int, epoch: float, loss: float, warning: str = "") -> dict[str, float]:
    """Notes that `step` is done. Returns the speed over the last steps, and the share of their time that was waited for data.

    `warning`: what is shown besides, such as a verdict on the run's health.
    """
    now = time.monotonic()
    self._recent.append((now, step, self._waited))
    (then, step_then, waited_then), (_, _, waited_now) = self._recent[0], self._recent[-1]
    if step > step_then:
      rate, wait = (step - step_then) * self._batch / (now - then), (waited_now - waited_then) / (now - then)
      self._speed = {"pictures_per_second": rate, "data_wait": wait}
    else:
      rate, wait = self._speed.values()
    text = f"epoch {epoch:.1f} loss {loss:.4f} {rate:.0f} pictures/s data wait {wait:.0%}{warning and f' WARNING {warning}'}"
    self._bar.set_postfix_str(text, refresh=False)
    self._bar.update(step - self._bar.n)
    if now - self._said >= SECONDS_BETWEEN_LINES or step in (self._first + 1, self._total):
      left = f"left {(self._total - step) * self._batch / rate:.0f} s" if rate else ""
      LOG.info("step %d/%d %s %s", step, self._total, text, left, extra={"bar": True})
      self._said = now
    return self._speed

  def pause(self) -> None:
    """Leaves out the time that passes until the next update, such as an evaluation's, from the speed."""
    self._recent.clear()

  def close(self) -> None:
    """Takes the bar down."""
    self._bar.close()
