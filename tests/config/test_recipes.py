"""Every recipe of every config file, reduced in size: its step traces, and its views, heads and bank fit together."""

import dataclasses
import pathlib
import shutil
from typing import Any

import jax
import numpy as np
import pytest

from jaxssl.cli.config import list_recipes
from jaxssl.config import load, recipes
from jaxssl.config.schema import Config
from jaxssl.core import UserError
from jaxssl.parallel.mesh import make_mesh
from jaxssl.train import build_step
from jaxssl.train.setup import Experiment
from jaxssl.train.step import Batch
from tests import flags

pytestmark = pytest.mark.slow

CONFIGS = sorted((pathlib.Path(__file__).parents[2] / "configs").glob("*.py"))
EVERY = [f"{path.name}:{recipe}" for path in CONFIGS for recipe in load.recipes_of(path)]
# One of each method, and the largest; tests/portable trains every recipe for a step.
TRACED = [path.name + ":" for path in CONFIGS] + ["moco.py:v3_vit", "nnboot.py:imagenet", "resa.py:imagenet_vit_multicrop"]
BOOTSTRAPPED = [recipe for recipe in EVERY if recipe.endswith("nnboot")]
KNOWN: set[str] = set()


def is_known(config: Config) -> bool:
  """Returns whether an earlier recipe has the same shapes: views, networks, optimizer, policy, and method."""
  views = {name: (group.count, group.size) for name, group in config.views.items()}
  method = {name: value for name, value in config.method.items() if isinstance(value, str) or name in ("k", "queue")}
  key = repr((views, config.model, method, config.optim.name, config.bootstrap.policy))
  known = key in KNOWN
  KNOWN.add(key)
  return known


def test_recipes_are_found_and_the_smaller_versions_described():
  assert len(CONFIGS) >= 12 and len(EVERY) > len(CONFIGS) and set(TRACED) < set(EVERY)
  assert all(f'append ",{name}" for a smaller version: ' in list_recipes() for name in recipes.SMALLER)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_the_header_of_a_config_file_describes_every_recipe(path):
  with pytest.raises(UserError) as caught:
    load.load(f"{path}:no_such_recipe")
  allowed = str(caught.value).split("expected ")[1].split("; ")[0].split(", ")
  assert list(load.recipes_of(path)) == ["", *(name for name in allowed if name not in recipes.SMALLER)]


def test_recipes_with_bootstrapping_exist_for_several_methods():
  assert {recipe.split(".py:")[0] for recipe in EVERY if recipe.endswith("nnboot")} == {
    "byol",
    "dino",
    "moco",
    "resa",
    "simsiam",
  }


@pytest.mark.parametrize("recipe", BOOTSTRAPPED)
def test_a_recipe_with_bootstrapping_differs_from_its_method_s_in_nothing_else(recipe):
  config, base = (load.load_config(CONFIGS[0].parent / name) for name in (recipe, recipe.removesuffix("nnboot").rstrip("_:")))
  assert config.bootstrap.policy == "adaptive" and config.bootstrap.window < config.train.epochs
  assert any(any(view.partner) for view in config.views.values())
  assert dataclasses.replace(config, bootstrap=base.bootstrap) == base and base.bootstrap.policy == "off"


@pytest.mark.parametrize("recipe", [r if r in TRACED else pytest.param(r, marks=pytest.mark.full) for r in EVERY])
def test_the_step_traces_and_preserves_the_shapes_of_the_state(recipe, tmp_path, one_device):
  fields = ["--config.data.placement=device", "--config.bootstrap.policy=adaptive"]
  config, workdir = flags.parse([f"--config={CONFIGS[0].parent / recipe},runlocal", *fields, f"--workdir={tmp_path}"])
  if is_known(config):
    return
  run = Experiment(config, workdir)
  size = config.train.batch_size
  index: Any = jax.ShapeDtypeStruct((size,), np.int32)
  rows = Batch(index=index, label=index, crops=None)
  state, logs = jax.eval_shape(run.train_step.step, run.state_shapes, rows, run.train.resident)
  assert logs["loss"].shape == ()
  same = jax.tree.map(lambda a, b: (a.shape, a.dtype) == (b.shape, b.dtype), state, run.state_shapes)
  assert jax.tree.all(same), "a step must not change the shapes of the state"


@pytest.mark.full
@pytest.mark.parametrize("size, policy", [("", "naive"), (",cpu", "adaptive")])
@pytest.mark.parametrize("recipe", EVERY)
def test_views_heads_and_bank_fit_together_with_every_policy(recipe, size, policy):
  config, _ = flags.parse([f"--config={CONFIGS[0].parent / recipe}{size}", f"--config.bootstrap.policy={policy}"])
  train_step = build_step.build_train_step(config, make_mesh(jax.devices()[:1]), num_images=10**6)
  assert train_step.bootstrap.config.policy == policy
  if not is_known(config):
    shapes = build_step.abstract_state(train_step)
    assert shapes.student.params["encoder"] and shapes.opt_state is not None


def test_recipes_are_found_by_name_from_any_folder(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  named = [
    load.load_config(name)
    for name in ("simclr:runlocal", "configs/simclr.py:runlocal", str(CONFIGS[0].parent / "simclr.py:runlocal"))
  ]
  assert named[0] == named[1] == named[2]
  assert load.shortest(load.config_files()["simclr"]) == "simclr"


def test_a_file_of_the_user_is_found_before_a_recipe_of_the_same_name(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  (tmp_path / "configs").mkdir()
  shutil.copyfile(load.CONFIGS / "byol.py", tmp_path / "configs/simclr.py")
  assert load.load_config("configs/simclr.py:runlocal").method["name"] == "byol"
  assert load.load_config("simclr:runlocal").method["name"] == "simclr"


@pytest.mark.parametrize("recipe", ["resa.py:imagenet_800", "isd.py:imagenet", "dino.py:imagenet"])
def test_smaller_versions_have_the_usual_linear_and_low_shot_protocols(recipe):
  usual = Config().evals
  whole, *smaller = (load.load_config(f"{CONFIGS[0].parent / recipe}{more}").evals for more in ("", ",cpu", ",runlocal"))
  assert whole.linear != usual.linear
  for evals in smaller:
    assert (evals.linear, evals.lowshot, evals.finetune) == (usual.linear, usual.lowshot, usual.finetune)
    assert evals.interpolation == "bicubic"
