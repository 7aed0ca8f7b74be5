"""Operations, memory traffic and kernels of the compiled step, without running it: python -m benchmarks.compiled [--json FILE].

Compares operations with those of the networks' passes, and bytes from the host with
the size of the views. Compiles for this machine; on a CPU, fewer operations are fused than on an accelerator.
"""

import argparse
import collections
import functools
import re
from collections.abc import Iterator
from typing import Any

import jax

from benchmarks.results import Row
from benchmarks.runs import build_run, model_flops
from benchmarks.step import METHODS, NETWORKS, Network
from benchmarks.table import Case, main

FREE = {"parameter", "constant", "tuple", "get-tuple-element", "bitcast"}  # opcodes that run nothing
HOST_TRANSFERS = {"infeed", "outfeed", "send", "recv"}
BATCH = 64


def cases(_: argparse.Namespace) -> Iterator[Case]:
  """Compiles every network and method in float32 at batch size 64."""
  for title, network in NETWORKS.items():
    for method in METHODS:
      key = f"{method}, {title}"
      yield Case(key=key, run=functools.partial(rows, key, METHODS[method], network), cpu=60, gpu=90)


def rows(key: str, recipe: str, network: Network) -> Iterator[Row]:
  words = [*network.fields, f"train.batch_size={BATCH}", "train.precision=float32"]
  run = build_run(recipe, *words, side=network.side, num_images=2 * BATCH)
  batch = next(iter(run.batches(run.init(), 0, 0)))
  compiled = run.compile_step(batch)
  opcodes = kernels(compiled.as_text() or "")
  cost: Any = compiled.cost_analysis()
  transfers = sum(opcodes[opcode] for opcode in HOST_TRANSFERS)
  assert transfers == 0, f"{key}: the step transfers data from or to the host {transfers} times"
  flops = cost["flops"] / BATCH / 1e9, model_flops(run) / BATCH / 1e9
  yield Row(key=key, value=flops[0], unit="GFLOP an image", peer="the networks' passes", peer_value=flops[1])
  yield Row(key=f"{key}: moved", value=cost["bytes accessed"] / 1e9, unit="GB")
  yield Row(key=f"{key}: run", value=opcodes.total(), unit="kernels")
  views = BATCH * sum(group.count * 3 * group.size**2 for group in run.config.views.values())
  host_bytes = sum(leaf.nbytes for leaf in jax.tree.leaves(batch))
  yield Row(key=f"{key}: from the host", value=host_bytes / 1e3, unit="kB", peer="the views", peer_value=views / 1e3)


def kernels(text: str) -> collections.Counter[str]:
  """Counts the opcodes in the entry computation of an HLO text, without those in FREE."""
  entry = text[text.index("\nENTRY ") :]
  opcodes = collections.Counter(re.findall(r"^\s+(?:ROOT )?%\S+ = .*? ([a-z][a-z0-9-]*)\(", entry, re.MULTILINE))
  return collections.Counter({opcode: count for opcode, count in opcodes.items() if opcode not in FREE})


if __name__ == "__main__":
  main("compiled", cases)
