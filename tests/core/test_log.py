import logging
import queue

import pytest

from jaxssl.core import log as runlog


@pytest.fixture
def said():
  """What the log says, as it says it."""
  lines: queue.Queue[str] = queue.Queue()
  handler = logging.Handler()
  handler.emit = lambda record: lines.put(record.getMessage())
  runlog.LOG.addHandler(handler)
  level = runlog.LOG.level
  runlog.LOG.setLevel(logging.INFO)
  yield lines
  runlog.LOG.setLevel(level)
  runlog.LOG.removeHandler(handler)


def test_what_takes_long_says_that_it_goes_on(said, monkeypatch):
  monkeypatch.setattr(runlog, "SECONDS_BETWEEN_LINES", 0.01)
  with runlog.heartbeat("compiling"):
    first, second = said.get(timeout=60), said.get(timeout=60)
  assert first.startswith("compiling: ") and second.endswith(" s so far")


def test_what_is_soon_over_says_nothing_and_a_mistake_in_it_comes_through(said):
  with pytest.raises(ZeroDivisionError), runlog.heartbeat("compiling"):
    _ = 1 / 0
  assert said.empty()
