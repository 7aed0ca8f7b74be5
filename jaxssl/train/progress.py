"""The progress bar of a training run."""

import collections
import time

from tqdm.auto import tqdm

from jaxssl.core import LOG
from jaxssl.core.log import SECONDS_BETWEEN_LINES, bar_shown


class Progress:
  """A progress bar on a terminal and occasional log lines: loss, images/s, wait for data, time left."""

  def __init__(self, total_steps: int, first_step: int, batch_size: int):
    self._total, self._batch, self._first = total_steps, batch_size, first_step
    self._bar = tqdm(total=total_steps, initial=first_step, unit="step", disable=not bar_shown(), dynamic_ncols=True)
    self._recent: collections.deque[tuple[float, int, float]] = collections.deque(maxlen=50)  # (time, step, seconds waited)
    self._waited = self._rate = self._wait = 0.0
    self._logged = time.monotonic()

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
    if now - self._logged >= SECONDS_BETWEEN_LINES or step in (self._first + 1, self._total):
      left = f"left {(self._total - step) * self._batch / rate:.0f} s" if rate else ""
      LOG.info("step %d/%d %s %s", step, self._total, text, left, extra={"bar": True})
      self._logged = now
    return {"images_per_second": rate, "data_wait": wait}

  def pause(self) -> None:
    """Excludes the time until the next update, such as that of an evaluation, from the speed."""
    self._recent.clear()

  def close(self) -> None:
    """Removes the bar."""
    self._bar.close()
