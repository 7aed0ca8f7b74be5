"""Evaluate a run again, by other protocols or on other images, and add to its results.json."""

from jaxssl.cli.options import add_distributed, add_run
from jaxssl.config.flags import Parser


def add_options(parser: Parser) -> None:
  parser.add_argument("names", metavar="NAME", nargs="*", help="an evaluation, such as knn (default: the run's evals.final)")
  add_run(parser)
  help = "also keep the classifiers that linear or finetune fit in the workdir, for export --classifier and predict"
  parser.add_argument("--keep", action="store_true", help=help)
  parser.add_fields("evals", "change a protocol, e.g. --evals.knn.k=1,20 --evals.linear.solvers=sgd --evals.network=student")
  parser.add_fields("data", "evaluate on other images, e.g. --data.path=FOLDER")
  add_distributed(parser)
