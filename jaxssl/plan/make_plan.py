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
from jaxssl.plan.advice import Plan
from jaxssl.plan.cache import PlanCache


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
  utilization: float = 0.3,
  step_seconds: float | None = None,
  price: float | None = None,
  out: str | pathlib.Path | None = None,
) -> tuple[list[Plan], str]:
  """Plans a run on every topology at every batch size (default: the config's); returns the plans and a table of them as text.

  `topologies`: names such as "v5e:4x4", "gpu:8" or "cpu:8". `recipe`, `images`, `size`: how many images of which side, see
  dataset_sizes.dataset_spec. `memory` (GB), `peak` (TFLOP/s): of a GPU or CPU device. `utilization` or `step_seconds`, `price`
  (dollars per chip and hour): assumptions. `out`: JSON file of plans, which are not computed again. Raises UserError.
  """
  assumed = {"utilization": utilization, "step_seconds": step_seconds, "price": price}
  for name, value in {"memory": memory, "peak": peak, **assumed}.items():
    limit = 1 if name == "utilization" else math.inf
    if value is not None and (not 0 < value <= limit or value == math.inf):
      allowed = "above 0, at most 1" if limit == 1 else "above 0"
      raise UserError(f"--{name.replace('_', '-')}={value:g}: out of range; expected a number {allowed}")
  spec = dataset_sizes.dataset_spec(config, recipe, images, size)
  topology.prepare(topologies)
  targets = [topology.parse(name, memory, peak) for name in topologies]
  batches = batch_sizes or [config.train.batch_size]
  runs = [(tree.replace(config, {"train.batch_size": batch}), target) for target in targets for batch in batches]
  for run, target in runs:
    abstract_step.build(run, spec, target.mesh)  # reports errors before minutes of compilation
  cache, plans = PlanCache(path_of(out) if out else None), []
  for run, target in runs:
    estimate, stored = cache.estimate(run, spec, target)
    cost, largest = advice.cost_of(estimate, target, utilization, step_seconds, price), advice.largest_batch(run, estimate)
    changes = advice.changes(run, spec, estimate, target)
    plans.append(Plan(estimate=estimate, cost=cost, largest_batch=largest, changes=changes))
    stored |= {"spent": dataclasses.asdict(cost), "assumed": assumed, "peak": target.peak, "link": target.link}
    stored |= {"largest_batch": largest, "fits_with": list(changes)}
    cache.write()
  head = f"{spec.count:,} images ({spec.origin}), {config.train.epochs} epochs"
  fitting = [line for plan in plans for line in table.changes(plan)]
  return plans, "\n".join([head, *table.table(plans), *fitting, *table.sources(targets, utilization, step_seconds)])
