"""Methods reject invalid configs before training."""

import pathlib

import jax
import pytest

from jaxssl import methods
from jaxssl.core import UserError
from jaxssl.methods.base import Dims
from jaxssl.parallel import mesh
from jaxssl.train import build_step
from jaxssl.train.setup import Experiment
from tests import flags

CONFIGS = pathlib.Path(__file__).parents[2] / "configs"
DIMS = {"features": 8, "projection": 8, "images": 64}
WITH_QUEUE = [
  {"name": "isd", "teacher_momentum": 0.9},
  {"name": "msf", "teacher_momentum": 0.9},
  {"name": "mocov2", "teacher_momentum": 0.9},
  {"name": "nnclr"},
  {"name": "swav", "queue_use": 1.0},
]


@pytest.mark.parametrize("config", WITH_QUEUE, ids=[c["name"] for c in WITH_QUEUE])
@pytest.mark.parametrize("queue, nearest", [(100, "96 or 128"), (20, "32")])
def test_a_queue_must_be_a_multiple_of_the_batch(config, queue, nearest):
  method = methods.read_method({**config, "queue": queue})
  message = f"method.queue={queue}: must be a multiple of train.batch_size=32; nearest: {nearest}$"
  with pytest.raises(UserError, match=message.replace(".", r"\.")):
    method.init_state(jax.random.key(0), Dims(batch=32, **DIMS))


def test_msf_k_must_not_exceed_its_queue():
  method = methods.read_method({"name": "msf", "teacher_momentum": 0.9, "queue": 4, "k": 5})
  with pytest.raises(UserError, match=r"method\.k=5: out of range; expected at most method\.queue=4"):
    method.init_state(jax.random.key(0), Dims(batch=2, **DIMS))


@pytest.mark.parametrize("recipe", ["simclr.py", "nnclr.py", "barlow.py", "vicreg.py", "moco.py:v3", "resa.py", "swav.py"])
def test_negatives_require_two_images_per_batch(recipe):
  config, _ = flags.parse([f"--config={CONFIGS / recipe}", "--config.train.batch_size=1"])
  with pytest.raises(UserError, match=r"train\.batch_size=1: negatives are the other images of a batch"):
    build_step.build_train_step(config, mesh.abstract_mesh(1), num_images=64)


@pytest.mark.parametrize(
  "recipe, words, message",
  [
    ("simclr.py", ["views.local.size=16"], r"views\.local: method\.name=simclr does not take such views, but global"),
    (
      "simclr.py",
      ["views.global.count=3", "views.global.partner=False"],
      r"views\.global\.count=3: method\.name=simclr takes 2 of them",
    ),
    ("isd.py", ["views.strong.count=1", "views.strong.partner=False"], r"views\.strong\.count=1: .*isd takes 2"),
    ("isd.py", ["method.teacher_view=weak"], r"views\.weak is missing: method\.name=isd takes strong, weak"),
    (
      "dino.py",
      ["bootstrap.policy=adaptive", "views.global.partner=False"],
      r"bootstrap\.policy=adaptive: no view is cut from the partner",
    ),
    (
      "isd.py",
      ["bootstrap.policy=adaptive", "bootstrap.features=second"],
      r"bootstrap\.features=second: method\.name=isd has features of one view; expected first",
    ),
    (
      "byol.py",
      ["bootstrap.policy=naive", "views.global.partner=True"],
      r"views\.global\.partner=True for view 0, whose features",
    ),
    ("byol.py", ["model.predictor.out=32"], r"model\.predictor\.out=32: must equal the projection's width, 64"),
  ],
)
def test_views_and_heads_must_fit_the_method(recipe, words, message, tmp_path, monkeypatch):
  monkeypatch.setattr(mesh, "default_devices", lambda: jax.devices()[:1])
  flag = [f"--config={CONFIGS / recipe}:runlocal", *(f"--config.{word}" for word in words)]
  config, _ = flags.parse([*flag, f"--workdir={tmp_path}"])
  with pytest.raises(UserError, match=message):
    _ = Experiment(config, tmp_path).state_shapes
