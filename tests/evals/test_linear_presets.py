"""Protocols of linear classifiers: their learning rates, initialization, normalization, labels, blocks, and what is refused."""

import dataclasses
import functools
import math
import types
import typing

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxssl.config.eval_schema import LinearConfig, LinearProtocol, Solver
from jaxssl.config.schedules import ScheduleConfig, TrainingLength
from jaxssl.core import UserError
from jaxssl.evals import gradient_descent, linear
from jaxssl.evals.features import EVALUATIONS
from jaxssl.evals.linear_presets import PRESETS
from jaxssl.models.network import Network
from jaxssl.models.vit import ViT
from jaxssl.ops.nearest import normalize
from tests.evals.fixtures import extractor
from tests.evals.test_linear import mixture


def test_every_solver_of_the_schema_has_a_protocol():
  assert {"lbfgs", "custom", *PRESETS} == set(typing.get_args(Solver)) and PRESETS["sgd"] == LinearConfig().custom


def rate_at(protocol: LinearProtocol, epoch: int, steps_per_epoch: int = 3) -> float:
  """Returns the learning rate in the second step of an epoch, by the step that SGD without momentum takes."""
  plain = dataclasses.replace(protocol, optimizer="sgd", momentum=0.0, weight_decay=0.0)
  length = TrainingLength(steps_per_epoch=steps_per_epoch, epochs=protocol.epochs)
  optimizer = gradient_descent.optimizer(plain, protocol.lr[:1], length)
  params = jnp.ones((1, 2, 2))
  state = jax.tree.map(lambda x: jnp.full_like(x, epoch * steps_per_epoch + 1), optimizer.init(params))
  return -float(optimizer.update(params, state, params)[0][0, 0, 0])


CASES = [
  ("resa", 59, 40.0), ("resa", 60, 4.0), ("resa", 80, 0.4), ("resa_b256", 0, 10.0), ("isd", 14, 0.01), ("isd", 15, 1e-3),
  ("isd", 30, 1e-4), ("moco", 99, 0.3), ("dino", 0, 0.004), ("dino", 50, 0.002), ("moco_v3", 0, 0.4),
  ("moco_v3_vit", 30, 12 * (1 + math.cos(math.pi / 3)) / 2), ("resa_cifar", 0, 1e-2), ("resa_cifar", 250, 1e-4),
]  # fmt: skip


@pytest.mark.parametrize("name, epoch, expected", CASES)
def test_learning_rates_are_those_of_the_released_code(name, epoch, expected):
  assert rate_at(PRESETS[name], epoch) == pytest.approx(expected, rel=1e-5)


def test_weight_decay_and_momentum_follow_torch():
  protocol = dataclasses.replace(PRESETS["isd"], lr=(0.5,), weight_decay=0.1)
  optimizer = gradient_descent.optimizer(protocol, (0.5,), TrainingLength(steps_per_epoch=1, epochs=40))
  params = jnp.full((1, 2, 2), 2.0)
  state = optimizer.init(params)
  velocity = 0.0
  for _ in range(3):
    velocity = 0.9 * velocity + (1 + 0.1 * params[0, 0, 0])  # the last row, the bias, decays as well
    updates, state = optimizer.update(jnp.ones_like(params), state, params)
    np.testing.assert_allclose(updates, jnp.full((1, 2, 2), -0.5 * velocity), rtol=1e-5)
    params += updates


def test_initializations():
  draw = functools.partial(gradient_descent.first_kernels, shape=(2, 401, 50), seed=1)
  assert not draw("zeros").any()
  normal, uniform = draw("normal"), draw("uniform")
  assert (normal[0] == normal[1]).all() and not normal[:, -1].any() and normal[:, :-1].std() == pytest.approx(0.01, rel=0.02)
  assert uniform[:, -1].any() and abs(uniform).max() <= 1 / 20 and uniform.std() == pytest.approx(1 / 20 / 3**0.5, rel=0.02)


def test_normalizations():
  x, _ = mixture(200, 0)
  x[0] = 0
  unit = np.asarray(linear.normalization("l2", x)(x))
  np.testing.assert_allclose(np.linalg.norm(unit[1:], axis=1), 1, rtol=1e-5)
  assert not unit[0].any() and np.isfinite(unit).all()
  both = np.asarray(linear.normalization("l2_standardize", x)(x))
  expected = (unit - unit.mean(0)) / np.sqrt(unit.var(0, ddof=1) + 1e-5)
  np.testing.assert_allclose(both, expected, atol=2e-4)
  assert (np.asarray(linear.normalization("none", x)(x)) == x).all()
  standard = np.asarray(linear.normalization("standardize", x)(x))
  np.testing.assert_allclose(standard.std(0), 1, rtol=1e-4)


@pytest.mark.parametrize("rates, used", [((0.1,), [200]), ((0.1, 0.2), [160, 200])])
def test_labels_are_held_out_only_to_choose_from_several_rates(rates, used, monkeypatch):
  x, labels = mixture(200, 0)
  counts, train = [], gradient_descent.on_features
  monkeypatch.setattr(gradient_descent, "on_features", lambda x, *rest: counts.append(len(x)) or train(x, *rest))
  custom = {"lr": rates, "epochs": 2, "batch_size": 50}
  (measured,) = EVALUATIONS["linear"](extractor(x, labels, x, labels, linear={"solvers": "custom", "custom": custom}))
  assert counts == used and ("learning_rate" in measured.chosen) == (len(rates) > 1)


def test_a_classifier_of_features_of_unit_length_is_measured_on_such_features():
  x, labels = mixture(400, 0, spread=0.5)
  x -= 5
  custom = {"normalize": "l2_standardize", "lr": 0.1, "epochs": 20, "batch_size": 50}
  given = extractor(x, labels, 1000 * x, labels, linear={"solvers": "custom", "custom": custom})
  (fitted,) = linear.fit(given)
  assert fitted.classifier.unit and EVALUATIONS["linear"](given)[0].value > 60
  kernel, unit = fitted.classifier.kernel, np.asarray(normalize(x))
  value = 100 * ((unit @ kernel[:-1] + kernel[-1]).argmax(1) == labels).mean()
  assert EVALUATIONS["linear"](given)[0].value == pytest.approx(value)


CHANGES = {
  "optimizer": "adam", "lr": (0.5,), "lr_base_batch_size": 64, "schedule": ScheduleConfig(kind="step"),
  "momentum": 0.5, "weight_decay": 0.1, "epochs": 7, "batch_size": 8, "crops": "random", "crop_scale": (0.2, 1.0),
  "normalize": "l2", "blocks": 2, "init": "normal",
}  # fmt: skip


@pytest.mark.parametrize("field", [field.name for field in dataclasses.fields(LinearProtocol)])
def test_every_field_is_a_part_of_the_protocol_of_a_measurement(field):
  given = types.SimpleNamespace(preprocessing=types.SimpleNamespace(size=28))
  before = dataclasses.replace(LinearProtocol(), **({"crops": "random"} if field == "crop_scale" else {}))
  after = dataclasses.replace(before, **{field: CHANGES[field]})
  assert linear.described(given, before) != linear.described(given, after)  # type: ignore[arg-type]


def test_the_last_blocks_are_class_tokens_behind_the_final_norm():
  vit = functools.partial(ViT, dim=16, heads=2, patch=4, image_size=8)
  images = np.random.default_rng(0).normal(size=(2, 8, 8, 1)).astype(np.float32)
  network = Network(encoder=vit(depth=3))
  variables = network.init(jax.random.key(0), (8, 8, 1))
  both = network.with_blocks(2, "blocks").encode(variables, images)
  params = {name: leaf for name, leaf in variables.params["encoder"].items() if name != "blocks_2"}
  earlier = vit(depth=2).apply({"params": params}, images, train=False)
  np.testing.assert_allclose(both, jnp.concatenate([earlier, network.encode(variables, images)], axis=1), rtol=1e-5, atol=1e-6)
  assert network.with_blocks(1, "blocks") == network
  with pytest.raises(UserError, match="evals.linear.solvers=dino: takes 4 blocks; model.depth: the network has 3"):
    linear.check(LinearConfig(solvers=("dino",)), network)


def test_a_convnet_has_one_block():
  from jaxssl.config.schema import ModelConfig
  from jaxssl.models import network

  built = network.build(ModelConfig(name="resnet10"), "float32", 28)
  linear.check(LinearConfig(solvers=("lbfgs", "dino_convnet", "resa")), built)
  with pytest.raises(UserError, match="evals.linear.solvers=dino: takes 4 blocks; model.name: ResNet has 1; expected a ViT"):
    linear.check(LinearConfig(solvers=("resa", "dino")), built)


def test_several_blocks_are_an_error_before_anything_is_fitted(monkeypatch):
  monkeypatch.setattr(linear, "fit_raw", lambda *_: pytest.fail("fitted"))
  x, labels = mixture(20, 0)
  given = extractor(x, labels, x, labels, linear={"solvers": ("lbfgs", "dino")})

  def refuse(count: int, field: str) -> None:
    raise UserError(f"{field}: takes {count} blocks")

  given.with_blocks = refuse
  with pytest.raises(UserError, match="evals.linear.solvers=dino: takes 4 blocks"):
    EVALUATIONS["linear"](given)


@pytest.mark.parametrize(
  "solver, custom, takes",
  [
    ("isd", {}, "features of unit length"),
    ("dino", {}, "the last 4 blocks"),
    ("custom", {"normalize": "l2"}, "features of unit length"),
  ],
)
def test_what_is_not_a_layer_on_the_encoder_cannot_be_kept(solver, custom, takes):
  config = LinearConfig(solvers=("resa", solver), custom=LinearProtocol(**custom))
  with pytest.raises(
    UserError, match=f"--keep: evals.linear.solvers={solver} takes {takes}, so it is not a layer on the encoder"
  ):
    linear.require_foldable(config)
  linear.require_foldable(LinearConfig(solvers=("lbfgs", "sgd", "resa", "augmented")))


def test_fields_of_custom_that_are_not_used_are_logged_and_no_rate_is_an_error(caplog):
  caplog.set_level("INFO", "jaxssl")
  linear.protocols(LinearConfig(custom=LinearProtocol(epochs=3)))
  assert "evals.linear.custom is not used: evals.linear.solvers=lbfgs lacks custom" in caplog.text
  with pytest.raises(UserError, match=r"evals.linear.custom.lr=\(\): out of range; expected one learning rate or several"):
    linear.protocols(LinearConfig(solvers=("custom",), custom=LinearProtocol(lr=())))


def test_crops_of_many_images_are_not_passed_through_baselines(monkeypatch, caplog):
  caplog.set_level("INFO", "jaxssl")
  monkeypatch.setattr(linear, "MANY", 10)
  x, labels = mixture(20, 0)
  given = extractor(x, labels, x, labels, linear={"solvers": ("resa",)})
  given.variables, given.subject = {}, "untrained"
  assert list(linear.fit(given)) == []
  assert "linear_resa: untrained is not measured, since there are more than 10 images to crop" in caplog.text
