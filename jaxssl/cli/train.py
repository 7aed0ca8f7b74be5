"""`train`: trains a run, evaluates it and writes its report."""

from collections.abc import Sequence

from jaxssl.config import flags
from jaxssl.report import page
from jaxssl.train import loop


def train(argv: Sequence[str]) -> int:
  """Runs `[train] --config FILE[:RECIPE] [--workdir DIR] [--config.FIELD=VALUE ...]`."""
  config, workdir = flags.parse(argv)
  return loop.train(config, workdir, report=page.write_report)
