"""Runs the tasks of a pack in worker processes, each of which writes whole shards."""

import pickle
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait

import numpy as np

from jaxssl.core import LOG
from jaxssl.data.shared_memory import Arrays
from jaxssl.data.source import Source, origin_of
from jaxssl.data.worker_pool import WorkerPool
from jaxssl.pack import shards
from jaxssl.pack.shards import Part, Task

Sources = Mapping[str, Source]  # by split
_BETWEEN = 0.2  # seconds between updates of the progress


def parts(
  sources: Sources, tasks: Sequence[Task], workers: int, advance: Callable[[int], object]
) -> Iterator[tuple[int, Part]]:
  """Writes shards with up to `workers` processes; yields the position of each task and its part as they are finished.

  One worker, or a source that cannot be sent to another process, is served here. Raises UserError, OSError or Unavailable.
  """
  if min(workers, len(tasks)) == 1 or not _can_be_sent(sources):
    for k, task in enumerate(tasks):
      yield k, shards.write(sources[task.split], task, advance)
    return
  names = list(sources)
  pool = WorkerPool(list(sources.values()), min(workers, len(tasks)))
  done, layout = pool.memory.arrays({"images": (len(tasks),)}, np.dtype(np.int64))
  done["images"][:] = 0
  function, shown = pickle.dumps(_write), 0
  with ThreadPoolExecutor(pool.count) as threads:
    try:
      calls = {
        threads.submit(pool.call, function, names.index(task.split), (task, k), layout): k for k, task in enumerate(tasks)
      }
      while calls:
        finished, _ = wait(calls, _BETWEEN, FIRST_COMPLETED)
        total = int(done["images"].sum())
        advance(total - shown)
        shown = total
        for call in finished:
          yield calls.pop(call), call.result()
    finally:
      threads.shutdown(wait=False, cancel_futures=True)
      pool.close()


def _write(source: Source, task: Task, k: int, out: Arrays) -> Part:
  """Writes a shard in a worker process, and counts its images."""
  out["images"][k] = 0  # another worker may have died with this task

  def advance(images: int) -> None:
    out["images"][k] += images

  return shards.write(source, task, advance)


def _can_be_sent(sources: Sources) -> bool:
  """Returns whether other processes can open the sources; not if a class is defined in a file that only this one has run."""
  try:
    pickle.dumps(dict(sources))
  except Exception as error:  # anything that a source of the user may hold
    LOG.info("one process packs, since the source cannot be sent to others: %r", error)
    return False
  modules = {type(origin_of(source)).__module__ for source in sources.values()}
  if all(module.startswith("jaxssl.") for module in modules):
    return True
  LOG.info("one process packs, since %s may not be importable in others", ", ".join(sorted(modules)))
  return False
