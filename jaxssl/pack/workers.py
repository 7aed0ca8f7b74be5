"""Runs the tasks of a pack in processes, each of which writes whole shards."""

import contextlib
import io
import os
import pickle
import queue
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence

from jaxssl.core import LOG, UserError
from jaxssl.data.source import Source, Subset
from jaxssl.pack import shards
from jaxssl.pack.shards import Part, Task

Sources = Mapping[str, Source]  # by split
_COMMAND = [sys.executable, "-m", "jaxssl.pack.worker"]


def parts(
  sources: Sources, tasks: Sequence[Task], workers: int, advance: Callable[[int], object]
) -> Iterator[tuple[int, Part]]:
  """Writes shards with up to `workers` processes; yields the position of each task and its part as they are finished.

  One worker, or a source that cannot be sent to another process, is served here. Raises UserError.
  """
  pickled = _pickled(sources) if min(workers, len(tasks)) > 1 else None
  if pickled is None:
    for k, task in enumerate(tasks):
      yield k, shards.write(sources[task.split], task, advance)
    return
  todo, answers = queue.SimpleQueue(), queue.SimpleQueue()
  for k in range(len(tasks)):
    todo.put(k)
  processes = [_start() for _ in range(min(workers, len(tasks)))]
  arguments = (pickled, tasks, todo, answers)
  threads = [threading.Thread(target=_serve, args=(process, *arguments), daemon=True) for process in processes]
  try:
    for thread in threads:
      thread.start()
    finished = 0
    while finished < len(tasks):
      kind, k, value = answers.get()
      if kind == "advance":
        advance(value)
      elif kind == "part":
        finished += 1
        yield k, value
      elif kind == "error":
        raise value
      else:
        raise RuntimeError(f"a worker failed at {tasks[k].path}:\n{value}")
  finally:
    for process in processes:
      process.kill()
    for process in processes:
      process.wait()
    for thread in threads:
      thread.join()  # before the pipes are closed that it uses
    for process in processes:
      with contextlib.suppress(OSError):  # what was not sent yet cannot be
        for pipe in (process.stdin, process.stdout):
          pipe.close()  # type: ignore[union-attr]


def _start() -> subprocess.Popen:
  environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "JAX_PLATFORMS": "cpu"}
  return subprocess.Popen(_COMMAND, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment)


def _serve(
  process: subprocess.Popen, pickled: bytes, tasks: Sequence[Task], todo: queue.SimpleQueue, answers: queue.SimpleQueue
):
  """Gives tasks to a process until none is left, and passes its answers on."""
  assert process.stdin and process.stdout
  k = -1
  try:
    process.stdin.write(pickled)
    while True:
      try:
        k = todo.get_nowait()
      except queue.Empty:
        process.stdin.close()
        return
      pickle.dump((tasks[k].split, tasks[k]), process.stdin)
      process.stdin.flush()
      kind = "advance"
      while kind == "advance":
        kind, value = pickle.load(process.stdout)
        answers.put((kind, k, value))
  except (OSError, EOFError, pickle.UnpicklingError):
    code = process.wait()
    remedy = "it may have had too little memory; rerun the same command, perhaps with fewer --workers, to resume"
    answers.put(("error", k, UserError(f"a worker process ended with code {code}: {remedy}")))


def _origin(source: Source) -> Source:
  return _origin(source.source) if isinstance(source, Subset) else source


def _pickled(sources: Sources) -> bytes | None:
  """Returns sources for another process; None if a class of them is defined in a file that only this process has run."""
  try:
    file = io.BytesIO()
    pickle.dump(dict(sources), file)
    modules = {type(_origin(source)).__module__ for source in sources.values()}
    if all(module.startswith("jaxssl.") for module in modules):
      return file.getvalue()
    LOG.info("one process packs, since %s may not be importable in others", ", ".join(sorted(modules)))
  except Exception as error:  # anything that a source of the user may hold
    LOG.info("one process packs, since the source cannot be sent to others: %r", error)
  return None
