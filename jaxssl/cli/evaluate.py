"""`evaluate`: evaluates a run again, by other protocols or on other images."""

from typing import Any

from jaxssl.cli.options import add_distributed, add_run
from jaxssl.config.flags import Parser


def parser() -> Parser:
  """Returns the command's parser."""
  result = Parser("evaluate", "evaluate a run again, by other protocols or on other images, and add to its results.json")
  result.add_argument("names", metavar="NAME", nargs="*", help="an evaluation, such as knn (default: the run's evals.final)")
  add_run(result)
  result.add_fields("evals", "change a protocol, e.g. --evals.knn.k=1,20 --evals.linear.solvers=sgd --evals.network=student")
  result.add_fields("data", "evaluate on other images, e.g. --data.path=FOLDER")
  add_distributed(result)
  return result


def run(**options: Any) -> None:
  """Evaluates."""
  from jaxssl import api

  api.evaluate(**options)
