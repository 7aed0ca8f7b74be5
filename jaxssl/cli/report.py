"""`report`: writes one HTML page about a run, or about several side by side."""

import pathlib

from jaxssl.cli.options import add_plugins
from jaxssl.config.flags import Parser
from jaxssl.core.paths import path_of


def parser() -> Parser:
  """Returns the command's parser."""
  result = Parser("report", "write a web page that shows whether a run learned and what; several runs are compared")
  result.add_argument("--workdir", metavar="DIR", type=path_of, nargs="+", required=True, help="the runs' folders")
  result.add_argument("--out", metavar="FILE", type=path_of, help="the page (default: report.html in the first workdir)")
  add_plugins(result)
  return result


def run(workdir: list[pathlib.Path], out: pathlib.Path | None) -> None:
  """Writes the report."""
  from jaxssl import api

  api.report(*workdir, out=out)
