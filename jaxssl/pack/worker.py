"""A process that writes shards: python -m jaxssl.pack.worker. Reads a source and tasks from its input, ends with it."""

import os
import pickle
import signal
import sys
import traceback
from typing import Any

from jaxssl.core import UserError
from jaxssl.pack import shards


def main() -> None:
  """Answers each task on its output: ("advance", n) while it works, then ("part", Part), ("error", text) or ("crash", text)."""
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
      answer("part", shards.write(source[split], task, lambda n: answer("advance", n)))
    except UserError as error:
      answer("error", str(error))
    except Exception:
      answer("crash", traceback.format_exc())


if __name__ == "__main__":
  main()
