"""`evaluate`: measures the network of a run, by other protocols or on other images."""

from collections.abc import Sequence

import jax

from jaxssl.config import flags
from jaxssl.core import log as runlog
from jaxssl.core.paths import path_of
from jaxssl.evals import load_run
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
  runlog.start(None, jax.process_index())
  run = load_run.load(known.workdir, config, known.step)
  names = known.names or list(config.evals.final)
  run.evaluator.require(names)
  for name in names:
    with runlog.heartbeat(f"measuring {name}"):
      measured = run.evaluator.measure(run.extractor, [name])
    if processes.is_primary():
      results.add(run.workdir.results, run.step, measured)
    for m in measured:
      runlog.LOG.info("%-32s %9.3f%s", m.name, m.value, "" if m.std is None else f" ± {m.std:.3f}")
  runlog.LOG.info("step %d, %s network; protocols are in %s", run.step, run.which, run.workdir.results)
  return 0
