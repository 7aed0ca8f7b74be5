"""Retries wait longer and longer, for a limited time, and only for errors that may end."""

import errno
import os
import pathlib

import pytest
import tensorflow as tf

from jaxssl import main as command
from jaxssl.core import Unavailable, UserError, exit_codes, json_io, retry
from tests.faults import Clock


@pytest.fixture
def clock(monkeypatch):
  return Clock(monkeypatch)


def failing(errors):
  """Returns a function that raises these errors, one per call, and then returns its arguments."""
  left = list(errors)

  def operation(*arguments):
    if left:
      raise left.pop(0)
    return arguments

  return operation


STALE = OSError(errno.ESTALE, os.strerror(errno.ESTALE))


def test_a_transient_error_is_tried_again_with_growing_waits(clock, caplog):
  assert retry.call("reading a.jpg", failing([STALE] * 12), 1, 2) == (1, 2)
  assert len(clock.waits) == 12
  for tries, wait in enumerate(clock.waits):
    most = min(0.2 * 2**tries, 30)
    assert most / 2 <= wait <= most
  assert caplog.messages[-1].startswith(f"reading a.jpg: {os.strerror(errno.ESTALE)}; trying again in ")


def test_an_operation_that_succeeds_waits_for_nothing(clock, caplog):
  assert retry.call("reading a.jpg", failing([]), 1) == (1,)
  assert not clock.waits and not caplog.messages


@pytest.mark.parametrize("error", [FileNotFoundError(2, "no"), PermissionError(13, "no"), OSError(28, "full"), UserError("a")])
def test_other_errors_are_raised_at_once(error, clock):
  with pytest.raises(type(error)) as raised:
    retry.call("reading", failing([error]))
  assert raised.value is error and not clock.waits


def test_an_error_after_a_transient_one_is_raised(clock):
  with pytest.raises(FileNotFoundError):
    retry.call("reading", failing([STALE, FileNotFoundError(2, "no")]))


def test_errors_of_a_bucket_are_raised_as_those_of_python(clock):
  with pytest.raises(FileNotFoundError, match=r"^gs://b/a is absent$"):
    retry.call("reading", failing([tf.errors.NotFoundError(None, None, "gs://b/a is absent")]))


@pytest.mark.parametrize("seconds, shown", [("", "5 min"), ("20", "20 s"), ("0", "0 s")])
def test_after_the_limit_the_error_says_what_to_do(seconds, shown, clock, monkeypatch):
  monkeypatch.setenv(retry.VARIABLE, seconds)
  with pytest.raises(Unavailable) as raised:
    retry.call("reading a.jpg", failing([STALE] * 1000))
  assert raised.value.exit_code == exit_codes.AGAIN and clock.now == pytest.approx(float(seconds or 300))
  assert str(raised.value) == (
    f"reading a.jpg: storage does not respond within {shown}, {len(clock.waits) + 1} tries: {os.strerror(errno.ESTALE)}. "
    "Rerun the same command to resume"
  )


@pytest.mark.parametrize("value", ["soon", "-1", "inf", "nan"])
def test_a_limit_that_is_no_number_is_an_error_at_the_start(value, monkeypatch, capfd):
  monkeypatch.setenv(retry.VARIABLE, value)
  assert command.main(["report", "--workdir=/nowhere"]) == 2
  expected = f"error: JAXSSL_RETRY_SECONDS={value}: expected a number of seconds, 0 or more; unset it for 300\n"
  assert capfd.readouterr().err == expected


def test_a_line_counts_the_waits_that_are_not_shown(clock, caplog):
  for _ in range(3):
    with pytest.raises(Unavailable):
      retry.call("reading", failing([STALE] * 1000))
    clock.now = 0.0  # three threads that wait at the same time
  assert len(caplog.messages) < len(clock.waits)
  assert len(caplog.messages) + retry._lines["left_out"] + sum(
    int(text.partition("(and ")[2].partition(" ")[0] or 0) for text in caplog.messages
  ) == len(clock.waits)


def test_a_signal_ends_waits(monkeypatch):
  try:
    retry.set_stopping()
    assert retry.limit() == retry.AFTER_SIGNAL
    monkeypatch.setenv(retry.VARIABLE, "1")
    assert retry.limit() == 1
    monkeypatch.setattr(retry.time, "sleep", lambda seconds: None)
    retry.sleep(1000)
  finally:
    retry.set_stopping(False)
  assert not retry._stopping.is_set()


def test_a_line_is_appended_once(tmp_path, clock, monkeypatch):
  path, open_file, fails = tmp_path / "a.jsonl", pathlib.Path.open, [True, True]
  json_io.append_line(path, {"step": 1})

  def torn(self, mode="r", *more, **words):
    file = open_file(self, mode, *more, **words)
    if mode == "ab" and fails:
      fails.pop()
      with file:
        file.write(b'{"st')  # a part of the line is on the disk when the disk fails
      raise STALE
    return file

  monkeypatch.setattr(pathlib.Path, "open", torn)
  json_io.append_line(path, {"step": 2})
  assert path.read_text() == '{"step": 1}\n{"step": 2}\n' and len(clock.waits) == 2
