"""`export`: writes a run's network in a format of other libraries."""

from typing import Any

from jaxssl.cli.options import add_run
from jaxssl.config.flags import Parser, one_of
from jaxssl.core.paths import path_of

FORMATS = ("flax", "timm", "torchvision", "onnx", "stablehlo")


def parser() -> Parser:
  """Returns the command's parser."""
  result = Parser(
    "export", "write a run's network for other libraries; the files appear only if they load and give the same features"
  )
  add_run(result)
  result.add_argument(
    "--format",
    required=True,
    type=one_of(*FORMATS),
    help="flax (for jaxssl.load_pretrained), timm, torchvision, onnx, or stablehlo (for any JAX)",
  )
  result.add_argument("--out", metavar="DIR", type=path_of, required=True, help="a new or empty folder, or gs://BUCKET/NAME")
  result.add_argument("--heads", action="store_true", help="also export projector and predictor (flax)")
  result.add_argument("--license", metavar="NAME", help="license named in the model card, e.g. mit")
  result.add_fields("evals", "change the network or the image size: evals.network, evals.size, evals.resize")
  return result


def run(**options: Any) -> int:
  """Exports; returns 1 if the exported file computes other features."""
  from jaxssl import api
  from jaxssl.core.log import LOG
  from jaxssl.export.formats import ExportMismatch

  try:
    api.export(**options)
    return 0
  except ExportMismatch as error:
    LOG.error("%s", error)
    return 1
