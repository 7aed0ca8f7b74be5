"""What a run tells: metrics.jsonl and TensorBoard events, a progress bar or plain lines, and train.log."""

import importlib.util
import json
import logging
import math
import pathlib
import sys
import threading
import time
from collections.abc import Mapping
from typing import Any

import tqdm

LOG = logging.getLogger("jaxssl")


class _AboveBar(logging.StreamHandler):
  """Prints log lines above the progress bar instead of through it."""

  def emit(self, record: logging.LogRecord) -> None:
    tqdm.tqdm.write(self.format(record), file=sys.stderr)


def start(workdir: pathlib.Path | None) -> None:
  """Sends the log to the terminal and, with a workdir, to its train.log."""
  LOG.setLevel(logging.INFO)
  LOG.propagate = False
  for handler in list(LOG.handlers):
    LOG.removeHandler(handler)
    handler.close()
  terminal = _AboveBar()
  terminal.setFormatter(logging.Formatter("%(message)s"))
  LOG.addHandler(terminal)
  if workdir is not None:
    file = logging.FileHandler(workdir / "train.log")
    file.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    LOG.addHandler(file)


class Metrics:
  """Writes metrics.jsonl, one object a line, and the same numbers as TensorBoard events (through clu)."""

  def __init__(self, workdir: pathlib.Path, last_step: int):
    """Opens the files; lines after `last_step` belong to steps that will be taken again, and are cut off."""
    self._path = workdir / "metrics.jsonl"
    kept = [line for line in read(self._path) if line["step"] <= last_step]
    temporary = self._path.with_suffix(".tmp")
    temporary.write_text("".join(json.dumps(line) + "\n" for line in kept))
    temporary.replace(self._path)
    self._file = self._path.open("a")
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


def read(path: pathlib.Path) -> list[dict[str, Any]]:
  """Reads the lines of a metrics.jsonl; none where there is no file. A last line that was cut short is left out."""
  lines = []
  for line in path.read_text().splitlines() if path.exists() else []:
    try:
      lines.append(json.loads(line))
    except json.JSONDecodeError:
      break
  return lines


class Progress:
  """A progress bar on a terminal, a plain line now and then elsewhere: loss, pictures/s, time left, wait for data."""

  def __init__(self, total_steps: int, first_step: int, batch_size: int, seconds_between_lines: float = 10.0):
    self._total, self._batch, self._between = total_steps, batch_size, seconds_between_lines
    self._bar = tqdm.tqdm(
      total=total_steps, initial=first_step, unit="step", disable=not sys.stderr.isatty(), dynamic_ncols=True
    )
    self._step = first_step
    self._mark = self._printed = (time.monotonic(), first_step, 0.0)
    self._waited = 0.0
    self._rate, self._wait = 0.0, 0.0

  def update(self, step: int, epoch: float, loss: float, waited: float) -> dict[str, float]:
    """Notes that `step` is done, its batch having been waited for so many seconds. Returns the speed since the last lines."""
    self._waited += waited
    now, (then, step_then, waited_then) = time.monotonic(), self._mark
    if now - then >= 0.5 or not self._rate:
      self._rate = (step - step_then) * self._batch / max(now - then, 1e-9)
      self._wait = (self._waited - waited_then) / max(now - then, 1e-9)
      self._mark = (now, step, self._waited)
    self._bar.set_postfix_str(
      f"epoch {epoch:.1f} loss {loss:.4f} {self._rate:.0f} pictures/s data wait {self._wait:.0%}", refresh=False
    )
    self._bar.update(step - self._step)
    self._step = step
    if self._bar.disable and (now - self._printed[0] >= self._between or step == self._total):
      speed = (step - self._printed[1]) / max(now - self._printed[0], 1e-9)
      left = (self._total - step) / max(speed, 1e-9)
      wait = (self._waited - self._printed[2]) / max(now - self._printed[0], 1e-9)
      LOG.info(
        "step %d/%d epoch %.1f loss %.4f %.0f pictures/s data wait %.0f%% left %.0f s",
        step, self._total, epoch, loss, speed * self._batch, 100 * wait, left,
      )  # fmt: skip
      self._printed = (now, step, self._waited)
    return {"pictures_per_second": self._rate, "data_wait": self._wait}

  def pause(self) -> None:
    """Leaves out the time that passes until the next update, such as an evaluation's, from the speed."""
    self._rate = 0.0

  def close(self) -> None:
    """Takes the bar down."""
    self._bar.close()
