"""Worker processes that read images, so that an input pipeline uses every core and not one interpreter's share of them."""

import os
import pickle
import queue
import socket
import subprocess
import sys
import threading
import weakref
from collections.abc import Sequence
from multiprocessing.connection import Connection
from typing import Any

from jaxssl.config.schema import DataConfig
from jaxssl.core import LOG, Unavailable, UserError, retry
from jaxssl.core.cores import cores
from jaxssl.data.shared_memory import Layout, SharedMemory
from jaxssl.data.source import Source, origin_of
from jaxssl.data.worker_process import Request

THREADS_SUFFICE = 4  # threads of one process, which then keep as many cores busy as processes do (docs/performance.md)
_ATTEMPTS = 3  # of a request, if the worker that has it dies
_PROGRAM = "import sys; sys.path[:] = sys.argv[3:]; from jaxssl.data import worker_process; worker_process.main()"


def open_pool(sources: Sequence[Source], config: DataConfig) -> "WorkerPool | None":
  """Starts the processes that `data.processes` requests; None if threads are to read the images.

  Raises UserError if processes are asked for and cannot read the training images, the first of `sources`.
  """
  origins = [origin_of(source) for source in sources]
  readable = [origin for k, origin in enumerate(origins) if origin.in_processes and origin not in origins[:k]]
  if config.processes == "on" and origins[0] not in readable:
    raise UserError(f"data.processes=on: {origins[0].name} is read by this process only; use auto, or jaxssl pack")
  count = config.workers or cores()
  if origins[0] not in readable or config.processes == "off":
    return None
  # Elsewhere than on Linux, libraries that the host imports may have threads, with which a process must not fork
  if config.processes == "auto" and (count <= THREADS_SUFFICE or sys.platform != "linux"):
    return None
  LOG.info("images are read by %d processes", count)
  return WorkerPool(readable, count)


class WorkerPool:
  """Processes that call functions of a source and arguments, for the threads of this process.

  `sources` must be pickled cheaply. A worker that is killed is replaced and its request repeated; `call` raises Unavailable if
  that does not help. The processes end with the pool, at the latest with this process, whatever ends it.
  """

  def __init__(self, sources: Sequence[Source], count: int):
    self.count, self.memory, self._sources = count, SharedMemory(), list(sources)
    self._control, theirs = socket.socketpair()
    files = theirs.fileno(), self.memory.file
    command = [sys.executable, "-c", _PROGRAM, *map(str, files), *sys.path]
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}  # a process that forks should have no threads
    self._host = subprocess.Popen(command, pass_fds=files, env=environment, stdin=subprocess.DEVNULL, start_new_session=True)
    theirs.close()
    self._lock = threading.Lock()
    self._idle: queue.SimpleQueue[Connection] = queue.SimpleQueue()
    self._workers: set[Connection] = set()
    self.close = weakref.finalize(self, _close, self._control, self._workers, self._host)
    with Connection(os.dup(self._control.fileno())) as connection:
      connection.send_bytes(pickle.dumps(self._sources))
      _, error = pickle.loads(connection.recv_bytes())
    if error:  # a source cannot be opened there
      self.close()
      raise error
    for _ in range(count):
      self._idle.put(self._start())

  def number_of(self, source: Source) -> int | None:
    """Returns the number of a source for `call`; None if the workers do not have it."""
    return next((k for k, own in enumerate(self._sources) if own is source), None)

  def call(self, function: bytes, source: int, arguments: tuple[Any, ...], layout: Layout) -> Any:
    """Calls a pickled function in a worker, and waits: function(source, *arguments, out=arrays in shared memory).

    Returns what it returns, and raises what it raises, or Unavailable.
    """
    request = pickle.dumps(Request(function, source, arguments, layout))
    worker = self._idle.get()
    try:
      for _ in range(_ATTEMPTS):
        try:
          worker.send_bytes(request)
          while not worker.poll(retry.AFTER_SIGNAL):
            if retry.is_stopping():  # the signal does not reach workers
              worker = self._replaced(worker)
              raise Unavailable(f"an image was not read within {retry.AFTER_SIGNAL:.0f} s, and the command is stopping")
          value, error = pickle.loads(worker.recv_bytes())
        except (EOFError, OSError):
          if not self.close.alive:
            raise
          LOG.warning("a worker process died; another one repeats its work")
          worker = self._replaced(worker)
          continue
        if error is not None:
          raise error
        return value
      raise Unavailable(f"worker processes died {_ATTEMPTS} times; is there too little memory?")
    finally:
      self._idle.put(worker)

  def _replaced(self, worker: Connection) -> Connection:
    worker.close()
    self._workers.discard(worker)
    return self._start()

  def _start(self) -> Connection:
    ours, theirs = socket.socketpair()
    with theirs, self._lock:
      try:
        socket.send_fds(self._control, [b"+"], [theirs.fileno()])
      except OSError as error:
        ours.close()
        raise Unavailable("the worker processes have died; is there too little memory?") from error
    worker = Connection(ours.detach())
    self._workers.add(worker)
    return worker


def _close(control: socket.socket, workers: set[Connection], host: subprocess.Popen) -> None:
  """Ends the processes, and the calls that wait for them."""
  control.close()
  for worker in workers:
    with socket.socket(fileno=os.dup(worker.fileno())) as end:
      end.shutdown(socket.SHUT_RDWR)  # closing does not wake a thread that reads
    worker.close()
  try:
    host.wait(5)
  except subprocess.TimeoutExpired:
    host.kill()
    host.wait()
