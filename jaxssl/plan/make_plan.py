"""Estimates memory, operations, traffic, time and cost of a run on machines that need not exist."""

import dataclasses
import pathlib
from collections.abc import Sequence
from typing import Any

from jaxssl.config.load import require_config
from jaxssl.config.schema import Config
from jaxssl.core import UserError, heartbeat, json_io, path_of, tree
from jaxssl.data.resident_size import side_for
from jaxssl.plan import advice, dataset_sizes, estimate, host, speed, table, topology
from jaxssl.plan.advice import Plan
from jaxssl.train.lower_to_fit import lowered


def plan(
  config: Config,
  topologies: str | Sequence[str],
  *,
  recipe: str = "",
  batch_sizes: Sequence[int] = (),
  images: str = "",
  memory: float | None = None,
  peak: float | None = None,
  utilization: float = 0.3,
  price: float | None = None,
  cores: float | None = None,
  out: str | pathlib.Path | None = None,
) -> tuple[list[Plan], str]:
  """Plans a run on every topology at every batch size (default: the config's); returns the plans and a table of them as text.

  `topologies`: names such as "v5e:4x4", "gpu:8" or "cpu:8". `recipe`, `images`: see dataset_sizes.dataset_spec. `memory` (GB),
  `peak` (TFLOP/s): of a GPU or CPU device. `utilization`, `price` (dollars per chip and hour), `cores` (of a host):
  assumptions. `out`: JSON file to which every plan is written as soon as it is made. Raises UserError.
  """
  require_config(config)
  topologies = [topologies] if isinstance(topologies, str) else topologies
  assumed = {"utilization": utilization, "price": price, "cores": cores}
  for name, value in {"memory": memory, "peak": peak, **assumed}.items():
    limit = 1 if name == "utilization" else 1e9
    if value is not None and not 0 < value <= limit:
      raise UserError(f"--{name}={value:g}: out of range; expected a number above 0, at most {limit:g}")
  spec = dataset_sizes.dataset_spec(config, recipe, images)
  path, plans, documents = path_of(out) if out else None, [], []
  if path and path.exists() and "plans" not in json_io.read(path):
    raise UserError(f"--out={out}: the file exists and is not a file of plans; remove it")
  topology.prepare(topologies)
  targets = [topology.parse(name, memory, peak, cores) for name in topologies]
  batches = batch_sizes or [config.train.batch_size]
  sizes = [(tree.replace(config, {"train.batch_size": batch}), target) for target in targets for batch in batches]
  runs = [(lowered(run, spec.count, target.chips), target) for run, target in sizes]
  for run, target in runs:
    estimate.build(run, spec, target.mesh)  # reports errors before minutes of compilation
  for run, target in runs:
    action = "compiling" if target.compiles else "tracing"
    with heartbeat(f"{action} the step for {target.name}, batch size {run.train.batch_size}"):
      estimated = estimate.estimate(run, spec, target)
    host_rate = host.images_per_second(run, spec.side, target.cores)
    cost = speed.cost_of(estimated, target, utilization, price, host_rate)
    changes = advice.changes(run, spec, estimated, target)
    plans.append(Plan(estimate=estimated, cost=cost, changes=changes))
    document = {"images": spec.count, "estimate": dataclasses.asdict(estimated), "spent": dataclasses.asdict(cost)}
    document |= {"assumed": assumed, "peak": target.peak, "link": target.link, "latency": target.latency}
    document |= {"fits_with": list(changes)}
    documents.append(document)
    if path:
      _write(path, documents)
  head = f"{spec.count:,} images ({spec.origin}), {config.train.epochs} epochs"
  if config.data.placement == "device" and not (config.data.resident_size or spec.side):
    head += f", resident at {side_for(config.views)} pixels, as if their sizes differed (data.resident_size=0)"
  fitting = [line for plan in plans for line in table.changes(plan)]
  return plans, "\n".join([head, *table.table(plans), *fitting, *table.sources(config, targets, utilization)])


def _write(path: pathlib.Path, plans: Sequence[dict[str, Any]]) -> None:
  try:
    path.parent.mkdir(parents=True, exist_ok=True)
    json_io.write(path, {"plans": plans})
  except OSError as error:
    raise UserError(f"--out={path}: cannot be written: {error}") from error
