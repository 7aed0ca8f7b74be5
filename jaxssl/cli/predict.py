"""Classify images by a classifier that `jaxssl evaluate --keep` fitted, and write image, class and probability as CSV."""

from typing import Any

from jaxssl.cli.options import add_plugins
from jaxssl.config.flags import Parser


def add_options(parser: Parser) -> None:
  help = "an export with a classifier (`jaxssl export --classifier` as flax or onnx), or a run's workdir with one"
  parser.add_argument("--model", metavar="DIR", required=True, help=help)
  parser.add_argument("--data", metavar="FOLDER_OR_ZIP", required=True, help="the images")
  parser.add_argument("--out", metavar="FILE.csv", required=True, help="the file to write; it must not exist")
  parser.add_argument("--top", metavar="K", type=int, default=1, help="write the K most probable classes (default: 1)")
  parser.add_argument("--classifier", metavar="NAME", default=True, help="one of several classifiers in a workdir")
  parser.add_fields("data", "change how the images are read, e.g. --data.list_path=FILE for some of them")
  add_plugins(parser)


def run(**options: Any) -> None:
  from jaxssl import api

  api.predict_to_file(**options)
