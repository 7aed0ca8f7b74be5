"""Parses the flags of a config, as `train` does."""

import pathlib
from collections.abc import Sequence

from jaxssl.config.flags import Parser, add_config, resolve
from jaxssl.config.schema import Config


def parse(argv: Sequence[str]) -> tuple[Config, pathlib.Path]:
  """Returns the config and the workdir of `--config FILE[:RECIPE] [--workdir DIR] [--config.FIELD=VALUE ...]`."""
  parser = Parser("train")
  add_config(parser, "the workdir")
  return resolve(**vars(parser.parse(argv)))
