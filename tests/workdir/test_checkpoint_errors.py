"""Checkpoints in storage that does not respond, or is full."""

import errno
import os
import shutil

import jax
import numpy as np
import pytest

from jaxssl.core import Unavailable, UserError
from jaxssl.workdir import checkpoint
from jaxssl.workdir.checkpoint import Checkpoints
from tests.faults import Clock, Faults
from tests.workdir.test_checkpoint import LIKE, saved, state

BACKGROUND = "_wait_for_checkpointers"  # what a save waits for in another thread
STALE = OSError(errno.ESTALE, "Stale file handle")
TENSORSTORE = ValueError("ABORTED: All 32 retry attempts failed: CURL error [http_response_code='503']")


@pytest.fixture(autouse=True)
def clock(monkeypatch):
  return Clock(monkeypatch)


class Once(Faults):
  """Fails so many times, then no more."""

  def __init__(self, function, times, error):
    super().__init__(function, 1, error)
    self._times = times

  def __call__(self, *args, **kwargs):
    if self.count == self._times:
      self.share = 0
    return super().__call__(*args, **kwargs)


def failing(monkeypatch, method, times, error):
  real = getattr(checkpoint._Manager, method)
  faults = Once(real, times, error)

  def lose(manager):
    """Loses what has been written in the background, and fails."""
    real(manager)
    if faults.count < times:
      shutil.rmtree(manager.directory / str(manager._finalize_thread.get_not_none().step()), ignore_errors=True)
    faults._function = lambda *_: None
    faults(manager)

  if method == BACKGROUND:
    monkeypatch.setattr(checkpoint._Manager, method, lose)
    return faults
  monkeypatch.setattr(checkpoint._Manager, method, lambda *args, **kwargs: faults(*args, **kwargs))
  return faults


def value(folder, step):
  restored, at = Checkpoints(folder, keep=5).restore(LIKE)
  assert at == step
  return float(restored.params["w"][0, 0])


@pytest.mark.parametrize("error", [STALE, TENSORSTORE])
@pytest.mark.parametrize("method", ["save", BACKGROUND, "restore", "__init__"])
def test_a_save_or_a_read_is_repeated(method, error, tmp_path, monkeypatch, clock):
  saved(tmp_path, 5, 2)
  faults = failing(monkeypatch, method, 2, error)
  checkpoints = Checkpoints(tmp_path, 5)
  checkpoints.save(4, state(4.5))
  checkpoints.close()
  assert value(tmp_path, 4) == 4.5 and faults.count and clock.waits
  assert not list(tmp_path.glob("*.unreadable"))


def test_a_save_that_failed_in_the_background_is_replaced_by_the_next(tmp_path, monkeypatch, caplog):
  saved(tmp_path, 5, 2)
  failing(monkeypatch, BACKGROUND, 1, STALE)
  checkpoints = Checkpoints(tmp_path, 5)
  first = state(4.5)
  checkpoints.save(4, first)
  for x in jax.tree.leaves(first):
    x.delete()  # as the next step does, which its state is donated to
  checkpoints.save(6, state(6.5))
  checkpoints.close()
  assert value(tmp_path, 6) == 6.5
  assert "a checkpoint could not be written (Stale file handle); that of step 6 is written in its place" in caplog.messages


@pytest.mark.parametrize("method", ["save", BACKGROUND])
def test_storage_that_does_not_respond_is_no_mistake_of_the_user(method, tmp_path, monkeypatch):
  saved(tmp_path, 5, 2)
  failing(monkeypatch, method, 10**6, STALE)
  checkpoints = Checkpoints(tmp_path, 5)
  with pytest.raises(Unavailable, match="writing a checkpoint to .*: storage does not respond within 5 min.*Stale file handle"):
    checkpoints.save(4, state(4.5))
    checkpoints.close()
  monkeypatch.undo()
  assert value(tmp_path, 2) == 2


def test_a_state_that_is_gone_cannot_be_saved_again(tmp_path, monkeypatch, clock):
  saved(tmp_path, 5, 2)
  failing(monkeypatch, BACKGROUND, 1, STALE)
  checkpoints, last = Checkpoints(tmp_path, 5), state(4.5)
  checkpoints.save(4, last)
  for x in jax.tree.leaves(last):
    x.delete()
  with pytest.raises(Unavailable, match="it failed, and training has continued. Rerun the same command to resume"):
    checkpoints.close()
  assert len(clock.waits) <= 1
  monkeypatch.undo()
  assert value(tmp_path, 2) == 2


@pytest.mark.parametrize("method", ["save", BACKGROUND])
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EACCES])
def test_a_full_disk_needs_the_user_and_earlier_checkpoints_remain(number, method, tmp_path, monkeypatch, clock):
  saved(tmp_path, 5, 2, 3)
  failing(monkeypatch, method, 10**6, OSError(number, os.strerror(number)))
  checkpoints = Checkpoints(tmp_path, 1)
  remedy = "Make it writable" if number == errno.EACCES else "Free some space"
  expected = rf"a checkpoint cannot be written to {tmp_path}: .*{os.strerror(number)}. {remedy}, then rerun .* from step 3"
  with pytest.raises(UserError, match=expected):
    checkpoints.save(4, state(4.5))
    checkpoints.close()
  assert not clock.waits
  monkeypatch.undo()
  assert value(tmp_path, 3) == 3


def test_a_checkpoint_that_does_not_arrive_is_not_set_aside(tmp_path, monkeypatch):
  saved(tmp_path, 5, 2, 4)
  failing(monkeypatch, "restore", 10**6, TENSORSTORE)
  with pytest.raises(Unavailable, match="reading .*: storage does not respond within 5 min"):
    Checkpoints(tmp_path, 5).restore(LIKE)
  monkeypatch.undo()
  assert value(tmp_path, 4) == 4


def test_a_checkpoint_that_may_not_be_read_is_not_set_aside(tmp_path, monkeypatch):
  saved(tmp_path, 5, 2, 4)
  failing(monkeypatch, "restore", 10**6, PermissionError(13, "Permission denied"))
  with pytest.raises(UserError, match=r"checkpoint 4 in .* cannot be read: .*Permission denied"):
    Checkpoints(tmp_path, 5).restore(LIKE)
  monkeypatch.undo()
  assert value(tmp_path, 4) == 4


def test_one_of_several_processes_does_not_repeat_alone(tmp_path, monkeypatch, clock):
  saved(tmp_path, 5, 2)
  checkpoints = Checkpoints(tmp_path, 5)
  monkeypatch.setattr(jax, "process_count", lambda: 2)
  with pytest.raises(Unavailable, match="reading .*: storage does not respond: Stale file handle"):
    checkpoints._retried("reading", Faults(None, 1, STALE))
  assert not clock.waits


def test_weights_are_read_again(tmp_path, monkeypatch, clock):
  from orbax.checkpoint import PyTreeCheckpointer

  with_names = {"student": {"params": {"w": np.ones(3, np.float32)}, "stats": {}}}
  checkpoints = Checkpoints(tmp_path, 5)
  checkpoints.save(2, with_names)
  checkpoints.close()
  faults = Once(PyTreeCheckpointer.restore, 2, STALE)
  monkeypatch.setattr(PyTreeCheckpointer, "restore", lambda *args, **kwargs: faults(*args, **kwargs))
  student, _, step = Checkpoints(tmp_path, 5).weights()
  assert step == 2 and np.asarray(student.params["w"]).tolist() == [1, 1, 1] and len(clock.waits) == 2
