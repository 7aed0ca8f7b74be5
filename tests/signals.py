"""Signals that a command gets while it runs a function."""

import itertools
import os
import signal
import time
from typing import Any

import pytest


def signal_at(
  patch: pytest.MonkeyPatch, owner: Any, name: str, call: int = 1, number: int = signal.SIGTERM, pause: float = 0.0
) -> list[int]:
  """Sends a signal to this process before the given call of a function; returns a list that grows with every call.

  `pause`: seconds that each call takes longer.
  """
  function, numbers, calls = getattr(owner, name), itertools.count(1), list[int]()

  def signaled(*arguments: Any, **words: Any) -> Any:
    calls.append(next(numbers))
    if calls[-1] == call:
      os.kill(os.getpid(), number)
    time.sleep(pause)
    return function(*arguments, **words)

  patch.setattr(owner, name, signaled)
  return calls
