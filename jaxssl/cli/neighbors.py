"""`neighbors`: lists the images of an embedding file that are nearest to one image."""

from typing import Any

from jaxssl.cli.options import add_plugins
from jaxssl.config.flags import Parser
from jaxssl.core.paths import path_of


def parser() -> Parser:
  """Returns the command's parser."""
  result = Parser("neighbors", "list the images of an embedding file that are nearest to one image by cosine similarity")
  result.add_argument("--embeddings", metavar="FILE", type=path_of, required=True, help="a file that `jaxssl embed` wrote")
  result.add_argument("--image", required=True, help="a path in that file, or any image file, which is then embedded")
  result.add_argument("--k", metavar="K", type=int, default=10, help="number of images (default: 10)")
  result.add_argument("--sheet", metavar="OUT.png", type=path_of, help="also draw the images to this file")
  result.add_argument("--workdir", metavar="DIR", type=path_of, help="the run, if it was moved after embedding")
  add_plugins(result)
  return result


def run(**options: Any) -> None:
  """Prints the neighbors."""
  from jaxssl import api
  from jaxssl.evals.nearest_images import table

  print(table(api.neighbors(**options)))
