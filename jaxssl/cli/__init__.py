"""The commands, one module each: `parser()` returns its argument parser, `run(**options)` its exit code (None: 0)."""

import importlib
from types import ModuleType

from jaxssl.core.errors import unknown_name

COMMANDS = ("train", "evaluate", "report", "embed", "neighbors", "export", "inspect", "profile", "plan", "config")
OVERVIEW = """usage: jaxssl COMMAND [options]     (or python -m jaxssl.main COMMAND [options])

Self-supervised learning of image representations, in JAX and Flax.

commands:
{}

`jaxssl COMMAND --help` shows the options of a command; `jaxssl --config FILE` is `jaxssl train --config FILE`."""


def module(command: str) -> ModuleType:
  """Imports the module of a command. Raises UserError for an unknown one."""
  if command not in COMMANDS:
    raise unknown_name(f"{command}: unknown command", command, COMMANDS)
  return importlib.import_module(f"jaxssl.cli.{command}")


def overview() -> str:
  """Returns the usage and one line per command."""
  return OVERVIEW.format("\n".join(f"  {command:<10} {module(command).parser().description}" for command in COMMANDS))
