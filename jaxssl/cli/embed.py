"""Write features, path, class and split of every image to a file; rerun the same command to resume after an interruption."""

from typing import Any

from jaxssl.cli.options import add_run
from jaxssl.config.flags import Parser


def add_options(parser: Parser) -> None:
  add_run(parser)
  parser.add_argument("--out", metavar="FILE", required=True, help="FILE.npz or FILE.parquet")
  parser.add_argument("--patches", action="store_true", help="also write the patch tokens of a ViT")
  parser.add_fields("data", "embed other images, e.g. --data.path=FOLDER_OR_ZIP (default: the run's training and test images)")
  parser.add_fields("evals", "change the network or how images are shown: evals.{network,size,resize,interpolation}")


def run(**options: Any) -> None:
  from jaxssl import api

  api.embed_to_file(**options)
