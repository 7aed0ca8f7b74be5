"""Handles signals that request a run to save and stop, for one process or several."""

import os
import signal
import threading
from types import FrameType
from typing import Any

import jax
from jax.experimental import multihost_utils

AGAIN, INTERRUPTED = 75, 130  # exit codes of a saved run: EX_TEMPFAIL, after which launchers restart it, and Ctrl-C


class Preemption:
  """Reports whether SIGTERM, SIGUSR1 or Ctrl-C has asked the run to save and stop; a second signal ends it at once.

  With several processes any may get the signal: JAX's preemption service makes all of them stop after the same step.
  """

  def __enter__(self) -> "Preemption":
    self.code = 0  # exit code
    self._before: dict[signal.Signals, Any] = {}
    if threading.current_thread() is not threading.main_thread():  # only the main thread can handle signals
      return self
    numbers = [signal.SIGUSR1, signal.SIGINT]
    if jax.process_count() == 1:  # otherwise SIGTERM belongs to the service: a handler here would hide it
      numbers.append(signal.SIGTERM)
    self._before = {number: signal.signal(number, self._note) for number in numbers}
    return self

  def request(self) -> None:
    """Asks the run to save and stop, as a signal does."""
    self.code = self.code or AGAIN
    if jax.process_count() > 1:
      os.kill(os.getpid(), signal.SIGTERM)

  def stop_requested(self, step: int) -> bool:
    """Returns whether to stop after this step; several processes must call it after every step."""
    if jax.process_count() > 1 and multihost_utils.reached_preemption_sync_point(step):
      self.code = self.code or AGAIN
      return True
    return bool(self.code) and jax.process_count() == 1

  def _note(self, number: int, frame: FrameType | None) -> None:
    self.code = INTERRUPTED if number == signal.SIGINT else AGAIN
    signal.signal(number, self._before[signal.Signals(number)])
    self.request()

  def __exit__(self, *_: object) -> None:
    for number, handler in self._before.items():
      signal.signal(number, handler)
