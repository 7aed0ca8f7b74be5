"""`profile`: traces training steps and shows where their time goes."""

from typing import Any

from jaxssl.config.flags import Parser, add_config, resolve


def parser() -> Parser:
  """Returns the command's parser."""
  result = Parser("profile", "trace ten training steps and show where their time goes")
  add_config(result, "local folder for the trace (default: runs/ and the config's name)")
  return result


def run(**options: Any) -> None:
  """Prints the table."""
  from jaxssl.train.profiler import profile

  print(profile(*resolve(**options)))
