import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxssl.config.schedules import ScheduleConfig, TrainingLength
from jaxssl.core import UserError
from tests.golden_files import cases, split

COSINE, RESA, TEMPERATURE, ISD, TAU = split("schedules", r"cos\d+", r"resa\d+", r"tt\d+", r"isd\d+", r"tau\d+")
GOLDEN = cases("schedules")


def values(config: ScheduleConfig, length: TrainingLength) -> np.ndarray:
  schedule = config.resolve(length)
  traced = jax.jit(jax.vmap(schedule))(jnp.arange(length.steps))
  exact = schedule(np.arange(length.steps))
  np.testing.assert_allclose(traced, exact, rtol=1e-5, atol=1e-6)
  return exact


def config_of(name: str, n: dict[str, float]) -> ScheduleConfig:
  """Returns the schedule of a case, whose numbers are `n`."""
  if name in COSINE:
    warmup = {"start": n["start_warmup_value"], "warmup_epochs": n["warmup_epochs"]}
    return ScheduleConfig(kind="cosine", base=n["base_value"], final=n["final_value"], **warmup)
  if name in ISD and not n["cosine"]:
    milestones = tuple(int(m) for m in GOLDEN[name]["milestones"])
    return ScheduleConfig(kind="step", base=n["learning_rate"], milestones=milestones, rate=n["rate"], by_epoch=True)
  if name in ISD:
    return ScheduleConfig(kind="cosine", base=n["learning_rate"], by_epoch=True)
  return ScheduleConfig(start=n["t0"], base=n["t1"], warmup_epochs=n["n_warm"], by_epoch=True)


CASES = [(name, 0) for name in COSINE + ISD] + [(name, steps) for name in TEMPERATURE for steps in (1, 7)]


@pytest.mark.parametrize("name, steps_per_epoch", CASES)
def test_values_match_the_reference(name, steps_per_epoch):
  case = GOLDEN[name]
  length = TrainingLength(steps_per_epoch=steps_per_epoch or int(case.get("niter", 1)), epochs=int(case["epochs"]))
  made = values(config_of(name, {key: float(x) for key, x in case.items() if x.ndim == 0}), length)
  np.testing.assert_allclose(made[:: steps_per_epoch or 1], case["value"], rtol=1e-12, atol=1e-12)


def test_an_exponential_schedule_falls_by_the_same_factor_each_epoch():
  made = values(
    ScheduleConfig(kind="exponential", base=1e-2, final=1e-6, by_epoch=True), TrainingLength(steps_per_epoch=2, epochs=4)
  )
  np.testing.assert_allclose(made, np.repeat(1e-2 * 0.1 ** np.arange(4), 2), rtol=1e-12)
  with pytest.raises(UserError, match=r"rate.final=0.0: out of range; expected more than 0 with kind=exponential"):
    ScheduleConfig(kind="exponential").resolve(TrainingLength(steps_per_epoch=1, epochs=1), "rate")


@pytest.mark.parametrize("name", RESA)
def test_resa_learning_rate_and_momentum_match_the_reference(name):
  case = GOLDEN[name]
  length = TrainingLength(steps_per_epoch=int(case.get("niter", 1)), epochs=int(case["epochs"]))
  peak = float(case["base_lr"]) * int(case["batch_size"]) / 256
  np.testing.assert_allclose(peak, case["scaled_lr"], rtol=1e-12)
  rate = ScheduleConfig(kind="cosine", final=0.1, warmup_epochs=int(case.get("warmup_epochs", 2)))
  np.testing.assert_allclose(peak * values(rate, length), case["lr"], rtol=1e-12, atol=1e-12)
  momentum = ScheduleConfig(kind="cosine", base=float(case["base_momentum"]), final=1.0)
  np.testing.assert_allclose(values(momentum, length), case["momentum"], rtol=1e-12)


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
      r"^optim.schedule.warmup_epochs=10: out of range; expected 0 to 2, the length of the run \(train.epochs=2\)$",
    ),
    (
      {"warmup_steps": 21},
      r"^optim.schedule.warmup_steps=21: out of range; expected 0 to 20, the length of the run \(train.epochs=2\)$",
    ),
    ({"warmup_percent": 120.0}, r"^optim.schedule.warmup_percent=120.0: out of range; expected 0 to 100, the length of"),
    (
      {"warmup_epochs": -1},
      r"^optim.schedule.warmup_epochs=-1: out of range; expected 0 to 2, the length of the run \(train.epochs=2\)$",
    ),
    ({"base": -0.5}, r"^optim.schedule.base=-0.5: out of range; expected 0 or more$"),
    ({"final": -1.0}, r"^optim.schedule.final=-1.0: out of range; expected 0 or more$"),
    ({"rate": 0.0}, r"^optim.schedule.rate=0.0: out of range; expected more than 0$"),
  ],
)
def test_errors_name_the_field(fields, message):
  with pytest.raises(UserError, match=message):
    ScheduleConfig(**fields).resolve(TrainingLength(steps_per_epoch=10, epochs=2), "optim.schedule")


def test_an_offset_numbers_steps_after_epochs_of_another_length():
  """Two epochs of 4 steps, then epochs of 6: step 8 of the run is step 12 of one whose epochs all have 6."""
  whole, length = TrainingLength(steps_per_epoch=6, epochs=5), TrainingLength(steps_per_epoch=6, epochs=5, offset=4)
  assert length.steps == 26 and length.place(8) == (2, 0) and length.place(15) == (3, 1) and length.in_epochs(11) == 2.5
  for config in (ScheduleConfig(kind="cosine", warmup_epochs=3), ScheduleConfig(kind="step", milestones=(3,), by_epoch=True)):
    schedule, expected = config.resolve(length), config.resolve(whole)
    assert [schedule(k) for k in range(8, 26)] == [expected(k + 4) for k in range(8, 26)]
