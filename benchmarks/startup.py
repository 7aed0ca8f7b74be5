"""Time from the command to the first step, without and with caches: python -m benchmarks.startup [--json FILE]."""

import argparse
import functools
import os
import pathlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator

from benchmarks.results import Row, Target
from benchmarks.table import Case, main

RECIPES = ("configs/nnboot.py", "configs/nnboot.py:runlocal", "configs/simclr.py:runlocal")
TARGETS = [Target(key="configs/nnboot.py: second start", number=8, unit="s", source="to the first step of the demo")]


def first_step(recipe: str, cache: str) -> float:
  """Returns the seconds until a run logs step 1, and kills the run."""
  environment = os.environ | {"XDG_CACHE_HOME": cache}
  command = [sys.executable, "-m", "jaxssl.main", f"--config={recipe}", f"--workdir={tempfile.mkdtemp()}"]
  start = time.perf_counter()
  process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True, cwd=pathlib.Path(__file__).parents[1])
  assert process.stderr is not None
  for line in process.stderr:
    if line.startswith("step 1/"):
      break
  elapsed = time.perf_counter() - start
  process.kill()
  process.communicate()
  assert process.returncode < 0, f"{recipe} ended before its first step"
  return elapsed


def cases(_: argparse.Namespace) -> Iterator[Case]:
  """Compares the second start of each recipe with the first."""
  for recipe in RECIPES:
    yield Case(key=recipe, run=functools.partial(rows, recipe), cpu=60, gpu=90)


def rows(recipe: str) -> Iterator[Row]:
  with tempfile.TemporaryDirectory() as cache:
    first = first_step(recipe, cache)
    second = min(first_step(recipe, cache) for _ in range(2))
  yield Row(key=f"{recipe}: second start", value=second, unit="s", peer="first start", peer_value=first)


if __name__ == "__main__":
  main("startup", cases, TARGETS)
