"""`embed`: writes the features of images to a file."""

from typing import Any

from jaxssl.cli.options import add_run
from jaxssl.config.flags import Parser
from jaxssl.core.paths import path_of


def parser() -> Parser:
  """Returns the command's parser."""
  result = Parser(
    "embed",
    "write features, path, class and split of every image to a file; rerun the same command to resume after an interruption",
  )
  add_run(result)
  result.add_argument("--out", metavar="FILE", type=path_of, required=True, help="FILE.npz or FILE.parquet")
  result.add_argument("--patches", action="store_true", help="also write the patch tokens of a ViT")
  result.add_fields("data", "embed other images, e.g. --data.path=FOLDER_OR_ZIP (default: the run's training and test images)")
  result.add_fields("evals", "change the network or the image size: evals.network, evals.size, evals.resize")
  return result


def run(**options: Any) -> None:
  """Writes the file."""
  from jaxssl import api

  api.embed_to_file(**options)
