"""Runs every benchmark in order of importance: python -m benchmarks.all [--minutes N] [--out DIR] [--only NAME ...] [--again].

Each runs in its own process and writes DIR/NAME.json after every row, so that nothing is lost if it is stopped. The same
command resumes: rows that DIR has from the same code, machine and versions are kept. What was skipped or failed, and why, is
printed and kept in the JSONs; DIR/all.json has what did not start or ended without a JSON. Fails if nothing was measured.
"""

import argparse
import json
import os
import pathlib
import signal
import subprocess
import sys
import time

from benchmarks import results
from jaxssl.core import atomic

CHECKOUT = pathlib.Path(__file__).parent.parent
ORDER = (
  "correctness step encoder neighbors record whole knn views methods vote clusters input startup packed compiled input_workers"
).split()
SHORTEST = 20.0  # seconds; starting Python and JAX takes most of that


def main() -> int:
  """Runs the benchmarks and returns the exit code."""
  parser = argparse.ArgumentParser(prog="python -m benchmarks.all", description=(__doc__ or "").partition("\n\n")[2])
  parser.add_argument("--minutes", type=float, default=float("inf"), help="stop after that long (default: when all are done)")
  parser.add_argument("--out", metavar="DIR", type=pathlib.Path, help="(default: the machine's folder in benchmarks/results)")
  parser.add_argument("--only", metavar="NAME", nargs="+", choices=ORDER, default=ORDER, help=f"of {' '.join(ORDER)}")
  parser.add_argument("--again", action="store_true", help="measure again what DIR has already")
  options = parser.parse_args()
  end = time.monotonic() + 60 * options.minutes
  out = options.out or results.ROOT / own_folder()
  out.mkdir(parents=True, exist_ok=True)
  signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # `run` then ends its process
  skipped: dict[str, str] = {}
  for name in (name for name in ORDER if name in options.only):
    print(f"\n== {name}", flush=True)
    left = end - time.monotonic()
    if reason := run(name, out, left, options.again) if left > SHORTEST else f"{max(left, 0):.0f} s left":
      skipped[name] = reason
      print(f"{name}: skipped, {reason}", flush=True)
  documents = [document for name in options.only if (document := read(out / f"{name}.json"))]
  print(f"\n{sum(len(document['rows']) for document in documents)} rows in {out}; not measured:")
  missing = [f"{d['benchmark']}: {entry['key']}: {entry['reason']}" for d in documents for entry in d["skipped"]]
  print("\n".join([*(f"{name}: {reason}" for name, reason in skipped.items()), *missing]) or "nothing is missing")
  entries = [{"key": name, "reason": reason} for name, reason in skipped.items()]
  atomic.write_text(out / "all.json", json.dumps({"benchmark": "all", "skipped": entries}, indent=2) + "\n")
  return 0 if any(document["rows"] for document in documents) else 1


def run(name: str, out: pathlib.Path, left: float, again: bool) -> str:
  """Runs a benchmark for at most `left` seconds; returns what went wrong unless its JSON says that."""
  command = [sys.executable, "-m", f"benchmarks.{name}", "--json", str(out.resolve() / f"{name}.json"), f"--seconds={left}"]
  with (out / f"{name}.log").open("w") as log:
    process = subprocess.Popen([*command, *["--again"] * again], cwd=CHECKOUT, stderr=log, start_new_session=True)
    try:
      process.wait(None if left == float("inf") else left)
    except subprocess.TimeoutExpired:
      print(f"{name}: stopped, the time is over")
      return "" if read(out / f"{name}.json") else "stopped before its first row"
    finally:
      if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
  if process.returncode == 0 or read(out / f"{name}.json"):
    return f"killed by signal {-process.returncode}" if process.returncode < 0 else ""
  lines = (out / f"{name}.log").read_text(errors="replace").strip().splitlines()
  return f"failed with {lines[-1] if lines else f'exit code {process.returncode}'}"


def read(path: pathlib.Path) -> dict | None:
  """Returns the JSON of a benchmark, if there is one."""
  return json.loads(path.read_text()) if path.exists() else None


def own_folder() -> str:
  """Returns the folder of this machine's results; asks a process, since JAX would keep the accelerator's memory in this one."""
  command = [sys.executable, "-m", "benchmarks.machine"]
  return subprocess.run(command, cwd=CHECKOUT, stdout=subprocess.PIPE, text=True, check=True).stdout.split()[-1]


if __name__ == "__main__":
  sys.exit(main())
