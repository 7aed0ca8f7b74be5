"""`plan`: what a run would take on machines that are not there."""

import argparse
import dataclasses
import math
from collections.abc import Sequence

from jaxssl.config import flags
from jaxssl.config.schema import Config
from jaxssl.core import log as runlog
from jaxssl.core.errors import UserError
from jaxssl.core.paths import path_of
from jaxssl.plan import abstract_step, advice, dataset_sizes, table, topology
from jaxssl.plan.abstract_step import DatasetSpec
from jaxssl.plan.advice import Change
from jaxssl.plan.cache import PlanCache
from jaxssl.plan.cost import Assumptions, spent

NUMBERS = ("memory", "peak", "price", "utilization", "step_seconds")


def plan(argv: Sequence[str]) -> int:
  """Runs `plan --config FILE[:RECIPE] --topology NAME[,NAME ...]` with the options in main's HELP."""
  asked, config = _parse(argv)
  images = dataset_sizes.dataset_spec(config, asked.config.partition(":")[2], asked.images, asked.size)
  names = asked.topology.split(",")
  topology.prepare([int(name[4:]) for name in names if name.startswith("cpu:") and name[4:].isdecimal()])
  targets = [topology.parse(name, asked.memory, asked.peak) for name in names]
  assumed = Assumptions(step_seconds=asked.step_seconds, price=asked.price)
  if asked.utilization:
    assumed = dataclasses.replace(assumed, utilization=asked.utilization)
  runlog.start(None)
  batches = _batches(asked.batch_size) or [config.train.batch_size]
  runs = [(advice.changed(config, {"train.batch_size": batch}), target) for target in targets for batch in batches]
  for one, target in runs:
    abstract_step.build(one, images, target.mesh)  # raises before minutes of compiling
  kept, columns, lines = PlanCache(asked.out), [], []
  for one, target in runs:
    found = kept.estimate(one, images, target)
    cost, most = spent(found, target, assumed), advice.largest_batch(one, found)
    changes = advice.changes(one, images, found, target)
    columns.append((found, cost, most))
    lines += table.advice(found, changes)
    if asked.check and changes:
      lines.append(_check(one, images, target, changes[0], kept))
    said = {"spent": dataclasses.asdict(cost), "assumed": dataclasses.asdict(assumed), "peak": target.peak, "link": target.link}
    kept.write(one, images, target, {**said, "largest_batch": most, "fits_with": [str(change) for change in changes]})
  print(f"{asked.config}: {images.count:,} images ({images.said}), {config.train.epochs} epochs")
  print(*table.table(columns), *lines, *table.sources(columns, targets, assumed), sep="\n")
  return 0


def _parse(argv: Sequence[str]) -> tuple[argparse.Namespace, Config]:
  """Raises UserError for flags that cannot be."""
  parser = flags.Parser(add_help=False, allow_abbrev=False)
  for name in ("config", "topology", "batch-size", "images", "size"):
    parser.add_argument(f"--{name}", default="")
  for name in NUMBERS:
    parser.add_argument(f"--{name.replace('_', '-')}", type=float)
  parser.add_argument("--check", action="store_true")
  parser.add_argument("--out", type=path_of)
  asked, rest = flags.known(parser, argv)
  config, _ = flags.parse([f"--config={asked.config}", *rest])
  if not asked.topology:
    raise UserError("--topology is missing; for example --topology v5e:4x4,gpu:8")
  for name in NUMBERS:
    value, most = getattr(asked, name), 1 if name == "utilization" else math.inf
    if value is not None and not 0 < value <= most or value == math.inf:
      raise UserError(f"--{name.replace('_', '-')} {value:g} is not allowed; above 0" + ", at most 1" * (most == 1))
  return asked, config


def _batches(text: str) -> list[int]:
  words = text.split(",") if text else []
  if not all(word.isdecimal() and int(word) for word in words):
    raise UserError(f"--batch-size {text} is not allowed; numbers of images, e.g. 1024,4096")
  return [int(word) for word in words]


def _check(config: Config, images: DatasetSpec, target: topology.Topology, change: Change, kept: PlanCache) -> str:
  """Plans with a change, and says what came of it."""
  other = target if change.topology == target.name else topology.parse(change.topology)
  found = kept.estimate(advice.changed(config, change.fields), images, other)
  how, result = "compiled" if found.compiled else "estimated", "fits" if found.fits else "does not fit"
  return f"  checked, {how}: with {change} it takes {found.total / topology.GIB:.2f} GiB and {result}"
