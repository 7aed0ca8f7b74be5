"""Detects runs that go wrong, such as collapse or slow input; alerts with a reason are logged when they start and end."""

import collections
import math
from collections.abc import Mapping

import jax

from jaxssl.config.schema import HealthConfig
from jaxssl.core import LOG, UserError, json_io, unknown_name
from jaxssl.core.exit_codes import DIVERGED
from jaxssl.methods.base import Dims
from jaxssl.workdir.workdir import Workdir

ALERTS = ("collapsing", "dimensional collapse", "teacher uniform", "one prototype", "waiting for data", "neighbors stale")
MIN_DIMENSIONS = 16  # a low rank among fewer dimensions is normal


class Stopped(Exception):
  """The run ends early: the loss is not finite, or an alert that `health.stop` names has started."""

  exit_code = DIVERGED  # of a command that ends with this error


def check(config: HealthConfig) -> None:
  """Raises UserError for an unknown alert in `health.stop`, and for one that several processes cannot agree on."""
  for name in config.stop:
    if name not in ALERTS:
      raise unknown_name(f"health.stop={name}: unknown", name, ALERTS)
    if name == "waiting for data" and jax.process_count() > 1:
      raise UserError(f"health.stop={name}: not allowed with several processes, since each would decide by itself")


class Diagnostics:
  """Checks the metrics of a run. An alert starts once its reason has held for `health.patience` steps, or for two epochs."""

  def __init__(self, config: HealthConfig, dims: Dims, workdir: Workdir, step: int):
    """Resumes the alerts of a run at `step`. Raises UserError as `check` does."""
    check(config)
    self._config, self._dims, self._path = config, dims, workdir.alerts
    self._since: dict[str, int] = {}  # alert -> the step at which its metrics became bad
    json_io.truncate_lines(self._path, step)
    newest = {str(line.get("alert")): line for line in json_io.lines(self._path)}
    self._active = {alert for alert, line in newest.items() if line.get("active")}

  @property
  def active_alerts(self) -> str:
    """The alerts that hold now, separated by commas; empty if there is none."""
    return ", ".join(alert for alert in ALERTS if alert in self._active)

  def step(self, step: int, values: Mapping[str, float]) -> None:
    """Checks the metrics of a step. Raises Stopped if an alert starts that is in `health.stop`."""
    now, dims = collections.defaultdict(lambda: math.nan, values), self._dims
    share, used, wait = now["teacher_entropy"] / math.log(max(dims.projection, 2)), now["prototypes_used"], now["data_wait"]
    uniform = f"teacher targets are almost uniform: their entropy is {share:.1%} of its maximum"
    slow = f"{wait:.0%} of the time: run jaxssl pack, raise data.workers, or set data.placement=device if the images fit"
    checks = [
      ("teacher uniform", share > 0.99, uniform),
      ("one prototype", used < 1.5, f"{used:.1f} of {dims.projection} prototypes are used"),
      ("waiting for data", wait > 0.5, slow),
    ]
    for output, width, min_rank in (("feature", dims.features, 1.8), ("projection", dims.projection, 1.5)):
      deviation, rank = now[f"{output}_deviation"], now[f"{output}_rank"]
      constant = f"the deviation of the {output}s is {deviation:.3f} of 1: they hardly differ"
      checks.append(("collapsing", deviation < 0.02, constant))
      low_rank = rank < min_rank and width >= MIN_DIMENSIONS
      checks.append(("dimensional collapse", low_rank, f"effective rank of the {output}s {rank:.1f} of {width}"))
    self._update(step, checks, self._config.patience)

  def epoch(self, step: int, values: Mapping[str, float]) -> None:
    """Checks the metrics of an epoch; raises as `step` does."""
    own, others = (values.get(name, math.nan) for name in ("share_self_neighbor", "share_bootstrapped"))
    stale = f"{own:.0%} of the images are nearest to their own last features, yet {others:.0%} take a view from a neighbor"
    self._update(step, [("neighbors stale", own <= 0.1 and others >= 0.5, stale)], patience=2)

  def _update(self, step: int, checks: list[tuple[str, bool, str]], patience: int) -> None:
    """Starts and ends alerts. `checks`: alert, whether the metrics are bad (none are if they are NaN), and in which way."""
    stopped, bad = None, {alert: reason for alert, is_bad, reason in checks if is_bad}
    for alert in dict.fromkeys(alert for alert, _, _ in checks):
      was_active, active, reason = alert in self._active, False, "resolved"
      if alert in bad:
        steps = step - self._since.setdefault(alert, step) + 1
        active, reason = was_active or steps >= patience, f"{bad[alert]} for {steps} steps"
      else:
        self._since.pop(alert, None)
      if active != was_active:
        self._active ^= {alert}
        json_io.append_line(self._path, {"step": step, "alert": alert, "reason": reason, "active": active})
        LOG.warning("step %d: %s: %s", step, alert, reason)
        if active and alert in self._config.stop:
          stopped = Stopped(f"health.stop: {alert}: {reason}")
    if stopped:
      raise stopped
