"""How long a suggested config takes is estimated on this machine, and `:cpu` is made to end within half an hour."""

import dataclasses

import jax
import pytest

from jaxssl import api
from jaxssl.config.load import load_config
from jaxssl.core import tree
from jaxssl.inspect import estimate, suggest
from jaxssl.inspect.estimate import lines, of_config, time_runs, within_half_an_hour
from jaxssl.train import step_time
from jaxssl.train.lower_to_fit import lowered
from jaxssl.train.step_time import StepTime, StepTimer
from tests.data import fixtures
from tests.inspect.test_inspect import images, output, starting
from tests.inspect.test_suggest import SET, suggested

TIME = StepTime(seconds=0.5, steps=8000, compile_seconds=20.0, memory=2 * 10**9, flops=1e9)
FULL = suggested(train=2000)
SMALL = suggest.config_of(suggest.text(SET, "x.py", {}), "cpu")


class Timer:
  """Returns made-up times: of the whole recipe a hundred times those of `:cpu`."""

  opened = []

  def __init__(self, config, images, few=False):
    self.opened.append((config.views["global"].size, config.train.batch_size, images, few))
    seconds, steps = (0.25 if config.model.width < 1 else 25.0), config.train.epochs * (images // config.train.batch_size)
    self.time = dataclasses.replace(TIME, seconds=seconds, steps=steps)

  def measure(self, seconds):
    return self.time

  def scaled(self, other):
    return dataclasses.replace(self.time, basis="roughly, from its number of operations")


@pytest.fixture(autouse=True)
def opened(monkeypatch):
  monkeypatch.setattr(Timer, "opened", [])
  return Timer.opened


def test_the_small_version_is_timed_first_and_gets_the_epochs_that_fit_into_half_an_hour(opened):
  full, small = time_runs(FULL, SMALL, 2000, 0.0, Timer)
  assert opened == [(32, 128, 2000, False), (224, 256, 2000, True)]
  assert small is not None and small.steps_per_epoch == 15
  assert small.epochs == 320 and small.total == 20 + 320 * 15 * 0.25  # of 20 minutes
  first, second, third = lines("x.py", full, small, 10**10)
  assert first == f"on this machine, {estimate.machine()}:"
  assert second == "  x.py:cpu takes about 20 min and the evaluations (320 epochs of 15 steps of 0.25 s; 2 of 10.0 GB)"
  assert third.startswith("  x.py takes about 2 days 1 h and the evaluations (1000 epochs of 7 steps of 25 s; ")


def test_after_half_a_minute_nothing_more_is_compiled(monkeypatch):
  monkeypatch.setattr(estimate, "PATIENCE", -1.0)
  full, _ = time_runs(FULL, SMALL, 2000, 0.0, Timer)
  assert "25 s, roughly, from its number of operations" in full.describe(10**10)


def test_with_an_accelerator_the_whole_recipe_is_timed_alone(monkeypatch, opened):
  monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
  full, small = time_runs(FULL, SMALL, 2000, 100.0, Timer)
  assert opened == [(224, 256, 2000, False)] and small is None
  assert full.seconds == 25.0 and of_config(FULL, TIME, 100.0).seconds == 2.56  # a step waits for 256 images
  assert list(lines("x.py", full, None, 10**9))[-1].startswith(
    "  that is more memory than there is: set a lower --config.train"
  )


def test_a_batch_that_does_not_fit_in_memory_is_reported():
  def refuse(*_, **__):
    raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory while trying to allocate 99 bytes.")

  [line], small = estimate.estimate("x.py", FULL, SMALL, 2000, 0.0, 10**9, refuse)
  assert line.endswith(", 256 images per step do not fit in memory: " + estimate.LESS) and small is None


@pytest.mark.parametrize("seconds, expected", [(1e-4, 1000), (0.5, 300), (9999.0, 1)])
def test_epochs_are_at_least_one_and_at_most_those_of_the_recipe(seconds, expected):
  run = of_config(FULL, dataclasses.replace(TIME, seconds=seconds), 0.0)
  assert within_half_an_hour(run, most=1000).epochs == expected


def test_the_config_states_what_was_measured_and_what_cannot_be_exported():
  text = suggest.text(SET, "x.py", {}, suggest.Small(epochs=77, about="about 20 min on 2 CPU cores"))
  assert '"x.py:cpu" (about 20 min on 2 CPU cores)' in text
  small = suggest.config_of(text, "cpu")
  assert (small.train.epochs, small.evals.every, small.train.checkpoint_every_epochs) == (77, 15, 15)
  assert small.views["global"].size == 32 and small.data.resident_size == 40 and small.data.placement == "device"
  assert "minutes" not in suggest.text(SET, "x.py", {})
  note = "timm and torchvision have no such stem"
  stems = {side: note in suggest.text(dataclasses.replace(SET, side=side), "x.py", {}) for side in (32, 96, 224)}
  assert stems == {32: True, 96: True, 224: False}


def test_a_shorter_run_of_a_suggested_config_has_a_shorter_warm_up():
  config = tree.replace(suggested(train=2000), {"train.epochs": 5})
  assert config.optim.schedule.warmup_epochs == 10 and lowered(config, 2000, 1).optim.schedule.warmup_epochs == 0.5


@pytest.mark.slow
@pytest.mark.parametrize("placement", ["device", "host"])
def test_a_step_on_random_images_is_timed(placement, monkeypatch, one_device):
  monkeypatch.setattr(step_time, "STEPS", 1)
  config = tree.replace(suggested(train=40, side=16), {"data.placement": placement, "model.width": 0.125})
  config = tree.replace(config, {"model.name": "resnet10", "model.projector.hidden": 16})
  timed = StepTimer(config, 40, few=True).measure(0.0)
  assert timed.seconds > 0 and timed.steps == 5000 and timed.basis == "from steps of 4 images" and timed.compile_seconds > 0
  assert timed.memory > 0 and timed.flops > 1e6
  other = StepTimer(config, 40).scaled(dataclasses.replace(timed, flops=2 * timed.flops))
  assert other.seconds == pytest.approx(timed.seconds / 2, rel=0.2)


@pytest.mark.slow
def test_the_config_is_written_before_and_again_after_the_estimate(tmp_path, capfd, monkeypatch, one_device):
  out = tmp_path / "mine.py"

  class Late(Timer):
    def __init__(self, *args, **options):
      assert out.exists()
      super().__init__(*args, **options)

  monkeypatch.setattr(api, "StepTimer", Late)
  where = fixtures.folder(tmp_path / "images", {f"{k:02}.jpg": data for k, data in enumerate(images(16))})
  found = output(capfd, f"--data={where}", f"--out={out}")
  assert starting(found, f"  {out}:cpu takes").split(" takes ")[1].startswith("about 17 min")
  assert [line for line in found if "jaxssl train" in line][-2:] == [f"  jaxssl train --config {out}{x}" for x in (":cpu", "")]
  assert load_config(f"{out}:cpu").train.epochs == 1000
  out.unlink()
  found = output(capfd, f"--data={where}", f"--out={out}", "--no-estimate")
  assert not any("on this machine" in line for line in found) and load_config(f"{out}:cpu").train.epochs == 150
