import pathlib

import jax
import jax.numpy as jnp
import pytest

from jaxssl import main
from jaxssl.train import profiler as profile
from tests.tiny_run import TINY

pytestmark = pytest.mark.slow

CONFIG = pathlib.Path(__file__).parents[2] / "configs/nnboot.py"


@pytest.mark.usefixtures("one_device")
def test_profile_reports_the_time_of_every_part(tmp_path, capfd):
  assert main.main(["profile", f"--config={CONFIG}:runlocal", f"--workdir={tmp_path}", *TINY]) == 0
  text = capfd.readouterr().out
  assert "10 steps of 32: " in text and "the host waited for data" in text
  for part in ("views", "teacher", "student", "gradient", "update", "neighbors"):
    assert profile.PARTS[part] in text
  assert list(tmp_path.glob("trace/plugins/profile/*/*.xplane.pb"))
  assert not (tmp_path / "config.json").exists()  # profile does not create a run


@pytest.mark.parametrize(
  "name, part",
  [
    ("jit(step)/views/vmap(while)/body/mul", "views"),
    ("jit(step)/jvp(student)/dot_general", "student"),
    ("jit(step)/transpose(jvp(student))/dot_general", "gradient"),
    ("jit(step)/transpose(teacher)/add", "teacher"),
    ("jit(step)/neighbors/shard_map/top_k", "neighbors"),
    ("jit(step)/preview/student_mean", "other"),
  ],
)
def test_operation_names_map_to_parts(name, part):
  assert profile.part_of(name) == part


def test_parts_are_read_from_a_compiled_step():
  def step(x):
    with jax.named_scope("views"):
      x = jnp.sin(x) * 2
    with jax.named_scope("update"):
      return x @ x

  parts = profile.parts_of(jax.jit(step).lower(jnp.ones((64, 64))).compile().as_text() or "")
  assert {"views", "update"} <= set(parts.values())
