"""The progress bar of a training run."""

import collections
import time

import tqdm

from jaxssl.core.log import LOG, SECONDS_BETWEEN_LINES, bar_shown
from jaxssl.core.metric import Metric

METRICS = (
  Metric("images_per_second", "Images per second", "The speed of training.", "Speed", unit="images/s", higher_is_better=True),
  Metric("data_wait", "Wait for data", "Share of the time in which training waited for images.", "Speed"),
)


class Progress:
  """A progress bar on a terminal and occasional log lines: loss, images/s, wait for data, time left."""

  def __init__(self, total_steps: int, first_step: int, batch_size: int):
    self._total, self._batch, self._first = total_steps, batch_size, first_step
    self._bar = tqdm.tqdm(total=total_steps, initial=first_step, unit="step", disable=not bar_shown(), dynamic_ncols=True)
    self._recent: collections.deque[tuple[float, int, float]] = collections.deque(maxlen=50)  # (time, step, seconds waited)
    self._waited = 0.0
    self._speed = {"images_per_second": 0.0, "data_wait": 0.0}
    self._logged = time.monotonic()

  def wait(self, seconds: float) -> None:
    """Adds the seconds for which the host waited for a batch."""
    self._waited += seconds

  def update(self, step: int, epoch: float, loss: float, alerts: str = "") -> dict[str, float]:
    """Shows that `step` is done, and any alerts. Returns speed and share of waiting for data over the last steps."""
    now = time.monotonic()
    self._recent.append((now, step, self._waited))
    (then, step_then, waited_then), (_, _, waited_now) = self._recent[0], self._recent[-1]
    if step > step_then:
      rate, wait = (step - step_then) * self._batch / (now - then), (waited_now - waited_then) / (now - then)
      self._speed = {"images_per_second": rate, "data_wait": wait}
    else:
      rate, wait = self._speed.values()
    text = f"epoch {epoch:.1f} loss {loss:.4f} {rate:.0f} images/s data wait {wait:.0%}{alerts and f' WARNING {alerts}'}"
    self._bar.set_postfix_str(text, refresh=False)
    self._bar.update(step - self._bar.n)
    if now - self._logged >= SECONDS_BETWEEN_LINES or step in (self._first + 1, self._total):
      left = f"left {(self._total - step) * self._batch / rate:.0f} s" if rate else ""
      LOG.info("step %d/%d %s %s", step, self._total, text, left, extra={"bar": True})
      self._logged = now
    return self._speed

  def pause(self) -> None:
    """Excludes the time until the next update, such as that of an evaluation, from the speed."""
    self._recent.clear()

  def close(self) -> None:
    """Removes the bar."""
    self._bar.close()
