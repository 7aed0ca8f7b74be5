"""A process that writes shards: python -m jaxssl.pack.worker. Reads a source and tasks from its input, ends with it."""

import os
import pickle
import signal
import sys
import time
import traceback
from collections.abc import Callable
from typing import Any

from jaxssl.pack import shards


class Advance:
  """Answers how many images are done, at most every half second."""

  def __init__(self, answer: Callable[[str, int], None]):
    self._answer, self._done, self._last = answer, 0, time.monotonic()

  def __call__(self, number: int) -> None:
    """Adds a number of images."""
    self._done += number
    if time.monotonic() - self._last > 0.5:
      self.flush()

  def flush(self) -> None:
    """Answers what was not answered yet."""
    self._answer("advance", self._done)
    self._done, self._last = 0, time.monotonic()


def main() -> None:
  """Answers each task on its output: ("advance", n) meanwhile, then ("part", Part), ("error", exception) or ("crash", text)."""
  signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes; the one that started this ends it
  answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
  os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what libraries print

  def answer(*message: Any) -> None:
    pickle.dump(message, answers)
    answers.flush()

  source = pickle.load(sys.stdin.buffer)
  while True:
    try:
      split, task = pickle.load(sys.stdin.buffer)
    except EOFError:
      return
    try:
      advance = Advance(answer)
      part = shards.write(source[split], task, advance)
      advance.flush()
      answer("part", part)
    except Exception as error:
      known = hasattr(error, "exit_code")  # explained by its message
      answer("error", error) if known else answer("crash", traceback.format_exc())


if __name__ == "__main__":
  main()
