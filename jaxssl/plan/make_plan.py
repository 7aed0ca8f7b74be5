"""Estimates memory, operations, traffic, time and cost of a run on machines that need not exist."""

import dataclasses
import hashlib
import importlib.metadata
import json
import math
import pathlib
from collections.abc import Sequence
from typing import Any

import jax

from jaxssl.config.schema import Config
from jaxssl.core import VERSION, UserError, heartbeat, json_io, path_of, tree
from jaxssl.plan import advice, dataset_sizes, estimate, table, topology
from jaxssl.plan.advice import Plan
from jaxssl.plan.dataset_sizes import DatasetSpec
from jaxssl.plan.estimate import Estimate
from jaxssl.plan.topology import Topology


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
  price: float | None = None,
  out: str | pathlib.Path | None = None,
) -> tuple[list[Plan], str]:
  """Plans a run on every topology at every batch size (default: the config's); returns the plans and a table of them as text.

  `topologies`: names such as "v5e:4x4", "gpu:8" or "cpu:8". `recipe`, `images`, `size`: how many images of which side, see
  dataset_sizes.dataset_spec. `memory` (GB), `peak` (TFLOP/s): of a GPU or CPU device. `utilization`, `price` (dollars per chip
  and hour): assumptions. `out`: JSON file of plans, whose steps are not compiled again. Raises UserError.
  """
  assumed = {"utilization": utilization, "price": price}
  for name, value in {"memory": memory, "peak": peak, **assumed}.items():
    limit = 1 if name == "utilization" else math.inf
    if value is not None and (not 0 < value <= limit or value == math.inf):
      allowed = "above 0, at most 1" if limit == 1 else "above 0"
      raise UserError(f"--{name}={value:g}: out of range; expected a number {allowed}")
  spec = dataset_sizes.dataset_spec(config, recipe, images, size)
  topology.prepare(topologies)
  targets = [topology.parse(name, memory, peak) for name in topologies]
  batches = batch_sizes or [config.train.batch_size]
  runs = [(tree.replace(config, {"train.batch_size": batch}), target) for target in targets for batch in batches]
  for run, target in runs:
    estimate.build(run, spec, target.mesh)  # reports errors before minutes of compilation
  path, plans = path_of(out) if out else None, []
  stored = _read(path)
  for run, target in runs:
    key = _key(run, spec, target)
    document = stored.setdefault(key, {"key": key, "images": spec.count})
    if document.get("estimate", {}).keys() != Estimate.__annotations__.keys():
      action = "compiling" if target.compiles else "tracing"
      with heartbeat(f"{action} the step for {target.name}, batch size {run.train.batch_size}"):
        document["estimate"] = dataclasses.asdict(estimate.estimate(run, spec, target))
    estimated = Estimate(**document["estimate"])
    cost, changes = advice.cost_of(estimated, target, utilization, price), advice.changes(run, spec, estimated, target)
    plans.append(Plan(estimate=estimated, cost=cost, changes=changes))
    document |= {"spent": dataclasses.asdict(cost), "assumed": assumed, "peak": target.peak, "link": target.link}
    document |= {"fits_with": list(changes)}
    if path:
      _write(path, stored)
  head = f"{spec.count:,} images ({spec.origin}), {config.train.epochs} epochs"
  fitting = [line for plan in plans for line in table.changes(plan)]
  return plans, "\n".join([head, *table.table(plans), *fitting, *table.sources(targets, utilization)])


def _key(config: Config, images: DatasetSpec, target: Topology) -> str:
  """Returns a hash of all that an estimate depends on."""
  versions = [VERSION, jax.__version__, *(libtpu.version for libtpu in importlib.metadata.distributions(name="libtpu"))]
  inputs = [dataclasses.asdict(config), images.count, images.side, target.name, target.memory, target.compiles, versions]
  return hashlib.sha256(json.dumps(inputs, sort_keys=True, default=list).encode()).hexdigest()[:16]


def _read(path: pathlib.Path | None) -> dict[str, dict[str, Any]]:
  """Reads the plans of a file by key; none if there is no file."""
  try:
    return {plan["key"]: plan for plan in json_io.read(path)["plans"]} if path and path.exists() else {}
  except (UserError, KeyError, TypeError) as error:
    raise UserError(f"--out={path}: the file exists and is not a file of plans; remove it or choose another name") from error


def _write(path: pathlib.Path, plans: dict[str, dict[str, Any]]) -> None:
  try:
    path.parent.mkdir(parents=True, exist_ok=True)
    json_io.write(path, {"plans": list(plans.values())})
  except OSError as error:
    raise UserError(f"--out={path}: cannot be written: {error}") from error
