import fcntl
import logging
import os
import pty
import struct
import sys
import termios
import time

import pytest

from jaxssl.core import log


@pytest.fixture(autouse=True)
def logged(caplog, monkeypatch):
  """Passes the log to `caplog`."""
  monkeypatch.setattr(log.LOG, "propagate", True)
  caplog.set_level(logging.INFO, "jaxssl")


def test_a_heartbeat_is_logged_repeatedly(caplog, monkeypatch):
  monkeypatch.setattr(log, "SECONDS_BETWEEN_LINES", 0.01)
  with log.heartbeat("compiling"):
    while len(caplog.messages) < 2:
      time.sleep(0.01)
  assert all(line.startswith("compiling: ") and line.endswith(" s so far") for line in caplog.messages)


def test_a_heartbeat_tells_how_many_images_are_left(caplog, monkeypatch):
  monkeypatch.setattr(log, "SECONDS_BETWEEN_LINES", 0.01)
  log.note_progress(1, 2, 0.0)  # nothing runs
  with log.heartbeat("measuring"):
    log.note_progress(50, 200, time.monotonic() - 20)
    while not caplog.messages:
      time.sleep(0.01)
  assert caplog.messages[0].endswith(" s so far; 50 of 200 images, left 60 s")


def test_a_short_block_logs_nothing_and_its_exception_is_raised(caplog):
  with pytest.raises(ZeroDivisionError), log.heartbeat("compiling"):
    _ = 1 / 0
  assert not caplog.messages


def test_the_progress_of_images_is_logged_without_a_terminal(caplog):
  progress = log.image_progress(8, 2)
  progress.update(6)
  progress.close()
  assert caplog.messages[0].startswith("2/8 images ") and caplog.messages[-1].startswith("8/8 images ")


def test_bars_need_a_terminal_with_a_width(monkeypatch):
  parent, terminal = pty.openpty()
  with open(terminal, "w", encoding="utf-8") as stderr:
    monkeypatch.setattr(sys, "stderr", stderr)
    for columns in (0, 80):
      fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
      assert log.bar_shown() == (columns > 0)
  os.close(parent)


@pytest.mark.parametrize(
  "seconds, text", [(0.4, "0 s"), (89, "89 s"), (90, "2 min"), (3600, "1 h"), (44565, "12 h 23 min"), (190_000, "2 days 5 h")]
)
def test_times_have_two_units_at_most(seconds, text):
  assert log.duration(seconds) == text
