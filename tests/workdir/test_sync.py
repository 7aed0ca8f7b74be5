"""Copies of a workdir in a bucket that does not always respond."""

import errno
import os
import signal
import time

import pytest

from jaxssl.core import Unavailable, UserError, paths, retry
from jaxssl.parallel.preemption import Preemption
from jaxssl.workdir.sync import LocalWorkdir
from jaxssl.workdir.workdir import Workdir
from tests import bucket
from tests.faults import Clock, Faults


@pytest.fixture
def original(tmp_path, monkeypatch) -> Workdir:
  """Returns a workdir in a bucket, which holds a config."""
  Clock(monkeypatch)
  bucket.install(tmp_path, monkeypatch)
  (tmp_path / "store/run").mkdir(parents=True)
  (tmp_path / "store/run/config.json").write_text("{}")
  return Workdir(paths.path_of("gs://store/run"))


def failing(monkeypatch, share: float, error: Exception | None = None) -> Faults:
  real, faults = bucket.Backend.__getattr__, {}

  def method(self, name):
    if name != "open":
      return real(self, name)
    return faults.setdefault(name, Faults(real(self, name), share, error))

  monkeypatch.setattr(bucket.Backend, "__getattr__", method)
  return faults


def test_a_copy_is_complete_although_the_bucket_fails_sometimes(original, tmp_path, monkeypatch):
  faults = failing(monkeypatch, 0.5)
  for number in range(9):
    with LocalWorkdir(original) as local:
      assert local.config.read_text() == "{}"
      local.metrics.write_text(f"{number}")
    assert (tmp_path / "store/run/metrics.jsonl").read_text() == f"{number}"
  assert faults["open"].count > 3


def test_a_file_that_cannot_be_read_is_not_left_out(original, monkeypatch):
  failing(monkeypatch, 1, PermissionError(errno.EACCES, "Permission denied"))
  with pytest.raises(PermissionError), LocalWorkdir(original):
    pass
  failing(monkeypatch, 1, FileNotFoundError(errno.ENOENT, "it is being replaced"))
  with LocalWorkdir(original) as local:
    assert not local.config.exists()
    local._remote = False


def test_an_upload_that_fails_does_not_hide_why_a_run_ended(original, monkeypatch, caplog):
  with pytest.raises(UserError, match="too many images"), LocalWorkdir(original) as local:
    local.metrics.write_text("")
    failing(monkeypatch, 1)
    raise UserError("too many images")
  assert "storage does not respond within 5 min" in caplog.text
  monkeypatch.undo()


def test_an_upload_that_fails_ends_a_run(original, monkeypatch):
  with pytest.raises(Unavailable, match="copying .* to gs://store/run/.*: storage does not respond"):  # noqa: SIM117
    with LocalWorkdir(original) as local:
      local.metrics.write_text("")
      failing(monkeypatch, 1)


def test_a_signal_shortens_waits_for_storage():
  with Preemption("stopping") as stop, stop.held("stopping"):
    os.kill(os.getpid(), signal.SIGUSR1)
    end = time.monotonic() + 10
    while retry.limit() != retry.AFTER_SIGNAL and time.monotonic() < end:
      time.sleep(0.01)
    assert retry.limit() == retry.AFTER_SIGNAL and stop.stop_requested()
  assert retry.limit() == retry.SECONDS
