"""Stops a command on SIGTERM, SIGUSR1 or Ctrl-C: at once if nothing can be lost, after the current step in training."""

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Any, NoReturn

from jaxssl.core import LOG, retry
from jaxssl.core.exit_codes import AGAIN, INTERRUPTED

NAMES = {signal.SIGTERM: "SIGTERM", signal.SIGUSR1: "SIGUSR1", signal.SIGINT: "Ctrl-C"}
STOPPING = "stopping as soon as the current operation ends"


class StopRequested(KeyboardInterrupt):
  """A signal has asked the command to stop; no handler of `Exception` catches it."""

  def __init__(self, code: int):
    super().__init__("stopped by a signal")
    self.code = code  # exit code


class Preemption:
  """The signals that a command gets, while this is entered.

  The first one is acknowledged within a second, by a thread, since the main thread may be compiling; waits for storage that
  does not respond become short. If the command is interruptible, as it is by default, StopRequested is then raised in the
  main thread, at any point; in a `held` block the signal is only recorded, and the block has to ask `stop_requested`. A
  second signal ends a process of `jaxssl` at once; in another program it raises KeyboardInterrupt.

  With several processes any of them may get the signal: JAX's preemption service makes all of them stop at the same call of
  `stop_requested`, and StopRequested is raised by `check` only. In other threads than the main one there are no signals.
  """

  def __init__(self, then: str = STOPPING, ends_process: bool = False):
    self.code = 0  # exit code, once a signal has come
    self._then, self._ends_process = then, ends_process
    self._raises, self._several = True, False
    self._calls, self._reached = 0, False  # of the service: all processes count the same calls
    self._before: dict[signal.Signals, Any] = {}

  def __enter__(self) -> "Preemption":
    global _active
    self._outer, _active = _active, self
    self._several = _has_others()
    main_thread = threading.current_thread() is threading.main_thread()
    self._numbers = [number for number in NAMES if main_thread and not (self._several and number == signal.SIGTERM)]
    if self._numbers:
      read_end, write_end = os.pipe()
      os.set_blocking(write_end, False)
      self._pipe = signal.set_wakeup_fd(write_end, warn_on_full_buffer=False), write_end
      self._watcher = threading.Thread(target=self._watch, args=(read_end,), daemon=True)
      self._watcher.start()
    self._before = {number: signal.signal(number, self._on_signal) for number in self._numbers}
    return self

  def joined(self) -> None:
    """Must be called after the process may have joined others: their service then owns SIGTERM."""
    self._several = _has_others()
    if self._numbers and not self._several:
      signal.signal(signal.SIGTERM, self._on_signal)  # the service of a single process has taken it, too

  def __exit__(self, *_: object) -> None:
    global _active
    _active = self._outer
    for number, handler in self._before.items():
      if not (self._several and number == signal.SIGTERM):
        signal.signal(number, handler)
    if self._numbers:
      before, write_end = self._pipe
      signal.set_wakeup_fd(before)
      os.close(write_end)
      self._watcher.join()
    if _active is None:
      retry.set_stopping(False)

  @contextlib.contextmanager
  def held(self, then: str) -> Iterator[None]:
    """Surrounds what must not be interrupted anywhere. `then`: what follows a signal, for the acknowledgment."""
    with self._state(raises=False, then=then):
      yield

  @contextlib.contextmanager
  def interruptible(self, then: str) -> Iterator[None]:
    """Surrounds what may be interrupted anywhere, within a held block. `then`: as for `held`."""
    with self._state(raises=True, then=then):
      if self.code and not self._several:
        raise StopRequested(self.code)
      yield

  @contextlib.contextmanager
  def _state(self, raises: bool, then: str) -> Iterator[None]:
    before = self._raises, self._then
    if not self.code:  # otherwise the acknowledgment may still be on its way
      self._then = then
    self._raises = raises
    try:
      yield
    finally:
      self._raises = before[0]
      if not self.code:
        self._then = before[1]

  def request(self) -> None:
    """Asks the command to stop, as a signal does, but raises nothing."""
    self.code = self.code or AGAIN
    if self._several:
      os.kill(os.getpid(), signal.SIGTERM)  # for JAX's service

  def stop_requested(self) -> bool:
    """Returns whether to stop now; several processes must call it equally often, in step with each other."""
    if not self._several:
      return bool(self.code)
    from jax.experimental import multihost_utils

    self._calls += 1
    if not self._reached and multihost_utils.reached_preemption_sync_point(self._calls):
      self._reached, self.code = True, self.code or AGAIN
      retry.set_stopping()
      LOG.info("a process got a signal: %s", self._then)
    return self._reached

  def check(self) -> None:
    """Raises StopRequested in an interruptible block if it is time to stop; with several processes, as `stop_requested`."""
    if self.stop_requested() and self._raises:
      raise StopRequested(self.code)

  def _on_signal(self, number: int, frame: FrameType | None) -> None:
    if self.code:
      if self._ends_process:
        _end(number)
      raise KeyboardInterrupt
    self.code = INTERRUPTED if number == signal.SIGINT else AGAIN
    if self._several:
      if number != signal.SIGTERM:
        os.kill(os.getpid(), signal.SIGTERM)  # for JAX's service
    elif self._raises:
      raise StopRequested(self.code)

  def _watch(self, read_end: int) -> None:
    """Acknowledges the first signal, and ends the process at the second, whatever the main thread is doing."""
    count = 0
    with open(read_end, "rb", buffering=0) as pipe:
      while byte := pipe.read(1):
        if byte[0] not in self._before:
          continue
        count += 1
        if count == 1:
          LOG.warning("%s: %s; a second one ends at once", NAMES[signal.Signals(byte[0])], self._then)
          retry.set_stopping()
        elif self._ends_process:
          _end(byte[0])


_active: Preemption | None = None


def _has_others() -> bool:
  jax: Any = sys.modules.get("jax")  # not imported here: signals are handled while it is
  return jax is not None and jax.distributed.is_initialized() and jax.process_count() > 1


def handled(then: str = STOPPING) -> contextlib.AbstractContextManager[Preemption]:
  """Returns the signals of the command that is running, or of the calling program, which are handled in the block."""
  return contextlib.nullcontext(_active) if _active else Preemption(then)


def check() -> None:
  """Raises StopRequested if a signal has asked the command to stop; loops call it between units of work.

  Several processes must call it equally often, in step with each other.
  """
  if _active:
    _active.check()


def _end(number: int) -> NoReturn:
  os.write(2, b"\nended at once by a second signal\n")
  os._exit(128 + number)
