"""Write a run's network, or a classifier, for other libraries; the files appear only if they load and compute the same."""

from jaxssl.cli.options import add_run
from jaxssl.config.flags import Parser


def add_options(parser: Parser) -> None:
  add_run(parser)
  formats = "flax (for jaxssl.load_pretrained), timm, torchvision, onnx, or stablehlo (for any JAX)"
  parser.add_argument("--format", required=True, help=formats)
  parser.add_argument("--out", metavar="DIR", required=True, help="a new or empty folder, or gs://BUCKET/NAME")
  parser.add_argument("--heads", action="store_true", help="also export projector and predictor (flax)")
  help = "a classifier that `jaxssl evaluate --keep` kept (default: the only one) and its network: the output is logits"
  parser.add_argument("--classifier", metavar="NAME", nargs="?", const=True, default=False, help=help)
  help = "the file takes values of images (uint8; uint16 above 8 bits) and normalizes them (onnx, stablehlo)"
  parser.add_argument("--with-preprocessing", action="store_true", help=help)
  parser.add_argument("--license", metavar="NAME", help="license named in the model card, e.g. mit")
  parser.add_fields("evals", "change the network or how images are shown: evals.{network,size,resize,interpolation}")
