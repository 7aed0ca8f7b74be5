"""The `jaxssl` command: `jaxssl COMMAND [options]`; without a command, `train`."""

import os
import sys
from typing import NoReturn

from jaxssl import cli
from jaxssl.core.errors import UserError


def main(argv: list[str] | None = None) -> int:
  """Runs one command and returns its exit code, see cli.execute. Prints help and returns 0 for --help."""
  argv = list(sys.argv[1:] if argv is None else argv)
  if not argv or argv[0] in ("-h", "--help", "help"):
    print(cli.overview())
    return 0
  try:
    module = cli.module("train" if argv[0].startswith("-") else argv.pop(0))
    options = vars(module.parser().parse(argv))
    if module.__name__ == "jaxssl.cli.config":  # needs neither JAX nor a log
      return module.run(**options)
  except UserError as error:
    print(f"error: {error}", file=sys.stderr)
    return 2
  except SystemExit:  # --help
    return 0
  from jaxssl.cli.execute import execute

  return execute(module, options)


def run() -> NoReturn:
  """Runs one command and exits with its code."""
  code = main()
  if code == 2:  # nothing is pending, and exit handlers of libraries' threads could print their own errors
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
  sys.exit(code)


if __name__ == "__main__":
  run()
