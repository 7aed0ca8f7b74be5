"""`plan`: estimates memory, operations, time and cost of a run on machines that need not exist."""

import argparse
from typing import Any

from jaxssl.config.flags import Parser, add_config, resolve
from jaxssl.core.errors import UserError
from jaxssl.core.paths import path_of


def parser() -> Parser:
  """Returns the command's parser."""
  result = Parser("plan", "estimate memory, operations, traffic, time and cost of a run, without its images or machines")
  add_config(result)
  result.add_argument(
    "--topology",
    metavar="NAME[,NAME ...]",
    dest="topologies",
    default=[],
    type=lambda text: text.split(","),
    help="TPU slices such as v5e:4x4 (compiled; needs pip install 'jaxssl[tpu-plan]'), cpu:N (compiled), gpu:N (estimated)",
  )
  result.add_argument(
    "--batch-size",
    metavar="N[,N ...]",
    dest="batch_sizes",
    default=[],
    type=batch_sizes,
    help="one column each (default: the config's)",
  )
  result.add_argument("--images", metavar="N", default="", help="number of images, e.g. 1e9, or a dataset such as imagenet")
  result.add_argument("--size", metavar="N", default="", help="side of the images in pixels, with data.placement=device")
  result.add_argument(
    "--utilization", metavar="SHARE", type=float, default=0.3, help="assumed share of the chips' peak (default: 0.3)"
  )
  result.add_argument("--step-seconds", metavar="S", type=float, help="measured seconds per step, instead of --utilization")
  result.add_argument("--price", metavar="DOLLARS", type=float, help="per chip and hour; adds the cost of the run")
  result.add_argument("--memory", metavar="GB", type=float, help="of a GPU (default: 80) or of one CPU device")
  result.add_argument("--peak", metavar="TFLOPS", type=float, help="of a GPU (default: 312) or of one CPU device")
  result.add_argument(
    "--out", metavar="FILE.json", type=path_of, help="keep the plans; those in the file are not computed again"
  )
  return result


def batch_sizes(text: str) -> list[int]:
  """Parses --batch-size."""
  words = text.split(",") if text else []
  if not all(word.isdecimal() and int(word) for word in words):
    raise argparse.ArgumentTypeError(f"{text!r} is not a list of sizes; expected numbers of images, e.g. 1024,4096")
  return [int(word) for word in words]


def run(config: str | None, changes: dict[str, Any], topologies: list[str], **options: Any) -> None:
  """Prints the plans."""
  read, _ = resolve(config, changes)
  if not topologies:
    raise UserError("--topology: missing; expected names of machines, e.g. --topology v5e:4x4,gpu:8")

  from jaxssl import api

  _, text = api.plan(read, topologies, recipe=str(config).partition(":")[2], **options)
  print(f"{config}: {text}")
