"""Signals that ask a run to save and stop, for one process or several."""

import os
import signal
from types import FrameType

import jax
from jax.experimental import multihost_utils

AGAIN, INTERRUPTED = 75, 130  # exit codes of a run that was saved: EX_TEMPFAIL, which launchers start again; Ctrl-C


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

  def stop_requested(self, step: int) -> bool:
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
