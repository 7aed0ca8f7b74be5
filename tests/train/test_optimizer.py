import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxssl.config.schedules import ScheduleConfig, TrainingLength
from jaxssl.config.schema import OptimConfig
from jaxssl.core import UserError
from jaxssl.train import optimizer as optimizer_module
from jaxssl.train.optimizer import build_optimizer, clip_each, learning_rate
from tests.golden_files import cases, split, tensors

SGD, ADAMW, DINO_SGD, LARS, CLIP = split("optim", r"sgd\d+", r"adamw\d+", r"dinosgd\d+", r"lars\d+", r"clip\d+")
GOLDEN = cases("optim")


@pytest.mark.parametrize("name", SGD + ADAMW + DINO_SGD + LARS)
def test_matches_the_reference(name, monkeypatch):
  case = GOLDEN[name]
  trained = {str(n) for n, group in zip(case["names"], case["regularized"], strict=True) if group != 0}
  rate, decay = (jnp.asarray(case[key], jnp.float32) for key in ("lr", "wd"))
  # The learning rates and decays of the golden runs are arbitrary, so they replace the schedules.
  monkeypatch.setattr(optimizer_module, "learning_rate", lambda *_: lambda step: rate[step])
  monkeypatch.setattr(ScheduleConfig, "resolve", lambda *_: lambda step: decay[step])
  steps_per_epoch = int((case["epoch"] == case["epoch"][0]).sum())
  config = OptimConfig(
    name="sgd" if "sgd" in name else "adamw" if "adamw" in name else "lars",
    decay_mask="all" if (case["regularized"] >= 0).all() and name in SGD else "matrices",
    clip=float(case["clip"]),
    freeze_last_layer_epochs=int(case["freeze_last_layer"]),
  )
  optimizer = build_optimizer(config, TrainingLength(steps_per_epoch=steps_per_epoch, epochs=100), batch_size=1)
  params = {n: jnp.asarray(v) for n, v in tensors(case, "init").items() if n in trained}
  gradients = {n: v for n, v in tensors(case, "grad").items() if n in trained}
  expected = {n: v for n, v in tensors(case, "after").items() if n in trained}
  assert params.keys() == gradients.keys() == expected.keys() and params
  state = optimizer.init(params)
  update = jax.jit(optimizer.update)
  for step in range(len(rate)):
    gradient = {n: jnp.asarray(g[step]) for n, g in gradients.items()}
    updates, state = update(gradient, state, params, step=jnp.int32(step))
    params = optax.apply_updates(params, updates)
    for n, value in params.items():
      target = expected[n][step]
      rtol = 1e-3 if "adamw" in name else 1e-5
      np.testing.assert_allclose(value, target, rtol=rtol, atol=1e-5 * np.abs(target).max() + 1e-7, err_msg=f"{n} step {step}")


@pytest.mark.parametrize("name", CLIP)
def test_clipping_matches_the_reference(name):
  case = GOLDEN[name]
  clip = clip_each(float(case["clip"]))
  count = sum(key.startswith("grad") and key[4:].isdigit() for key in case)
  assert count > 0
  for i in range(count):
    clipped, _ = clip.update([jnp.asarray(case[f"grad{i}"])], optax.EmptyState(), None)
    np.testing.assert_allclose(clipped[0], case[f"used{i}"], rtol=1e-5, atol=1e-7)


def test_learning_rate_grows_with_the_batch():
  training_length = TrainingLength(steps_per_epoch=10, epochs=2)
  config = OptimConfig(lr=0.1, lr_base_batch_size=256, schedule=ScheduleConfig())
  assert float(learning_rate(config, training_length, 512)(jnp.int32(0))) == pytest.approx(0.2)


def test_learning_rate_must_be_positive():
  with pytest.raises(UserError, match=r"optim\.lr=-1\.0"):
    learning_rate(OptimConfig(lr=-1.0), TrainingLength(steps_per_epoch=10, epochs=20), 256)


def test_the_encoder_is_frozen_for_the_first_epochs():
  config = OptimConfig(name="adamw", lr=0.1, freeze_encoder_epochs=2)
  optimizer = build_optimizer(config, TrainingLength(steps_per_epoch=3, epochs=10), 256)
  fresh = build_optimizer(OptimConfig(name="adamw", lr=0.1), TrainingLength(steps_per_epoch=3, epochs=10), 256)
  params = {"encoder": {"kernel": jnp.ones((2, 2))}, "projector": {"kernel": jnp.ones((2, 2))}}
  state, first = optimizer.init(params), params
  for step in range(7):
    if step == 6:
      expected, _ = fresh.update(first, fresh.init(first), first, step=jnp.int32(step))  # with moments that start here
    updates, state = optimizer.update(first, state, params, step=jnp.int32(step))
    assert updates["projector"]["kernel"].all() or step == 0  # the warm-up's first rate is 0
    if step < 6:
      assert not updates["encoder"]["kernel"].any()
  np.testing.assert_allclose(updates["encoder"]["kernel"], expected["encoder"]["kernel"], rtol=1e-6)


def test_negative_epochs_to_freeze_the_encoder_are_an_error():
  with pytest.raises(UserError, match=r"optim\.freeze_encoder_epochs=-1"):
    build_optimizer(OptimConfig(freeze_encoder_epochs=-1), TrainingLength(steps_per_epoch=3, epochs=20), 256)


@pytest.mark.parametrize("step", [0, 8])
def test_gradients_of_frozen_parameters_do_not_count_in_the_global_norm(step):
  freezing = {"freeze_encoder_epochs": 2, "freeze": ("patch",), "freeze_last_layer_epochs": 9}
  config = OptimConfig(name="sgd", lr=1.0, momentum=0.0, schedule=ScheduleConfig(), clip=0.5, clip_by="global", **freezing)
  optimizer = build_optimizer(config, TrainingLength(steps_per_epoch=3, epochs=10), 256)
  params = {
    "encoder": {"kernel": jnp.zeros(1), "patch": jnp.zeros(1)},
    "projector": {"kernel": jnp.zeros(1), "last_layer": jnp.zeros(1)},
  }
  gradients = {"encoder": {"kernel": jnp.full(1, 4.0), "patch": jnp.full(1, 50.0)}}
  gradients["projector"] = {"kernel": jnp.full(1, 4.0), "last_layer": jnp.full(1, 7.0)}
  updates, _ = optimizer.update(gradients, optimizer.init(params), params, step=jnp.int32(step))
  scale = 0.5 / (9.0 if step else 65**0.5)
  trained = {"encoder": 4 * scale if step else 0.0, "projector": 4 * scale}
  assert {name: -float(updates[name]["kernel"][0]) for name in trained} == pytest.approx(trained)
  assert updates["encoder"]["patch"][0] == updates["projector"]["last_layer"][0] == 0
