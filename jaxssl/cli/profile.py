"""`profile`: traces training steps and shows where their time goes."""

import pathlib
from typing import Any

from jaxssl.config.flags import Parser, add_config, config_of, default_workdir


def parser() -> Parser:
  """Returns the command's parser."""
  result = Parser("profile", "trace ten training steps and show where their time goes")
  add_config(result, "local folder for the trace (default: runs/ and the config's name)")
  return result


def run(config: str | None, workdir: pathlib.Path | None, changes: dict[str, Any]) -> None:
  """Prints the table."""
  from jaxssl.train.profiler import profile

  print(profile(config_of(config, changes), workdir or default_workdir(str(config))))
