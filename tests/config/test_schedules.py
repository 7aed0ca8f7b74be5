import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxssl.config.schedules import ScheduleConfig, TrainingLength
from jaxssl.core.errors import UserError
from tests.golden_files import cases, split

COSINE, RESA, TEMPERATURE, ISD, TAU = split("schedules", r"cos\d+", r"resa\d+", r"tt\d+", r"isd\d+", r"tau\d+")
GOLDEN = cases("schedules")


def training_length(case) -> TrainingLength:
  return TrainingLength(steps_per_epoch=int(case.get("niter", 1)), epochs=int(case["epochs"]))


def values(config: ScheduleConfig, length: TrainingLength) -> np.ndarray:
  schedule = config.resolve(length)
  traced = jax.vmap(schedule)(jnp.arange(length.steps))
  exact = schedule(np.arange(length.steps))
  np.testing.assert_allclose(traced, exact, rtol=1e-5, atol=1e-6)
  return exact


@pytest.mark.parametrize("name", COSINE)
def test_cosine_matches_the_reference(name):
  case = GOLDEN[name]
  config = ScheduleConfig(
    kind="cosine",
    base=float(case["base_value"]),
    final=float(case["final_value"]),
    start=float(case["start_warmup_value"]),
    warmup_epochs=int(case["warmup_epochs"]),
  )
  np.testing.assert_allclose(values(config, training_length(case)), case["value"], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", RESA)
def test_resa_learning_rate_and_momentum_match_the_reference(name):
  case = GOLDEN[name]
  peak = float(case["base_lr"]) * int(case["batch_size"]) / 256
  np.testing.assert_allclose(peak, case["scaled_lr"], rtol=1e-12)
  rate = ScheduleConfig(kind="cosine", final=0.1, warmup_epochs=int(case.get("warmup_epochs", 2)))
  np.testing.assert_allclose(peak * values(rate, training_length(case)), case["lr"], rtol=1e-12, atol=1e-12)
  momentum = ScheduleConfig(kind="cosine", base=float(case["base_momentum"]), final=1.0)
  np.testing.assert_allclose(values(momentum, training_length(case)), case["momentum"], rtol=1e-12)


@pytest.mark.parametrize("name", TEMPERATURE)
@pytest.mark.parametrize("steps_per_epoch", [1, 7])
def test_teacher_temperature_matches_the_reference(name, steps_per_epoch):
  case = GOLDEN[name]
  config = ScheduleConfig(start=float(case["t0"]), base=float(case["t1"]), warmup_epochs=int(case["n_warm"]), by_epoch=True)
  length = TrainingLength(steps_per_epoch=steps_per_epoch, epochs=int(case["epochs"]))
  np.testing.assert_allclose(values(config, length)[::steps_per_epoch], case["value"], rtol=1e-12)


@pytest.mark.parametrize("name", ISD)
def test_isd_learning_rate_matches_the_reference(name):
  case = GOLDEN[name]
  config = ScheduleConfig(
    kind="cosine" if int(case["cosine"]) else "step",
    base=float(case["learning_rate"]),
    final=0.0,
    milestones=tuple(int(m) for m in case["milestones"]),
    rate=float(case["rate"]),
    by_epoch=True,
  )
  np.testing.assert_allclose(values(config, training_length(case)), case["value"], rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("name", TAU)
def test_byol_momentum_matches_the_reference(name):
  case = GOLDEN[name]
  length = TrainingLength(steps_per_epoch=1, epochs=int(case["max_steps"]))
  schedule = ScheduleConfig(kind="cosine", base=float(case["base_tau"]), final=float(case["final_tau"])).resolve(length)
  np.testing.assert_allclose(schedule(np.arange(len(case["value"]))), case["value"], rtol=1e-12)


def test_equal_warmups_in_epochs_steps_and_percent_agree():
  length = TrainingLength(steps_per_epoch=10, epochs=20)
  base = ScheduleConfig(kind="cosine")
  epochs, steps, percent = (
    dataclasses.replace(base, **{name: value}).resolve(length)(np.arange(200))
    for name, value in {"warmup_epochs": 2.0, "warmup_steps": 20, "warmup_percent": 10.0}.items()
  )
  assert (epochs == steps).all() and (epochs == percent).all() and epochs[19] == 1.0


@pytest.mark.parametrize(
  "fields, message",
  [
    ({"warmup_epochs": 1, "warmup_steps": 3}, r"^optim.schedule.warmup_epochs and optim.schedule.warmup_steps: both are set;"),
    (
      {"warmup_epochs": 10},
      r"^optim.schedule.warmup_epochs=10 is longer than train.epochs=2; shorten the warm-up or train longer$",
    ),
    ({"warmup_steps": 21}, r"^optim.schedule.warmup_steps=21 is longer than the run, 20 steps; shorten"),
    ({"warmup_percent": 120.0}, r"^optim.schedule.warmup_percent=120 is longer than the run, 100 percent; shorten"),
    ({"warmup_epochs": -1}, r"^optim.schedule.warmup_epochs=-1: negative; expected 0 or more$"),
  ],
)
def test_warmup_errors_name_the_field(fields, message):
  with pytest.raises(UserError, match=message):
    ScheduleConfig(**fields).resolve(TrainingLength(steps_per_epoch=10, epochs=2), "optim.schedule")
