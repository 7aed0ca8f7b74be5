"""The progress bar of a training run."""

import collections
import os
import time

import jax
from tqdm.auto import tqdm

from jaxssl.core import LOG
from jaxssl.core.cores import cores
from jaxssl.core.log import SECONDS_BETWEEN_LINES, bar_shown, duration
from jaxssl.train.cost import Cost

SLOW_STEP = 3.0  # seconds; a longer step is waited for with a log line every ten seconds
LONG = 3600.0  # seconds; a longer run on a CPU is warned of
CERTAIN = 4  # factor on LONG beyond which a rough estimate suffices to warn
MEASURED = 2  # steps after which the rest of the run is estimated
PER_EQUATION = 0.004  # seconds to compile one, on two CPU cores and, for ResNet-18, on an H100
PER_CORE = 1.2e10  # operations per second and CPU core, for networks between a narrow ResNet-10 and a ResNet-18: 7 to 23e9
NVIDIA = "/dev/nvidiactl"  # exists if the driver of a GPU is loaded


class Progress:
  """A progress bar on a terminal and occasional log lines: loss, images/s, wait for data, time left."""

  def __init__(self, total_steps: int, first_step: int, batch_size: int):
    self._total, self._batch, self._first = total_steps, batch_size, first_step
    self._bar = tqdm(total=total_steps, initial=first_step, unit="step", disable=not bar_shown(), dynamic_ncols=True)
    self._recent: collections.deque[tuple[float, int, float]] = collections.deque(maxlen=50)  # (time, step, seconds waited)
    self._waited = self._rate = self._wait = 0.0
    self._logged = time.monotonic()
    self._warned = jax.default_backend() != "cpu"

  @property
  def slow(self) -> bool:
    """Whether the next step may take long: nothing is known yet, or the last ones did."""
    return not self._rate or self._batch / self._rate > SLOW_STEP

  def expect(self, cost: Cost) -> str:
    """Logs how long it takes to compile a step of this cost and, on a CPU, roughly how long the run takes; names that wait."""
    task = f"compiling the training step, about {duration(PER_EQUATION * cost.equations)}, or less if it is cached"
    if jax.default_backend() != "cpu":
      LOG.info("%s; the first steps show how long the run takes", task)
      return task
    seconds = (self._total - self._first) * cost.flops / (PER_CORE * cores())
    LOG.info("%s; by its operations the run then takes roughly %s", task, duration(max(seconds, 1.0)))
    if seconds > CERTAIN * LONG:
      self._warned = True
      LOG.warning(*_slow_run(seconds, "roughly"))
    return task

  def compiled(self, step: int, waited: float) -> None:
    """Starts to measure the speed: the first step after `step`, before which the host waited, is compiled and has begun."""
    self._recent.append((time.monotonic(), step, self._waited + waited))  # `update` adds the wait, which is over

  def update(self, step: int, epoch: float, loss: float, waited: float, alerts: str) -> dict[str, float]:
    """Shows that `step` is done, for which the host waited some seconds, and alerts. Returns the speed over the last steps."""
    self._waited += waited
    now = time.monotonic()
    self._recent.append((now, step, self._waited))
    then, step_then, waited_then = self._recent[0]
    if step > step_then:
      self._rate, self._wait = (step - step_then) * self._batch / (now - then), (self._waited - waited_then) / (now - then)
    rate, wait = self._rate, self._wait
    text = f"epoch {epoch:.1f} loss {loss:.4f} {rate:.0f} images/s data wait {wait:.0%}{alerts and f' WARNING {alerts}'}"
    self._bar.set_postfix_str(text, refresh=False)
    self._bar.update(step - self._bar.n)
    left = (self._total - step) * self._batch / rate if rate else 0.0
    if now - self._logged >= SECONDS_BETWEEN_LINES or step in (self._first + 1, self._first + MEASURED, self._total):
      LOG.info("step %d/%d %s left %s", step, self._total, text, duration(left), extra={"bar": True})
      self._logged = now
    if not self._warned and (self.slow or step >= self._first + MEASURED):  # one slow step is enough
      self._warned = True
      if left > LONG:
        LOG.warning(*_slow_run(left, "about"))
    return {"images_per_second": rate, "data_wait": wait}

  def pause(self) -> None:
    """Excludes the time until the next update, such as that of an evaluation, from the speed."""
    self._recent.clear()

  def close(self) -> None:
    """Removes the bar."""
    self._bar.close()


def _slow_run(seconds: float, how: str) -> tuple[str, str, str]:
  """Returns a warning, and its arguments, for a run that takes long on a CPU. `how`: about, roughly."""
  gpu = "; there is a GPU: pip install 'jaxssl[cuda]' lets JAX use it" if os.path.exists(NVIDIA) else ""
  smaller = "for minutes instead, append ,cpu to the recipe (--config FILE:RECIPE,cpu, or FILE:cpu)"
  return f"the run will take %s %s, since JAX computes on the CPU{gpu}; {smaller}, or rerun on a GPU", how, duration(seconds)
