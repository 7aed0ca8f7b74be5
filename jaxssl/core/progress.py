"""A progress bar for commands that process a dataset."""

import time

import tqdm

from jaxssl.core.log import LOG, SECONDS_BETWEEN_LINES, bar_shown


class ImageProgress:
  """Shows how many of `total` images are done: a bar on a terminal, otherwise a log line every ten seconds."""

  def __init__(self, total: int):
    self._total, self._done, self._made = total, 0, 0
    self._began = self._said = time.monotonic()
    self._bar = tqdm.tqdm(total=total, unit="image", disable=not bar_shown(), dynamic_ncols=True)

  def add(self, count: int, made: bool = True) -> None:
    """Adds finished images; `made=False` for those of an earlier command, which do not count for the speed."""
    self._done += count
    self._made += count * made
    self._bar.update(count)
    now = time.monotonic()
    if made and (now - self._said >= SECONDS_BETWEEN_LINES or self._done == self._total):
      rate = self._made / (now - self._began)
      left = (self._total - self._done) / rate
      LOG.info("%d/%d images %.0f images/s left %.0f s", self._done, self._total, rate, left, extra={"bar": True})
      self._said = now

  def close(self) -> None:
    """Removes the bar."""
    self._bar.close()
