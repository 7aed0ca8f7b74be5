"""Detects runs that go wrong, such as collapse or slow input; alerts with a reason are logged when they start and end."""

import json
import logging
import math
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

import jax

from jaxssl.config.schema import HealthConfig
from jaxssl.core import json_io
from jaxssl.core.errors import UserError, nearest_name
from jaxssl.workdir.workdir import Workdir

LOG = logging.getLogger("jaxssl")
Values = Mapping[str, float]
MIN_DIMENSIONS = 16  # a low rank among fewer dimensions is normal


class MetricRange(NamedTuple):
  """The largest values that ranks and numbers of prototypes can have in a run."""

  features: int
  projections: int


class Check(NamedTuple):
  """An alert and the function that returns the reason for it, or None, from the metrics of a step or an epoch."""

  alert: str
  reason: Callable[[Values, MetricRange], str | None]
  needs: tuple[str, ...]  # metrics, without which the check is skipped


def _constant(what: str) -> Check:
  def reason(now: Values, largest: MetricRange) -> str | None:
    deviation = now[f"{what}_deviation"]
    return f"the deviation of the {what}s is {deviation:.3f} of 1: they hardly differ" if deviation < 0.02 else None

  return Check("collapsing", reason, (f"{what}_deviation",))


def _low_rank(what: str, least: float) -> Check:
  def reason(now: Values, largest: MetricRange) -> str | None:
    rank, most = now[f"{what}_rank"], getattr(largest, f"{what}s")
    return f"effective rank of the {what}s {rank:.1f} of {most}" if rank < least and most >= MIN_DIMENSIONS else None

  return Check("dimensional collapse", reason, (f"{what}_rank",))


def _uniform(now: Values, largest: MetricRange) -> str | None:
  share = now["teacher_entropy"] / math.log(max(largest.projections, 2))
  return f"teacher targets are almost uniform: their entropy is {share:.1%} of its maximum" if share > 0.99 else None


def _one_prototype(now: Values, largest: MetricRange) -> str | None:
  used = now["prototypes_used"]
  return f"{used:.1f} of {largest.projections} prototypes are used" if used < 1.5 else None


def _waiting(now: Values, largest: MetricRange) -> str | None:
  share = now["data_wait"]
  return f"{share:.0%} of the time: raise data.workers, or set data.placement=device if the images fit" if share > 0.5 else None


def _stale(now: Values, largest: MetricRange) -> str | None:
  own, others = now["share_self_neighbor"], now["share_bootstrapped"]
  if own > 0.1 or others < 0.5:
    return None
  return f"{own:.0%} of the images are nearest to their own last features, yet {others:.0%} take a view from a neighbor"


STEP_CHECKS = (
  _constant("feature"),
  _constant("projection"),
  _low_rank("feature", 1.8),
  _low_rank("projection", 1.5),
  Check("teacher uniform", _uniform, ("teacher_entropy",)),
  Check("one prototype", _one_prototype, ("prototypes_used",)),
  Check("waiting for data", _waiting, ("data_wait",)),
)
EPOCH_CHECKS = (Check("neighbors stale", _stale, ("share_self_neighbor", "share_bootstrapped")),)
ALERTS = tuple(dict.fromkeys(check.alert for check in (*STEP_CHECKS, *EPOCH_CHECKS)))


class Diagnostics:
  """Checks the metrics of a run. An alert starts once its reason has held for `health.patience` steps, or for two epochs."""

  def __init__(self, config: HealthConfig, largest: MetricRange, workdir: Workdir, step: int):
    """Resumes the alerts of a run at `step`. Raises UserError for an unknown alert in `health.stop`."""
    for name in config.stop:
      if name not in ALERTS:
        nearest = nearest_name(name, list(ALERTS))
        raise UserError(f"health.stop={name}: unknown; nearest: {nearest}; expected one of: {', '.join(ALERTS)}")
      if name == "waiting for data" and jax.process_count() > 1:
        raise UserError(f"health.stop={name}: not allowed with several processes, since each would decide by itself")
    self._config, self._largest, self._path = config, largest, workdir.alerts
    self._since: dict[Check, int] = {}
    self._active: dict[str, int] = {}  # alert -> the step at which it started
    json_io.truncate_lines(self._path, step)
    for line in json_io.lines(self._path):
      if line.get("active"):
        self._active[str(line.get("alert"))] = line["step"]
      else:
        self._active.pop(str(line.get("alert")), None)

  @property
  def active_alerts(self) -> str:
    """The alerts that hold now, separated by commas; empty if there is none."""
    return ", ".join(self._active)

  def step(self, step: int, values: Values) -> str | None:
    """Checks the metrics of a step. Returns the reason to stop the run if the config asks for that."""
    return self._check(STEP_CHECKS, step, values, self._config.patience)

  def epoch(self, step: int, values: Values) -> str | None:
    """Checks the metrics of an epoch; returns as `step` does."""
    return self._check(EPOCH_CHECKS, step, values, None)

  def _check(self, checks: tuple[Check, ...], step: int, values: Values, patience: int | None) -> str | None:
    stop, results = None, list(self._reasons(checks, values))
    for check, reason in results:
      if reason is None:
        self._since.pop(check, None)
        continue
      since = self._since.setdefault(check, step)
      enough = step - since + 1 >= patience if patience else step > since
      if enough and check.alert not in self._active:
        self._active[check.alert] = step
        reason = f"{reason} for {step - since + 1} steps"
        self._write(step, check.alert, reason, active=True)
        if check.alert in self._config.stop:
          stop = f"{check.alert}: {reason}"
    bad = {check.alert for check, reason in results if reason is not None}
    for alert in sorted({check.alert for check, _ in results} & self._active.keys() - bad):
      del self._active[alert]
      self._write(step, alert, "resolved", active=False)
    return stop

  def _reasons(self, checks: tuple[Check, ...], values: Values) -> Iterator[tuple[Check, str | None]]:
    for check in checks:
      if all(math.isfinite(values.get(name, math.nan)) for name in check.needs):
        yield check, check.reason(values, self._largest)

  def _write(self, step: int, alert: str, reason: str, active: bool) -> None:
    with self._path.open("a") as file:
      file.write(json.dumps({"step": step, "alert": alert, "reason": reason, "active": active}) + "\n")
    LOG.warning("step %d: %s: %s", step, alert, reason)
