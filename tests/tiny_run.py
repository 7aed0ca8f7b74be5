"""A workdir with untrained networks, for tests of code that reads a run."""

import pathlib
from collections.abc import Sequence
from typing import Any

import jax

from jaxssl.config import fields
from jaxssl.models import network
from jaxssl.workdir.checkpoint import Checkpoints
from jaxssl.workdir.workdir import Workdir
from tests import flags

ROOT = pathlib.Path(__file__).parent.parent
QUICK_VIEWS = ["--config.views.global.affine=0", "--config.views.global.thicken=0"]  # they take longest to compile
COLOR = ("jitter_p", "gray_p", "blur_p", "solarize_p", "flip")  # slow to trace, too
LEAN_VIEWS = [*QUICK_VIEWS, *(f"--config.views.global.{field}=0" for field in COLOR)]
# a one-block ViT, traced in a third of a ResNet's time
VIT = ["--config.model.name=vit_ti", "--config.model.depth=1", "--config.model.patch=14"]
TINY = [*VIT, *QUICK_VIEWS, "--config.evals.baseline_seeds=1"]


def make(
  workdir: pathlib.Path, recipe: str = "runlocal", steps: tuple[int, ...] = (3, 5), words: Sequence[str] = ()
) -> pathlib.Path:
  """Writes a config and checkpoints of these steps, each with different weights."""
  config, _ = flags.parse([f"--config={ROOT}/configs/nnboot.py:{recipe}", "--config.train.precision=float32", *words])
  workdir.mkdir()
  Workdir(workdir).write_config(config)
  size = config.views["global"].size
  init = jax.jit(network.build(config.model, "float32", size).init, static_argnums=1)
  checkpoints = Checkpoints(workdir / "checkpoints", keep=5)
  for step in steps:
    seeds = {"student": 2 * step, "teacher": 2 * step + 1}
    checkpoints.save(
      step, {name: init(jax.random.key(seed), (size, size, config.data.channels)) for name, seed in seeds.items()}
    )
  checkpoints.close()
  return workdir


def changes(words: Sequence[str]) -> dict[str, Any]:
  """Returns the values of flags such as --evals.size=24 by dotted path."""
  pairs = (word.removeprefix("--").partition("=") for word in words)
  return {path: fields.parse_value(path, text) for path, _, text in pairs}
