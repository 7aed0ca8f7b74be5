"""Options that several commands share."""

from jaxssl.config.flags import Parser


def add_run(parser: Parser) -> None:
  """Adds `--workdir` and `--step`: the checkpoint of a run."""
  parser.add_argument("--workdir", metavar="DIR", required=True, help="the run's folder, or gs://BUCKET/NAME")
  parser.add_argument("--step", metavar="N", type=int, help="step of the checkpoint (default: the newest)")
  add_plugins(parser)


def add_plugins(parser: Parser) -> None:
  """Adds `--plugins`, the option of commands that open runs."""
  help = "Python file that the run's method, backbone, ... is registered in, if the run was trained on another machine"
  parser.add_argument("--plugins", metavar="FILE", action="append", default=[], help=help)


def add_distributed(parser: Parser) -> None:
  """Adds `--distributed`, the option of commands that several processes run together."""
  help = (
    "auto (default): join the processes of Slurm, Open MPI, a TPU pod, Kubernetes or launch/local.sh, if any; "
    "on: fail if there are none to join; off: never join"
  )
  parser.add_argument("--distributed", metavar="MODE", choices=("auto", "on", "off"), default="auto", help=help)
