"""Whether a run is going wrong, and how: verdicts with a reason, noted when they come and when they go."""

import json
import logging
import math
import pathlib
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

import jax

from jaxssl.config.schema import HealthConfig
from jaxssl.core import json_io
from jaxssl.core.errors import UserError

LOG = logging.getLogger("jaxssl")
Figures = Mapping[str, float]
MANY = 16  # dimensions: of fewer, a low rank is no surprise


class MetricRange(NamedTuple):
  """The largest values that some figures could have in this run."""

  features: int
  projections: int


class Check(NamedTuple):
  """A verdict, and what it is told by: the reason, where the figures of a step or an epoch speak for it."""

  verdict: str
  reason: Callable[[Figures, MetricRange], str | None]
  needs: tuple[str, ...]


def _point(what: str) -> Check:
  def reason(now: Figures, limits: MetricRange) -> str | None:
    deviation = now[f"{what}_deviation"]
    return f"the deviation of the {what}s is {deviation:.3f} of 1: they hardly differ" if deviation < 0.02 else None

  return Check("collapsing", reason, (f"{what}_deviation",))


def _line(what: str, least: float) -> Check:
  def reason(now: Figures, limits: MetricRange) -> str | None:
    rank, most = now[f"{what}_rank"], getattr(limits, f"{what}s")
    return f"effective rank of the {what}s {rank:.1f} of {most}" if rank < least and most >= MANY else None

  return Check("dimensional collapse", reason, (f"{what}_rank",))


def _uniform(now: Figures, limits: MetricRange) -> str | None:
  share = now["teacher_entropy"] / math.log(max(limits.projections, 2))
  return f"its entropy is {share:.1%} of the largest possible: it tells no image from another" if share > 0.99 else None


def _one_prototype(now: Figures, limits: MetricRange) -> str | None:
  used = now["prototypes_used"]
  return f"{used:.1f} of {limits.projections} prototypes are used" if used < 1.5 else None


def _waiting(now: Figures, limits: MetricRange) -> str | None:
  share = now["data_wait"]
  return f"{share:.0%} of the time: raise data.workers, or data.placement=device if the images fit" if share > 0.5 else None


def _stale(now: Figures, limits: MetricRange) -> str | None:
  own, others = now["share_self_neighbor"], now["share_bootstrapped"]
  if own > 0.1 or others < 0.5:
    return None
  return f"{own:.0%} of the images are nearest to their own last features, yet {others:.0%} take a view from their neighbors"


STEP_RULES = (
  _point("feature"),
  _point("projection"),
  _line("feature", 1.8),
  _line("projection", 1.5),
  Check("teacher uniform", _uniform, ("teacher_entropy",)),
  Check("one prototype", _one_prototype, ("prototypes_used",)),
  Check("waiting for data", _waiting, ("data_wait",)),
)
EPOCH_RULES = (Check("neighbors stale", _stale, ("share_self_neighbor", "share_bootstrapped")),)
ALERTS = tuple(dict.fromkeys(rule.verdict for rule in (*STEP_RULES, *EPOCH_RULES)))


class Diagnostics:
  """Watches the figures of a run. A verdict is given once its reason has held for `health.patience` steps, or two epochs."""

  def __init__(self, config: HealthConfig, limits: MetricRange, workdir: pathlib.Path, step: int):
    """Goes on with health.jsonl of a run at `step`; raises UserError for a verdict that does not exist."""
    for name in config.stop:
      if name not in ALERTS:
        raise UserError(f"health.stop={name} is not allowed; allowed: {', '.join(ALERTS)}")
      if name == "waiting for data" and jax.process_count() > 1:
        raise UserError(f"health.stop={name} is not allowed with several processes: each would decide by itself")
    self._config, self._limits, self._path = config, limits, workdir / "health.jsonl"
    self._since: dict[Check, int] = {}
    self._standing: dict[str, int] = {}  # verdict -> the step at which it was given
    json_io.truncate_lines(self._path, step)
    for line in json_io.lines(self._path):  # what stood then stands now, or is found to have gone
      if line.get("over"):
        self._standing.pop(str(line.get("verdict")), None)
      else:
        self._standing[str(line.get("verdict"))] = line["step"]

  @property
  def standing(self) -> str:
    """The verdicts that hold now, in a few words; empty: none."""
    return ", ".join(self._standing)

  def step(self, step: int, figures: Figures) -> str | None:
    """Looks at a step's figures. Gives the reason to stop the run, where the config asks for that."""
    return self._look(STEP_RULES, step, figures, self._config.patience)

  def epoch(self, step: int, figures: Figures) -> str | None:
    """Looks at an epoch's figures, likewise."""
    return self._look(EPOCH_RULES, step, figures, None)

  def _look(self, rules: tuple[Check, ...], step: int, figures: Figures, patience: int | None) -> str | None:
    stop, judged = None, list(self._reasons(rules, figures))
    for rule, reason in judged:
      if reason is None:
        self._since.pop(rule, None)
        continue
      since = self._since.setdefault(rule, step)
      enough = step - since + 1 >= patience if patience else step > since
      if enough and rule.verdict not in self._standing:
        self._standing[rule.verdict] = step
        reason = f"{reason} for {step - since + 1} steps"
        self._note(step, rule.verdict, reason, over=False)
        if rule.verdict in self._config.stop:
          stop = f"{rule.verdict}: {reason}"
    bad = {rule.verdict for rule, reason in judged if reason is not None}
    for verdict in sorted({rule.verdict for rule, _ in judged} & self._standing.keys() - bad):
      del self._standing[verdict]
      self._note(step, verdict, "no more", over=True)
    return stop

  def _reasons(self, rules: tuple[Check, ...], figures: Figures) -> Iterator[tuple[Check, str | None]]:
    for rule in rules:
      if all(math.isfinite(figures.get(name, math.nan)) for name in rule.needs):
        yield rule, rule.reason(figures, self._limits)

  def _note(self, step: int, verdict: str, reason: str, over: bool) -> None:
    with self._path.open("a") as file:
      file.write(json.dumps({"step": step, "verdict": verdict, "reason": reason, "over": over}) + "\n")
    LOG.warning("step %d: %s: %s", step, verdict, reason)
