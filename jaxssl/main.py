"""The command line: python -m jaxssl.main [train] --config FILE[:recipe] [--workdir DIR] [--config.FIELD=VALUE ...]."""

import os
import pathlib
import sys

HELP = """usage: python -m jaxssl.main [train] --config FILE[:RECIPE] [--workdir DIR] [--config.FIELD=VALUE ...]

Learns image representations without labels. The same command with the same workdir goes on where it stopped.

  train                      the default: trains, measures, writes results.json
  --config FILE[:RECIPE]     a file such as configs/nnboot.py; its head lists its recipes, e.g. configs/nnboot.py:cifar10;
                             every recipe has a version shrunk to under a minute on a CPU: configs/nnboot.py:cifar10,runlocal
  --config.FIELD=VALUE       changes a field, e.g. --config.optim.lr=0.001 --config.bootstrap.policy=off
  --workdir DIR              where everything is written (default: runs/ and the config's name)
  --help                     this text

A workdir holds config.json, metrics.jsonl, results.json, train.log, checkpoints/ and tensorboard/.
"""
COMMANDS = ("train",)


def main(argv: list[str] | None = None) -> int:
  """Runs one command; returns the exit code: 0 done (or saved on SIGTERM), 1 training failed, 2 the user's mistake."""
  argv = list(sys.argv[1:] if argv is None else argv)
  if not argv or {"-h", "--help", "help"} & set(argv):
    print(HELP, end="")
    return 0
  command = argv.pop(0) if not argv[0].startswith("-") else "train"
  os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
  os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")  # or tensorflow announces at every start that it uses them

  from jaxssl import loop  # heavy imports come after --help
  from jaxssl.types import UserError

  try:
    if command not in COMMANDS:
      raise UserError(f"{command!r} is no command; allowed: {', '.join(COMMANDS)}")
    config, workdir = parse(argv)
    return loop.train(config, workdir)
  except UserError as error:
    print(f"error: {error}", file=sys.stderr)
    return 2


def parse(argv: list[str]):  # noqa: ANN201
  """Gives the Config and the workdir of the flags, or raises UserError."""
  from absl import flags
  from ml_collections import config_flags

  from jaxssl.config import Config, read
  from jaxssl.types import UserError

  values = flags.FlagValues()
  holder = config_flags.DEFINE_config_file("config", flag_values=values)
  folder = flags.DEFINE_string("workdir", None, "", flag_values=values)
  try:
    rest = values(["jaxssl", *argv])[1:]
    if rest:
      raise UserError(f"{rest[0]!r} is not understood; see --help")
    if values["config"].value is None:
      raise UserError("--config is missing; for example --config configs/nnboot.py")
    chosen = holder.value.to_dict()
  except UserError:
    raise
  except (flags.Error, KeyError, AttributeError, ValueError, TypeError, OSError, ImportError, SyntaxError) as error:
    raise UserError(" ".join(str(error).replace("\\n", " ").split()).strip("'\"")) from error
  file, _, recipe = (
    next(a for a in [*argv, ""] if a.endswith(".py") or ".py:" in a or not a).removeprefix("--config=").partition(":")
  )
  name = "-".join([pathlib.Path(file).stem, *filter(None, recipe.split(","))])
  return read(Config, chosen), pathlib.Path(folder.value or pathlib.Path("runs") / name)


if __name__ == "__main__":
  sys.exit(main())
