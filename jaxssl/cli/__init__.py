"""The commands, one module each: its docstring is its help, and `add_options(parser)` adds its options.

`run(**options)` runs the command. A module without it runs the function of `api` that has the command's name.
"""

import importlib
from typing import Any

from jaxssl.config.flags import Parser
from jaxssl.core import UserError, unknown_name

COMMANDS = ("train", "evaluate", "report", "compare", "embed", "neighbors", "export", "predict", "inspect", "profile", "plan")
COMMANDS += ("pack", "config", "doctor")
OVERVIEW = """usage: jaxssl COMMAND [options]     (or python -m jaxssl.main COMMAND [options])

Self-supervised learning of image representations, in JAX and Flax.

commands:
{}

`jaxssl COMMAND --help` shows the options of a command; `jaxssl --config FILE` is `jaxssl train --config FILE`."""


def parser(command: str) -> Parser:
  """Returns a command's parser, whose option `run` returns the exit code (None: 0). Raises UserError for an unknown command."""
  if command.partition(":")[0].endswith(".py"):
    raise UserError(f"{command}: a config, but no command; did you mean jaxssl train --config {command}?")
  if command not in COMMANDS:
    raise unknown_name(f"{command}: unknown command", command, COMMANDS)

  def run(**options: Any) -> None:
    from jaxssl import api

    getattr(api, command)(**options)

  module = importlib.import_module(f"jaxssl.cli.{command}")
  result = Parser(command, module.__doc__)
  module.add_options(result)
  result.set_defaults(run=getattr(module, "run", run))
  return result


def overview() -> str:
  """Returns the usage and one line per command."""
  lines = (f"  {command:<10} {(parser(command).description or '').splitlines()[0]}" for command in COMMANDS)
  return OVERVIEW.format("\n".join(lines))
