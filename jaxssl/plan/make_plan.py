"""Estimates memory, operations, traffic, time and cost of a run on machines that need not exist."""

import dataclasses
import math
import pathlib
from collections.abc import Sequence

from jaxssl.config.schema import Config
from jaxssl.core import tree
from jaxssl.core.errors import UserError
from jaxssl.core.paths import path_of
from jaxssl.plan import abstract_step, advice, dataset_sizes, table, topology
from jaxssl.plan.abstract_step import DatasetSpec
from jaxssl.plan.advice import Change
from jaxssl.plan.cache import PlanCache
from jaxssl.plan.cost import Assumptions, Cost, cost_of
from jaxssl.plan.estimate import Estimate


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan:
  """A run on one machine at one batch size."""

  estimate: Estimate
  cost: Cost
  largest_batch: int | None  # None: unknown
  changes: tuple[Change, ...]  # that make the run fit if it does not


def plan(
  config: Config,
  topologies: Sequence[str],
  *,
  recipe: str = "",
  batch_sizes: Sequence[int] = (),
  images: str = "",
  size: str = "",
  memory: float | None = None,
  peak: float | None = None,
  utilization: float = Assumptions.utilization,
  step_seconds: float | None = None,
  price: float | None = None,
  check: bool = False,
  out: str | pathlib.Path | None = None,
) -> tuple[list[Plan], str]:
  """Plans a run on every topology at every batch size (default: the config's); returns the plans and a table of them as text.

  `topologies`: names such as "v5e:4x4", "gpu:8" or "cpu:8". `recipe`, `images`, `size`: how many images of which side, see
  dataset_sizes.dataset_spec. `memory` (GB), `peak` (TFLOP/s): of a GPU or CPU device. `utilization` or `step_seconds`, `price`
  (dollars per chip and hour): assumptions. `check`: also plan with the first change that makes a run fit. `out`: JSON file of
  plans, which are not computed again. Raises UserError.
  """
  numbers = {"memory": memory, "peak": peak, "price": price, "step_seconds": step_seconds, "utilization": utilization}
  for name, value in numbers.items():
    limit = 1 if name == "utilization" else math.inf
    if value is not None and (not 0 < value <= limit or value == math.inf):
      allowed = "above 0, at most 1" if limit == 1 else "above 0"
      raise UserError(f"--{name.replace('_', '-')}={value:g}: out of range; expected a number {allowed}")
  assumed = Assumptions(utilization=utilization, step_seconds=step_seconds, price=price)
  spec = dataset_sizes.dataset_spec(config, recipe, images, size)
  topology.prepare([int(name[4:]) for name in topologies if name.startswith("cpu:") and name[4:].isdecimal()])
  targets = [topology.parse(name, memory, peak) for name in topologies]
  batches = batch_sizes or [config.train.batch_size]
  runs = [(tree.replace(config, {"train.batch_size": batch}), target) for target in targets for batch in batches]
  for run, target in runs:
    abstract_step.build(run, spec, target.mesh)  # reports errors before minutes of compilation
  cache, plans, lines = PlanCache(path_of(out) if out else None), [], []
  for run, target in runs:
    estimate, stored = cache.estimate(run, spec, target)
    cost, largest = cost_of(estimate, target, assumed), advice.largest_batch(run, estimate)
    changes = advice.changes(run, spec, estimate, target)
    plans.append(Plan(estimate=estimate, cost=cost, largest_batch=largest, changes=tuple(changes)))
    lines += table.advice(estimate, changes)
    if check and changes:
      lines.append(_check(run, spec, target, changes[0], cache))
    stored |= {"spent": dataclasses.asdict(cost), "assumed": dataclasses.asdict(assumed), "peak": target.peak}
    stored |= {"link": target.link, "largest_batch": largest, "fits_with": [str(change) for change in changes]}
    cache.write()
  columns = [(plan.estimate, plan.cost, plan.largest_batch) for plan in plans]
  head = f"{spec.count:,} images ({spec.origin}), {config.train.epochs} epochs"
  return plans, "\n".join([head, *table.table(columns), *lines, *table.sources(targets, assumed)])


def _check(config: Config, images: DatasetSpec, target: topology.Topology, change: Change, cache: PlanCache) -> str:
  other = target if change.topology == target.name else topology.parse(change.topology)
  estimate, _ = cache.estimate(tree.replace(config, change.fields), images, other)
  method, result = "compiled" if estimate.compiled else "estimated", "fits" if estimate.fits else "does not fit"
  return f"  checked ({method}): with {change} the run needs {estimate.total / topology.GIB:.2f} GiB and {result}"
