"""Train a network, evaluate it and write a report; rerun the same command to resume a run.

The workdir then holds config.json, images.json, metrics.jsonl, results.json, train.log, report.html, checkpoints/ and
tensorboard/.
"""

from typing import Any

from jaxssl.cli.options import add_distributed
from jaxssl.config.flags import Parser, add_config, resolve


def add_options(parser: Parser) -> None:
  add_config(parser, "folder for everything that the run writes, or gs://BUCKET/NAME (default: runs/ and the config's name)")
  help = "resume although training images, or fields that change what is learned, have changed since (docs/reliability.md)"
  parser.add_argument("--accept-changes", action="store_true", help=help)
  add_distributed(parser)


def run(accept_changes: bool, **options: Any) -> int:
  """Trains; returns the exit code: 0 done, 3 diverged or stopped by an alert, 75 or 130 saved on a signal."""
  config, workdir = resolve(**options)

  from jaxssl.report.page import write_report
  from jaxssl.train import loop

  return loop.train(config, workdir, report=write_report, accept_changes=accept_changes)
