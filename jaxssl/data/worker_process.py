"""The processes behind `WorkerPool`: a host that holds the sources, and the workers that it forks.

The host imports neither JAX nor TensorFlow and has no threads, so that forking is safe and takes a millisecond. All end when
the socket to the process that started them is closed, however that ends.
"""

import mmap
import os
import pickle
import signal
import socket
import sys
import traceback
from collections.abc import Sequence
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

from jaxssl.data.opencv import opencv
from jaxssl.data.shared_memory import Arrays, Layout, arrays_in
from jaxssl.data.source import Source


class Request(NamedTuple):
  """What a worker is to do: call `function`, pickled, with a source, the arguments, and arrays to fill."""

  function: bytes
  source: int
  arguments: tuple[Any, ...]
  layout: Layout


def main() -> None:
  """Forks a worker for each socket that arrives on the control socket, after the pickled sources; ends with all of them.

  Its arguments are the numbers of two open files: the socket and the shared memory.
  """
  control, memory = map(int, sys.argv[1:3])
  for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP):  # the training process decides
    signal.signal(number, signal.SIG_IGN)
  signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # no process stays a zombie
  with socket.socket(fileno=control) as channel:
    connection = Connection(os.dup(control))
    try:
      sources = pickle.loads(connection.recv_bytes())
      opencv()  # imported once, not by each worker
    except Exception as error:
      return connection.send_bytes(_pickled(None, error))
    connection.send_bytes(_pickled(None, None))
    connection.close()
    while files := socket.recv_fds(channel, 1, 1)[1]:
      if not os.fork():
        channel.close()
        try:
          _work(Connection(files[0]), sources, memory)
        finally:
          os._exit(0)
      os.close(files[0])
  os.killpg(0, signal.SIGKILL)  # this process and the workers, which are a group of their own


def _work(connection: Connection, sources: Sequence[Source], memory: int) -> None:
  """Answers requests with a value and an exception, one of which is None, until the other end is closed."""
  functions, maps = dict[bytes, Any](), dict[tuple[int, int], mmap.mmap]()
  while True:
    try:
      request = pickle.loads(connection.recv_bytes())
    except (EOFError, OSError):
      return
    try:
      if request.function not in functions:
        functions = {request.function: pickle.loads(request.function)}
      out = _arrays(maps, memory, request.layout)
      answer = functions[request.function](sources[request.source], *request.arguments, out=out), None
    except Exception as error:
      answer = None, error
    connection.send_bytes(_pickled(*answer))


def _arrays(maps: dict[tuple[int, int], mmap.mmap], memory: int, layout: Layout) -> Arrays:
  place = layout.offset, layout.size
  if place not in maps:
    maps[place] = mmap.mmap(memory, layout.size, offset=layout.offset)
  return arrays_in(maps[place], layout)


def _pickled(value: Any, error: Exception | None) -> bytes:
  """Pickles an answer; an exception has its traceback as a note, and becomes a RuntimeError if it cannot be pickled."""
  if error is None:
    return pickle.dumps((value, None))
  error.add_note("in a worker process:\n" + "".join(traceback.format_exception(error)))
  try:
    data = pickle.dumps((None, error))
    pickle.loads(data)
    return data
  except Exception:
    return pickle.dumps((None, RuntimeError(f"{type(error).__name__}: {error}")))
