"""Limits for reading untrusted input: time, memory, one-line errors, no code executed, nothing written elsewhere."""

import contextlib
import os
import pathlib
import resource
import signal
import sys
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from hypothesis import HealthCheck, settings

from jaxssl.core import UserError

T = TypeVar("T")
SECONDS, BYTES = 30, 3 * 2**30
TIMES = float(os.environ.get("JAXSSL_FUZZ", "1"))  # above 1: more examples, which differ each time
RUNS = ("os.system", "os.exec", "os.posix_spawn", "os.fork", "subprocess.Popen", "pickle.find_class", "ctypes.dlopen")
WRITES = ("os.mkdir", "os.rename", "os.link", "os.symlink", "os.remove", "os.rmdir", "os.truncate", "shutil.rmtree")
CACHES = ("XDG_CACHE_HOME", "JAX_COMPILATION_CACHE_DIR")
_events: list[str] | None = None
_roots: list[str] = []


def examples(count: int) -> Any:
  """Returns hypothesis settings for `count` examples."""
  slow = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]
  return settings(
    max_examples=max(1, int(count * TIMES)), deadline=None, derandomize=TIMES == 1, database=None, suppress_health_check=slow
  )


class TooSlow(BaseException):
  """Raised after the time limit; a BaseException, so that no handler of Exception catches it."""


def _stop(*_: object) -> None:
  raise TooSlow


def _hook(event: str, arguments: tuple) -> None:
  if _events is None:
    return
  if event in RUNS:
    _events.append(f"{event}{arguments[:2]}")
  elif event == "open" and isinstance(arguments[0], str | bytes | os.PathLike) and isinstance(arguments[2], int):
    if arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT) and not _inside(arguments[0]):
      _events.append(f"wrote {arguments[0]}")
  elif event in WRITES and any(isinstance(path, str) and not _inside(path) for path in arguments[:1]):
    _events.append(f"{event} {arguments[0]}")


def _inside(path: Any) -> bool:
  whole = os.path.realpath(os.fsdecode(path))
  return whole == os.devnull or any(whole == root or whole.startswith(root + os.sep) for root in _roots)


sys.addaudithook(_hook)


def answer(call: Callable[[], T], *writable: pathlib.Path) -> T | None:
  """Returns the result of a call, or None if it raises a one-line error. Fails if it does anything else."""
  global _events
  _roots[:] = [os.path.realpath(path) for path in (*writable, *(os.environ[name] for name in CACHES))]
  _events = []
  before = signal.signal(signal.SIGALRM, _stop)
  signal.setitimer(signal.ITIMER_REAL, SECONDS)
  try:
    return call()
  except UserError as error:
    assert str(error).strip() and len(str(error).splitlines()) == 1, repr(str(error))
    str(error).encode()
    return None
  finally:
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)
    done, _events = _events, None
    assert not done, done


@contextlib.contextmanager
def bounded() -> Iterator[None]:
  """Limits memory to BYTES more than is in use now."""
  before, used = resource.getrlimit(resource.RLIMIT_AS), pathlib.Path("/proc/self/statm")
  if not used.exists():
    yield
    return
  now = int(used.read_text().split()[0]) * resource.getpagesize()
  resource.setrlimit(resource.RLIMIT_AS, (now + BYTES, before[1]))
  try:
    yield
  finally:
    resource.setrlimit(resource.RLIMIT_AS, before)
