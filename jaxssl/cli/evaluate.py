"""`evaluate`: measures what a run has learned again, by other protocols or on other images."""

from collections.abc import Sequence

import jax

from jaxssl.config import flags
from jaxssl.core import log as runlog
from jaxssl.core.errors import UserError
from jaxssl.core.paths import path_of
from jaxssl.evals import load_run
from jaxssl.evals.evaluator import EVALUATIONS
from jaxssl.parallel import processes
from jaxssl.workdir import results


def evaluate(argv: Sequence[str]) -> int:
  """Runs `evaluate [NAME ...] --workdir DIR [--step N] [--evals.FIELD=VALUE] [--data.FIELD=VALUE]`."""
  parser = flags.Parser(add_help=False, allow_abbrev=False)
  parser.add_argument("names", nargs="*")
  parser.add_argument("--workdir", type=path_of, required=True)
  parser.add_argument("--step", type=int)
  known, words = flags.known(parser, argv)
  config = load_run.read_config(known.workdir, words)
  names = known.names or list(config.evals.final)
  for name in names:
    if name not in EVALUATIONS:
      raise UserError(f"{name} is no evaluation; allowed: {', '.join(EVALUATIONS)}")
  runlog.start(None, jax.process_index())
  student, teacher, step, measure = load_run.open_run(known.workdir, config, known.step)
  measure.require(names)
  for name in names:
    with runlog.heartbeat(f"measuring {name}"):
      found = measure.of(student, teacher, [name])
    if processes.is_primary():
      results.add(known.workdir / "results.json", step, found)
    for m in found:
      runlog.LOG.info("%-32s %9.3f%s", m.name, m.value, "" if m.deviation is None else f" ± {m.deviation:.3f}")
  runlog.LOG.info("step %d, %s network; protocols are in %s", step, measure.network, known.workdir / "results.json")
  return 0
