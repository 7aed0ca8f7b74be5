"""Runs loggers in threads of their own, so that a slow or failing one neither delays nor ends a run."""

import queue
import threading
import time
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from jaxssl.core import LOG
from jaxssl.train.loggers.base import Logger, first_line

FINISHED, STOPPED = 60.0, 5.0  # seconds that a run waits for its loggers: at its end, and if a signal has stopped it


class Background:
  """A logger in a thread. Its first failure is one warning; what could not be written is left out."""

  def __init__(self, name: str, open_logger: Callable[[], Logger]):
    """Opens the logger in the thread, with its first values; if that fails, nothing is written.

    Imports in a thread slow down JAX, which traces the first step before there are values.
    """
    self._name, self._open = name, open_logger
    self._tasks: queue.SimpleQueue[Callable[[Logger], None] | None] = queue.SimpleQueue()
    self._warned = False
    self._thread = threading.Thread(target=self._work, daemon=True, name=f"jaxssl-{name}")

  def write(self, step: int, values: Mapping[str, float]) -> None:
    """Writes values by tag."""
    self._tasks.put(lambda logger: logger.write(step, values))
    self._start()

  def text(self, name: str, text: str) -> None:
    """Writes a text."""
    self._tasks.put(lambda logger: logger.text(name, text))

  def images(self, step: int, draw: Callable[[], Mapping[str, np.ndarray]]) -> None:
    """Writes the images that `draw`, which is called in the thread, returns."""
    self._tasks.put(lambda logger: logger.images(step, draw()))
    self._start()

  def close(self, finished: bool) -> None:
    """Closes the logger after all that has been passed to it; does not wait."""
    self._tasks.put(lambda logger: logger.close(finished))
    self._tasks.put(None)
    self._start()

  def wait(self, seconds: float) -> None:
    """Waits until the logger is closed, at most for some seconds: then there is a warning."""
    self._thread.join(seconds)
    if self._thread.is_alive():
      LOG.warning("%s: the last values are not written yet; the run does not wait for them any longer", self._name)

  def _start(self) -> None:
    if self._thread.ident is None:
      self._thread.start()

  def _work(self) -> None:
    try:
      logger = self._open()
    except Exception as error:
      self._warn(error)
      return
    while task := self._tasks.get():
      try:
        task(logger)
      except Exception as error:
        self._warn(error)

  def _warn(self, error: Exception) -> None:
    if not self._warned:
      self._warned = True
      message = "%s: values are missing there from now on, since it failed: %s: %s. All values are in metrics.jsonl"
      LOG.warning(message, self._name, type(error).__name__, first_line(error))


def close_all(loggers: Sequence[Background], finished: bool) -> None:
  """Closes loggers. finished: the run is complete; otherwise it was stopped, and does not wait for long."""
  for logger in loggers:
    logger.close(finished)
  end = time.monotonic() + (FINISHED if finished else STOPPED)
  for logger in loggers:
    logger.wait(max(end - time.monotonic(), 0.0))
