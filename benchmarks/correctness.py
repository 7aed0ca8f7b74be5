"""The numeric tests on an accelerator: python -m benchmarks.correctness [--json FILE]. Needs pytest and pytest-xdist.

Float32 products are exact (`JAX_DEFAULT_MATMUL_PRECISION=highest`), as on a CPU, where `make test` runs the same tests.
"""

import argparse
import functools
import importlib.util
import os
import pathlib
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from xml.etree import ElementTree

from benchmarks.machine import CHECKOUT
from benchmarks.results import Row, Target, Unavailable
from benchmarks.table import Case, accelerated, main

SELECTED = {  # files or folders of tests, and roughly their seconds
  "losses": 60, "ops": 60, "bootstrap": 90, "models": 240, "augment": 120, "methods": 240, "evals/test_knn.py": 60,
  "evals/test_clustering_metrics.py": 60, "train/test_step.py": 120, "train/test_optimizer.py": 60, "test_methods.py": 400,
}  # fmt: skip
NAMED = 10  # failures in a note
TARGETS = [Target(key="*", number=1, source="every test that runs passes")]


def cases(_: argparse.Namespace) -> Iterator[Case]:
  """Runs the numeric tests, one file or folder at a time."""
  if not accelerated():
    yield Case(key="the numeric tests", run=list)
    return
  for name, expected in SELECTED.items():
    yield Case(key=f"tests/{name}", run=functools.partial(rows, f"tests/{name}"), gpu=expected)


def rows(path: str) -> Iterator[Row]:
  """Counts the tests that pass; the note names those that fail, and counts those that are skipped."""
  if not importlib.util.find_spec("pytest"):
    raise Unavailable("pytest is not installed (pip install -e '.[dev]')")
  import jax

  environment = os.environ | {
    "JAX_PLATFORMS": {"gpu": "cuda,cpu"}.get(jax.default_backend(), jax.default_backend()),
    "JAX_DEFAULT_MATMUL_PRECISION": "highest",
    "XLA_PYTHON_CLIENT_PREALLOCATE": "false",  # this process has a part of the memory
  }
  with tempfile.TemporaryDirectory() as folder:
    report = pathlib.Path(folder) / "report.xml"
    words = ["-m", "not full", "-p", "no:cacheprovider", "--tb=line", f"--junitxml={report}"]
    run = subprocess.run([sys.executable, "-m", "pytest", path, *words], cwd=CHECKOUT, env=environment, stdout=sys.stderr)
    if not report.exists():
      raise RuntimeError(f"pytest {path} ended with exit code {run.returncode}")
    yield row(path, report.read_text())


def row(path: str, report: str) -> Row:
  """Returns the row of a JUnit report."""
  tests = list(ElementTree.fromstring(report).iter("testcase"))
  failed = [test.get("name", "") for test in tests if test.find("failure") is not None or test.find("error") is not None]
  skipped = sum(test.find("skipped") is not None for test in tests)
  ran = len(tests) - skipped
  names = f": {', '.join(failed[:NAMED])}{' and others' if len(failed) > NAMED else ''}" if failed else ""
  note = f"{len(failed)} failed{names}; {skipped} skipped"
  return Row(key=path, value=ran - len(failed), unit="tests", peer="run", peer_value=ran, note=note)


if __name__ == "__main__":
  main("correctness", cases, TARGETS)
