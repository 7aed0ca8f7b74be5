"""`plan`: estimates memory, operations, time and cost of a run on machines that need not exist."""

import argparse

from jaxssl.config.flags import Parser, add_config, config_of
from jaxssl.core.errors import UserError
from jaxssl.core.paths import path_of


def parser() -> Parser:
  """Returns the command's parser."""
  result = Parser("plan", "estimate memory, operations, traffic, time and cost of a run, without its images or machines")
  add_config(result)
  result.add_argument(
    "--topology",
    metavar="NAME[,NAME ...]",
    help="TPU slices such as v5e:4x4 (compiled; needs pip install 'jaxssl[tpu-plan]'), cpu:N (compiled), gpu:N (estimated)",
  )
  result.add_argument(
    "--batch-size", metavar="N[,N ...]", type=batch_sizes, default=[], help="one column each (default: the config's)"
  )
  result.add_argument("--images", metavar="N", default="", help="number of images, e.g. 1e9, or a dataset such as imagenet")
  result.add_argument("--size", metavar="N", default="", help="side of the images in pixels, with data.placement=device")
  result.add_argument("--utilization", metavar="SHARE", type=float, help="assumed share of the chips' peak (default: 0.3)")
  result.add_argument("--step-seconds", metavar="S", type=float, help="measured seconds per step, instead of --utilization")
  result.add_argument("--price", metavar="DOLLARS", type=float, help="per chip and hour; adds the cost of the run")
  result.add_argument("--memory", metavar="GB", type=float, help="of a GPU (default: 80) or of one CPU device")
  result.add_argument("--peak", metavar="TFLOPS", type=float, help="of a GPU (default: 312) or of one CPU device")
  result.add_argument("--check", action="store_true", help="also plan with the first change that makes the run fit")
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


def run(options: argparse.Namespace) -> int:
  """Prints the plans."""
  config = config_of(options)
  if not options.topology:
    raise UserError("--topology: missing; expected names of machines, e.g. --topology v5e:4x4,gpu:8")

  from jaxssl import api

  _, text = api.plan(
    config,
    options.topology.split(","),
    recipe=options.config.partition(":")[2],
    batch_sizes=options.batch_size,
    images=options.images,
    size=options.size,
    utilization=options.utilization,
    step_seconds=options.step_seconds,
    price=options.price,
    memory=options.memory,
    peak=options.peak,
    check=options.check,
    out=options.out,
  )
  print(f"{options.config}: {text}")
  return 0
