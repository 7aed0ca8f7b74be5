"""Injects errors of storage into reads, and a clock that only waits advance, so that no test waits."""

import errno
import os
import random
import threading
from collections.abc import Callable
from typing import Any

from jaxssl.core import retry


class Clock:
  """The time of `retry`. `waits`: how long it has been told to wait, in seconds."""

  def __init__(self, monkeypatch: Any):
    self.now, self.waits, self._lock = 0.0, list[float](), threading.Lock()
    monkeypatch.setattr(retry, "clock", lambda: self.now)
    monkeypatch.setattr(retry, "sleep", self._sleep)
    monkeypatch.setitem(retry._lines, "next", 0.0)
    monkeypatch.setitem(retry._lines, "left_out", 0)

  def _sleep(self, seconds: float) -> None:
    with self._lock:
      self.now += seconds
      self.waits.append(seconds)


class Faults:
  """Makes a function fail. `share`: of its calls that raise `error`, drawn by a seed; `only`: which calls may, by arguments."""

  def __init__(
    self, function: Callable, share: float, error: Exception | None = None, only: Callable[..., bool] = lambda *_: True
  ):
    self._function, self._only, self.share, self.count = function, only, share, 0
    self.error = error or OSError(errno.ESTALE, os.strerror(errno.ESTALE))
    self._random, self._lock = random.Random(0), threading.Lock()

  def __call__(self, *args: Any, **kwargs: Any) -> Any:
    with self._lock:
      fails = self._only(*args) and self._random.random() < self.share
      self.count += fails
    if fails:
      raise self.error
    return self._function(*args, **kwargs)
