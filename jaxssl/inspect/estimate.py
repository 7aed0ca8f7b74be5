"""Estimates, at the end of an inspection, how long the suggested config and its version `:cpu` take on this machine."""

import dataclasses
import time
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import jax

from jaxssl.config.schema import Config
from jaxssl.core import heartbeat
from jaxssl.core.cores import cores
from jaxssl.core.log import duration

SECONDS = 5.0  # for which steps are timed, beside compiling
LESS = "set a lower --config.train.batch_size, --config.model.remat=true, or --config.train.accumulate=2"
PATIENCE = 30.0  # seconds after which no further step is compiled
SMALL_RUN = 20 * 60.0  # seconds that the steps of `:cpu` may take, so that it ends within half an hour, evaluations included


class Timing(Protocol):
  """The cost of a run, as `train.step_time.StepTime`."""

  seconds: float  # per step
  steps: int  # of the run
  compile_seconds: float
  memory: int  # bytes that a device holds; 0: unknown
  basis: str  # what it was estimated from; empty: steps like those of the run were timed


OpenTimer = Callable[..., Any]  # train.step_time.StepTimer: (config, number of training images, few)


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunTime:
  """How long a run takes. `seconds`: per step, the wait for images included."""

  epochs: int
  steps_per_epoch: int
  seconds: float
  timing: Timing

  @property
  def total(self) -> float:
    """Seconds of the run without evaluations."""
    return self.timing.compile_seconds + self.epochs * self.steps_per_epoch * self.seconds

  def describe(self, memory: int) -> str:
    """Describes the run in a line. `memory`: bytes of a device."""
    how = f", {self.timing.basis}" if self.timing.basis else ""
    uses = f"; {self.timing.memory / 1e9:.2g} of {memory / 1e9:.1f} GB" if self.timing.memory else ""
    steps = f"{self.epochs} epochs of {self.steps_per_epoch} steps of {self.seconds:.2g} s{how}"
    return f"about {duration(self.total)} and the evaluations ({steps}{uses})"


def of_config(config: Config, timing: Timing, rate: float) -> RunTime:
  """Returns the time of a config. `rate`: images/s that the host reads into views; 0: images are in memory."""
  waits = config.train.batch_size / rate if rate else 0.0
  epochs = config.train.epochs
  return RunTime(epochs=epochs, steps_per_epoch=timing.steps // epochs, seconds=max(timing.seconds, waits), timing=timing)


def within_half_an_hour(run: RunTime, most: int) -> RunTime:
  """Returns a run with as many epochs as SMALL_RUN allows: at least one and at most `most`."""
  epochs = int(SMALL_RUN / (run.seconds * run.steps_per_epoch))
  return dataclasses.replace(run, epochs=min(max(epochs, 1), most))


def time_runs(full: Config, small: Config, images: int, rate: float, open_timer: OpenTimer) -> tuple[RunTime, RunTime | None]:
  """Times the suggested config and, without an accelerator, its version `:cpu`, for about a minute.

  Returns the time of the suggested config, and that of `:cpu` with as many epochs as half an hour allows; None with an
  accelerator. Raises UserError.
  """
  began = time.monotonic()
  with heartbeat("timing a few steps of training, which takes about a minute (--no-estimate leaves it out)"):
    if jax.default_backend() != "cpu":
      return of_config(full, open_timer(full, images).measure(SECONDS), rate), None
    timing = open_timer(small, min(images, small.data.limit or images)).measure(SECONDS)
    short = within_half_an_hour(of_config(small, timing, 0.0), full.train.epochs)
    timer = open_timer(full, images, few=True)
    timing = timer.measure(SECONDS) if time.monotonic() - began < PATIENCE else timer.scaled(timing)
    return of_config(full, timing, rate), short


def estimate(
  file: str, full: Config, small: Config, images: int, rate: float, memory: int, open_timer: OpenTimer
) -> tuple[list[str], RunTime | None]:
  """Returns lines on how long the config in `file` takes on this machine, and the time of `:cpu`, see `time_runs`.

  `memory`: bytes of a device. Raises UserError.
  """
  try:
    whole, short = time_runs(full, small, images, rate, open_timer)
  except jax.errors.JaxRuntimeError as error:
    if "RESOURCE_EXHAUSTED" not in str(error):
      raise
    return [f"on this machine, {machine()}, {full.train.batch_size} images per step do not fit in memory: {LESS}"], None
  return list(lines(file, whole, short, memory)), short


def machine() -> str:
  """Names what trains here: `2 CPU cores`, `1 x NVIDIA H100 80GB HBM3`."""
  if jax.default_backend() == "cpu":
    return f"{cores()} CPU cores"
  return f"{jax.device_count()} x {jax.devices()[0].device_kind}"


def lines(file: str, full: RunTime, small: RunTime | None, memory: int) -> Iterator[str]:
  """Yields the time of each version, that to train first on this machine being the first. `memory`: bytes of a device."""
  yield f"on this machine, {machine()}:"
  if small:
    yield f"  {file}:cpu takes {small.describe(memory)}"
  yield f"  {file} takes {full.describe(memory)}"
  if full.timing.memory > memory:
    yield f"  that is more memory than there is: {LESS}"
