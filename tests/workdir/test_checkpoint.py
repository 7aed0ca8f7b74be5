import logging
import pathlib
import sys
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxssl.core import UserError
from jaxssl.core.types import Variables
from jaxssl.workdir.checkpoint import Checkpoints


def state(value: float) -> Variables:
  return Variables(params={"w": jnp.full((40, 50), value), "none": None}, stats={})


LIKE = jax.eval_shape(lambda: state(0.0))


def truncate(folder: pathlib.Path) -> None:
  """Cuts every file of a checkpoint in half."""
  for file in folder.rglob("*"):
    if file.is_file():
      file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def saved(folder: pathlib.Path, keep: int, *steps: int) -> None:
  checkpoints = Checkpoints(folder, keep)
  assert checkpoints.restore(LIKE) is None
  for step in steps:
    checkpoints.save(step, state(float(step)))
  checkpoints.close()


def test_the_newest_checkpoints_are_kept_and_restored(tmp_path):
  saved(tmp_path, 2, 3, 5, 9)
  assert sorted(int(p.name) for p in tmp_path.iterdir() if p.name.isdigit()) == [5, 9]
  restored, step = Checkpoints(tmp_path, keep=2).restore(LIKE)
  assert step == 9
  np.testing.assert_array_equal(restored.params["w"], np.full((40, 50), 9.0, np.float32))


def test_the_padding_of_the_neighbor_bank_may_differ_and_nothing_else(tmp_path):
  def of(rows, weights=3):
    return {
      "neighbor_bank": {"ids": jnp.arange(2.0 * rows).reshape(rows, 2)},
      "student": jnp.ones(weights),
      "step": jnp.ones(()),
    }

  checkpoints = Checkpoints(tmp_path, 1)
  checkpoints.save(1, of(16))
  checkpoints.close()
  checkpoints = Checkpoints(tmp_path, 1)
  for rows in (24, 12):
    restored, _ = checkpoints.restore(jax.eval_shape(lambda rows=rows: of(rows)))
    assert restored["neighbor_bank"]["ids"].shape == (rows, 2)
    np.testing.assert_array_equal(restored["neighbor_bank"]["ids"][:12], of(12)["neighbor_bank"]["ids"])
  assert not checkpoints._padding_differs(1, of(24, weights=4))
  checkpoints.close()


def test_a_truncated_newest_checkpoint_is_set_aside_and_none_readable_is_an_error(tmp_path, caplog):
  saved(tmp_path, 5, 4, 8)
  truncate(tmp_path / "8")
  checkpoints = Checkpoints(tmp_path, keep=5)
  logging.getLogger("jaxssl").propagate = True
  with caplog.at_level(logging.WARNING):
    restored, step = checkpoints.restore(LIKE)
  assert step == 4 and float(restored.params["w"][0, 0]) == 4
  assert "checkpoint 8 cannot be read" in caplog.text
  assert (tmp_path / "8.unreadable").is_dir()
  checkpoints.save(8, state(8.5))
  checkpoints.close()
  restored, step = Checkpoints(tmp_path, keep=5).restore(LIKE)
  assert step == 8 and float(restored.params["w"][0, 0]) == 8.5
  truncate(tmp_path / "8")
  checkpoints = Checkpoints(tmp_path, keep=5)
  assert (restored := checkpoints.restore(LIKE)) and restored[1] == 4  # 8 is set aside a second time
  checkpoints.save(8, state(8))
  checkpoints.close()
  truncate(tmp_path / "4")
  truncate(tmp_path / "8")
  with pytest.raises(UserError, match=r"none of the checkpoints \[8, 4\] in .* can be read"):
    Checkpoints(tmp_path, keep=5).restore(LIKE)


def test_writes_that_end_after_a_failed_save_print_nothing(tmp_path, monkeypatch):
  shown = []
  monkeypatch.setattr(sys, "unraisablehook", hook := shown.append)
  checkpoints = Checkpoints(tmp_path, 1)
  checkpoints.save(1, state(1.0))
  others = [types.SimpleNamespace(exc_value=RuntimeError(text)) for text in ("Event loop is closed", "another error")]
  for unraisable in others:
    sys.unraisablehook(unraisable)
  assert shown == others[1:]
  checkpoints.close()
  assert sys.unraisablehook == hook
