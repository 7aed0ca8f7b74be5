"""Write a web page that shows whether a run learned and what; several runs are compared."""

import pathlib

from jaxssl.cli.options import add_plugins
from jaxssl.config.flags import Parser


def add_options(parser: Parser) -> None:
  parser.add_argument("--workdir", metavar="DIR", nargs="+", required=True, help="the runs' folders")
  parser.add_argument(
    "--out",
    metavar="FILE",
    help="the page; the numbers of several runs are beside it, as .csv and .md (default: report.html in the first workdir)",
  )
  add_plugins(parser)


def run(workdir: list[pathlib.Path], out: pathlib.Path | None) -> None:
  from jaxssl import api

  api.report(*workdir, out=out)
