"""Times functions, and runs the cases of a benchmark: prints their rows and writes them as JSON."""

import argparse
import dataclasses
import os
import pathlib
import statistics
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # leaves memory for torch if it is the peer

import jax  # noqa: E402

from benchmarks.machine import header  # noqa: E402
from benchmarks.results import ResultFile, Row, Skip, Target, Unavailable  # noqa: E402


@dataclasses.dataclass(frozen=True, kw_only=True)
class Case:
  """Rows that are measured together. Only whole cases are skipped, or kept when a benchmark is resumed."""

  key: str
  run: Callable[[], Iterable[Row | Skip]]  # may raise Unavailable
  cpu: float | None = None  # roughly, its seconds on two cores; None: not measured without an accelerator
  gpu: float | None = None  # the same on one GPU; None: not measured with an accelerator


def accelerated() -> bool:
  """Whether JAX has an accelerator."""
  return jax.default_backend() != "cpu"


def seconds(run: Callable[[], Any], rounds: int = 30) -> float:
  """Returns the median seconds of `run` over `rounds`, after a warm-up round; waits for the JAX arrays that it returns."""
  return alternate({"": run}, rounds)[""]


def alternate(runs: Mapping[str, Callable[[], Any]], rounds: int) -> dict[str, float]:
  """Returns the median seconds of each function. They take turns, so that a slow phase of the machine affects all of them."""
  times: dict[str, list[float]] = {name: [] for name in runs}
  for _ in range(rounds + 1):
    for name, run in runs.items():
      start = time.perf_counter()
      jax.block_until_ready(run())
      times[name].append(time.perf_counter() - start)
  return {name: statistics.median(values[1:]) for name, values in times.items()}  # the first round warms up


def main(
  name: str,
  cases: Callable[[argparse.Namespace], Iterable[Case]],
  targets: Sequence[Target] = (),
  parser: argparse.ArgumentParser | None = None,
) -> None:
  """Runs a benchmark's cases one after the other; a case that fails does not stop the others. `parser`: of its own options."""
  parser = parser or argparse.ArgumentParser(prog=f"python -m benchmarks.{name}", description=cases.__doc__)
  parser.add_argument("--json", metavar="FILE", type=pathlib.Path, help="write the rows to FILE, each when it is measured")
  parser.add_argument("--again", action="store_true", help="measure again what FILE has already")
  parser.add_argument("--seconds", type=float, default=float("inf"), help="skip cases that probably take longer than is left")
  parser.add_argument("--only", metavar="TEXT", default="", help="cases whose key contains TEXT")
  options = parser.parse_args()
  end = time.monotonic() + options.seconds
  file = ResultFile(options.json, header(name), options.again)
  machine = file.header["machine"]
  print(f"{machine['accelerator'] or machine['cpu']}, {machine['cores']} cores; jax {jax.__version__}")
  print(f"{'':<64}{'ours':>10}{'peer':>10}  {'unit':<12}{'ratio':>6}  peer")
  for case in cases(options):
    if options.only in case.key:
      run_case(file, case, targets, end - time.monotonic())
  file.save()
  sys.exit(not file.rows)


def run_case(file: ResultFile, case: Case, targets: Sequence[Target], left: float) -> None:
  """Measures a case unless that was done before, is not possible here, or takes longer than what is left, in seconds."""
  if case.key in file.done:
    print(f"{case.key}: {sum(row['case'] == case.key for row in file.rows)} rows measured before")
    return
  file.begin(case.key)
  expected = case.gpu if accelerated() else case.cpu
  try:
    if expected is None:
      raise Unavailable("not measured with an accelerator" if accelerated() else "needs an accelerator")
    if expected > left:
      raise Unavailable(f"takes about {expected:.0f} s, {max(left, 0):.0f} s left")
    for row in case.run():
      if isinstance(row, Skip):
        file.skip(row)
        print(f"{row.key}: skipped, {row.reason}", flush=True)
      else:
        print_row(file.add(case.key, row, targets))
    file.finish(case.key)
  except Unavailable as error:
    file.finish(case.key, str(error))
    print(f"{case.key}: skipped, {error}", flush=True)
  except Exception as error:  # the next case may still be measured; `all` depends on it
    traceback.print_exc()
    lines = str(error).strip().splitlines()
    reason = f"{type(error).__name__}: {lines[0] if lines else ''}"
    file.finish(case.key, f"failed with {reason}")
    print(f"{case.key}: failed, {reason}", flush=True)


def print_row(row: dict[str, Any]) -> None:
  """Prints a row as it is written in the JSON."""
  peer, ratio = (f"{row[name]:.4g}" if row[name] is not None else "" for name in ("peer_value", "ratio"))
  met = "".join(f"; target {target['number']:g} {'met' if target['met'] else 'missed'}" for target in row["targets"])
  note = f"; {row['note']}" if row["note"] else ""
  print(f"{row['key']:<64}{row['value']:>10.4g}{peer:>10}  {row['unit']:<12}{ratio:>6}  {row['peer']}{met}{note}", flush=True)
