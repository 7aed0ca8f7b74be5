"""`report`: one web page on a run, or on several side by side."""

from collections.abc import Sequence

from jaxssl.config import flags
from jaxssl.core import log as runlog
from jaxssl.core.paths import path_of
from jaxssl.report.page import write
from jaxssl.workdir.workdir import Workdir


def report(argv: Sequence[str]) -> int:
  """Runs `report --workdir DIR [DIR ...] [--out FILE]`."""
  parser = flags.Parser(add_help=False, allow_abbrev=False)
  parser.add_argument("--workdir", type=path_of, nargs="+", required=True)
  parser.add_argument("--out", type=path_of)
  known = parser.parse_args(list(argv))
  runlog.start(None)
  out = known.out or Workdir(known.workdir[0]).report
  runlog.LOG.info("%s, %.1f MB", out, write([(Workdir(folder), None) for folder in known.workdir], out) / 1e6)
  return 0
