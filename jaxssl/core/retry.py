"""Retries operations on storage that does not respond, with growing waits, for a limited time."""

import itertools
import math
import os
import random
import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar

from jaxssl.core import storage_errors
from jaxssl.core.errors import OneLineError, Unavailable, UserError
from jaxssl.core.log import LOG, duration

T = TypeVar("T")
VARIABLE = "JAXSSL_RETRY_SECONDS"  # of the environment: how long an operation is retried; 0: never
SECONDS = 300.0  # by default
FIRST_WAIT, LONGEST_WAIT = 0.2, 30.0  # seconds; a wait is between half and all of it, so that many hosts spread out
RERUN = "Rerun the same command to resume"
AFTER_SIGNAL = 5.0  # seconds that are left once the command is to stop
BETWEEN_LINES = 1.0  # seconds; many threads may wait at the same time

clock = time.monotonic
_stopping = threading.Event()
_random = random.SystemRandom()  # leaves the generators of the program alone, and differs between forked processes
_lines = {"next": -math.inf, "left_out": 0}


def sleep(seconds: float) -> None:
  """Waits, at most until `set_stopping` is called."""
  if _stopping.is_set():
    time.sleep(min(seconds, FIRST_WAIT))
  else:
    _stopping.wait(seconds)


def set_stopping(stopping: bool = True) -> None:
  """Ends waits, and limits retries to AFTER_SIGNAL seconds, while the command is to stop. Not for signal handlers."""
  _stopping.set() if stopping else _stopping.clear()


def is_stopping() -> bool:
  """Returns whether the command is to stop."""
  return _stopping.is_set()


def limit() -> float:
  """Returns for how many seconds an operation is retried. Raises UserError if VARIABLE is not a number."""
  text = os.environ.get(VARIABLE) or str(SECONDS)
  try:
    seconds = float(text)
  except ValueError:
    seconds = math.nan
  if not 0 <= seconds < math.inf:
    raise UserError(f"{VARIABLE}={text}: expected a number of seconds, 0 or more; unset it for {SECONDS:.0f}")
  return min(seconds, AFTER_SIGNAL) if _stopping.is_set() else seconds


def call(what: str, operation: Callable[..., T], *arguments: Any) -> T:
  """Returns operation(*arguments), which is repeated as long as its error is transient, see `storage_errors`.

  `what`: for messages, e.g. "reading PATH". Raises other errors at once, those of a bucket as OSError, and Unavailable after
  `limit` seconds.
  """
  try:
    return operation(*arguments)
  except Exception as error:
    failure = _transient(error)
  began = clock()
  for tries in itertools.count(1):
    left = began + limit() - clock()
    if left <= 0:
      raise unavailable(what, failure, f" within {duration(clock() - began)}, {tries} tries") from failure
    wait = min(left, _random.uniform(0.5, 1) * min(FIRST_WAIT * 2 ** (tries - 1), LONGEST_WAIT))
    _log(what, failure, wait, left)
    sleep(wait)
    try:
      return operation(*arguments)
    except Exception as error:
      failure = _transient(error)
  raise AssertionError  # the loop does not end


def _transient(error: Exception) -> Exception:
  """Returns the error if it is transient; raises it otherwise."""
  if storage_errors.is_transient(error):
    return error
  translated = storage_errors.as_os_error(error)
  raise translated from (error.__cause__ if translated is error else error)


def unavailable(what: str, error: Exception, after: str = "") -> Unavailable:
  """Returns the error for an operation that is not tried again. `after`: how long it was tried."""
  reason = storage_errors.message(error)
  return Unavailable(f"{what}: storage does not respond{after}: {reason}. {RERUN}")


def failure(problem: str, error: Exception, remedy: str = "") -> OneLineError:
  """Returns what to raise for an operation that was not retried and failed: a UserError, or Unavailable if it is transient."""
  if storage_errors.is_transient(error):
    return unavailable(problem, error)
  return UserError(f"{problem}: {getattr(error, 'strerror', None) or error}{remedy}")


def _log(what: str, error: Exception, wait: float, left: float) -> None:
  """Logs a wait; at most one line per BETWEEN_LINES seconds, which counts those that were left out."""
  now = clock()
  if now < _lines["next"]:
    _lines["left_out"] += 1
    return
  others = f" (and {_lines['left_out']} other waits before)" if _lines["left_out"] else ""
  _lines.update(next=now + BETWEEN_LINES, left_out=0)
  text = "%s: %s; trying again in %.1f s, for at most %s%s"
  LOG.warning(text, what, storage_errors.message(error), wait, duration(left), others)
