"""Estimate memory, operations, traffic, time and cost of a run, without its images or machines."""

import argparse
from typing import Any

from jaxssl.config.flags import Parser, add_config, resolve
from jaxssl.core import UserError

MACHINES = "TPU slices such as v5e:4x4 (compiled; needs pip install 'jaxssl[tpu-plan]'), cpu:N (compiled), gpu:N (estimated)"


def add_options(parser: Parser) -> None:
  def add(name: str, metavar: str, help: str, **settings: Any) -> None:
    parser.add_argument(name, metavar=metavar, help=help, **settings)

  add_config(parser)
  add("--topology", "NAME[,NAME ...]", MACHINES, dest="topologies", default=[], type=lambda text: text.split(","))
  add("--batch-size", "N[,N ...]", "one column each (default: the config's)", dest="batch_sizes", default=[], type=batch_sizes)
  add("--images", "N", "number of images, e.g. 1e9, or a dataset such as imagenet", default="")
  add("--utilization", "SHARE", "share of the chips' peak with many images each (default: 0.3)", type=float, default=0.3)
  add("--price", "DOLLARS", "per chip and hour; adds the cost of the run", type=float)
  add("--memory", "GB", "of a GPU (default: 80) or of one CPU device", type=float)
  add("--peak", "TFLOPS", "of a GPU (default: 312) or of one CPU device", type=float)
  add("--cores", "N", "of a host, which read the images (default: those of the usual machine)", type=float)
  add("--out", "FILE.json", "also write the plans as JSON")


def batch_sizes(text: str) -> list[int]:
  """Parses --batch-size."""
  words = text.split(",") if text else []
  if not all(word.isdecimal() and int(word) for word in words):
    raise argparse.ArgumentTypeError(f"{text!r} is not a list of sizes; expected numbers of images, e.g. 1024,4096")
  return [int(word) for word in words]


def run(config: str | None, changes: dict[str, Any], topologies: list[str], **options: Any) -> None:
  read, _ = resolve(config, changes)
  if not topologies:
    raise UserError("--topology: missing; expected names of machines, e.g. --topology v5e:4x4,gpu:8")

  from jaxssl import api

  _, text = api.plan(read, topologies, recipe=str(config).partition(":")[2], **options)
  print(f"{config}: {text}")
