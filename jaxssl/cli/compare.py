"""Train several configs with several seeds and compare them in one table; rerun the same command to resume.

Each run has its own folder below --workdir, and those that are finished are kept. Writes compare.csv, compare.md, compare.json
and report.html there: mean and deviation over seeds, differences seed by seed, time and memory.
"""

import argparse
from typing import Any

from jaxssl.config.flags import Parser
from jaxssl.core import UserError


def add_options(parser: Parser) -> None:
  parser.add_argument("--configs", metavar="FILE[:RECIPE]", nargs="+", required=True, help="the configs to compare")
  values: dict[str, Any] = {"type": _values, "nargs": "+", "default": []}  # separated by commas, or by spaces
  parser.add_argument("--seeds", metavar="N,N,...", help="the same as --sweep train.seed=N,N,...", **values)
  parser.add_argument("--policies", metavar="NAME,...", help="the same as --sweep bootstrap.policy=NAME,...", **values)
  help = "train with each of these values of a field, e.g. bootstrap.k=5,10 or data.imbalance.seed=0,1,2; may be repeated"
  parser.add_argument("--sweep", metavar="FIELD=A,B,...", type=_sweep, action="append", default=[], help=help)
  parser.add_argument("--workdir", metavar="DIR", required=True, help="folder of all runs, or gs://BUCKET/NAME")
  parser.add_argument("--dry-run", action="store_true", help="print the commands, e.g. for the jobs of a cluster, and stop")
  parser.add_fields("config", "set a field of all runs, e.g. --config.train.epochs=20")
  parser.set_defaults(uses_devices=False)  # a TPU belongs to one process: that of a run


def run(seeds: list[list[str]], policies: list[list[str]], sweep: list[tuple[str, list[str]]], **options: Any) -> int:
  """Compares; returns the exit code: 0 done, 1 some runs failed, 75 or 130 stopped by a signal."""
  from jaxssl import api

  varied = [("bootstrap.policy", sum(policies, [])), *sweep, ("train.seed", sum(seeds, []))]
  pairs = [(field, values) for field, values in varied if values]
  for field in (sweeps := dict(pairs)):
    if (count := sum(field == other for other, _ in pairs)) > 1:
      raise UserError(f"--sweep {field}: {count} times, --seeds and --policies included; expected all its values at once")
  return api.compare(sweeps=sweeps, **options)


def _values(text: str) -> list[str]:
  return text.split(",")


def _sweep(text: str) -> tuple[str, list[str]]:
  field, equals, values = text.partition("=")
  if not equals:
    raise argparse.ArgumentTypeError(f"{text!r}: no value; expected FIELD=A,B,..., e.g. bootstrap.k=5,10")
  return field, values.split(",")
