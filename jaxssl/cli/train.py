"""`train`: trains a network, evaluates it and writes a report."""

import argparse

from jaxssl.cli.options import add_distributed
from jaxssl.config.flags import Parser, add_config, config_of, workdir_of


def parser() -> Parser:
  """Returns the command's parser."""
  result = Parser(
    "train",
    "train a network, evaluate it and write a report; rerun the same command to resume a run",
    "The workdir then holds config.json, metrics.jsonl, results.json, train.log, report.html, checkpoints/ and tensorboard/.",
  )
  add_config(result, "folder for everything that the run writes, or gs://BUCKET/NAME (default: runs/ and the config's name)")
  add_distributed(result)
  return result


def run(options: argparse.Namespace) -> int:
  """Trains; returns the exit code of `api.run_training`."""
  config = config_of(options)

  from jaxssl import api

  return api.run_training(config, workdir_of(options))
