"""The commands, one module each: `parser()` returns its argument parser, `run(**options)` returns its exit code."""

import importlib
from types import ModuleType

from jaxssl.core.errors import UserError, nearest_name

COMMANDS = ("train", "evaluate", "report", "embed", "neighbors", "export", "inspect", "profile", "plan", "config")


def module(command: str) -> ModuleType:
  """Imports the module of a command. Raises UserError for an unknown one."""
  if command not in COMMANDS:
    near = nearest_name(command, COMMANDS)
    raise UserError(f"{command}: unknown command; expected {', '.join(COMMANDS)}; did you mean {near}?")
  return importlib.import_module(f"jaxssl.cli.{command}")


def overview() -> str:
  """Returns the usage and one line per command."""
  lines = [f"  {command:<10} {module(command).parser().description}" for command in COMMANDS]
  return "\n".join(
    [
      "usage: jaxssl COMMAND [options]     (or python -m jaxssl.main COMMAND [options])",
      "",
      "Self-supervised learning of image representations, in JAX and Flax.",
      "",
      "commands:",
      *lines,
      "",
      "`jaxssl COMMAND --help` shows the options of a command; `jaxssl --config FILE` is `jaxssl train --config FILE`.",
    ]
  )
