"""List the images of an embedding file that are nearest to one image by cosine similarity."""

from typing import Any

from jaxssl.cli.options import add_plugins
from jaxssl.config.flags import Parser


def add_options(parser: Parser) -> None:
  parser.add_argument("--embeddings", metavar="FILE", required=True, help="a file that `jaxssl embed` wrote")
  parser.add_argument("--image", required=True, help="a path in that file, or any image file, which is then embedded")
  parser.add_argument("--k", metavar="K", type=int, default=10, help="number of images (default: 10)")
  parser.add_argument("--sheet", metavar="OUT.png", help="also draw the images to this file")
  parser.add_argument("--workdir", metavar="DIR", help="the run, if it was moved after embedding")
  add_plugins(parser)


def run(**options: Any) -> None:
  from jaxssl import api
  from jaxssl.evals.nearest_images import table

  print(table(api.neighbors(**options)))
