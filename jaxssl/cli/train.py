"""`train`: trains a network, evaluates it and writes a report."""

import pathlib
from typing import Any

from jaxssl.cli.options import add_distributed
from jaxssl.config.flags import Parser, add_config, config_of, default_workdir


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


def run(config: str | None, workdir: pathlib.Path | None, changes: dict[str, Any]) -> int:
  """Trains; returns the exit code of `api.run_training`."""
  read = config_of(config, changes)

  from jaxssl import api

  return api.run_training(read, workdir or default_workdir(str(config)))
