"""Loads what is needed next on threads."""

import collections
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from jaxssl.core.cores import cores

T = TypeVar("T")


def read_ahead(load: Callable[[Any], T], keys: Iterable[Any], workers: int, ahead: int) -> Generator[T, None, None]:
  """Loads images on threads (`workers`; 0: as many as cores), at most `ahead` before they are needed; yields them in order."""
  pool, pending = ThreadPoolExecutor(workers or cores()), collections.deque()
  try:
    for key in keys:
      pending.append(pool.submit(load, key))
      if len(pending) >= ahead:
        yield pending.popleft().result()
    while pending:
      yield pending.popleft().result()
  finally:
    pool.shutdown(cancel_futures=True)
