import logging
import queue

import pytest

from jaxssl.core import log as runlog


@pytest.fixture
def messages():
  """Returns a queue of the log's messages."""
  lines: queue.Queue[str] = queue.Queue()
  handler = logging.Handler()
  handler.emit = lambda record: lines.put(record.getMessage())
  runlog.LOG.addHandler(handler)
  level = runlog.LOG.level
  runlog.LOG.setLevel(logging.INFO)
  yield lines
  runlog.LOG.setLevel(level)
  runlog.LOG.removeHandler(handler)


def test_a_heartbeat_is_logged_repeatedly(messages, monkeypatch):
  monkeypatch.setattr(runlog, "SECONDS_BETWEEN_LINES", 0.01)
  with runlog.heartbeat("compiling"):
    first, second = messages.get(timeout=60), messages.get(timeout=60)
  assert first.startswith("compiling: ") and second.endswith(" s so far")


def test_a_short_block_logs_nothing_and_its_exception_is_raised(messages):
  with pytest.raises(ZeroDivisionError), runlog.heartbeat("compiling"):
    _ = 1 / 0
  assert messages.empty()
