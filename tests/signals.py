"""Signals that a command gets while it runs a function."""

import itertools
import os
import signal
import time
from typing import Any

import pytest

# A program that trains with the arguments of `main` and is killed while it saves step 6
DIES_IN_A_SAVE = """
import os, signal, sys
sys.modules["clu"] = sys.modules["keras"] = None  # without TensorBoard events; both take seconds to import
from jaxssl import main
from jaxssl.workdir import checkpoint
from tests import devices
save = checkpoint.Checkpoints.save
def save_and_die(self, step, state):
  save(self, step, state)
  if step == 6:
    os.kill(os.getpid(), signal.SIGKILL)  # the save continues in the background
checkpoint.Checkpoints.save = save_and_die
with devices.only(1):
  main.main(sys.argv[1:])
"""


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
