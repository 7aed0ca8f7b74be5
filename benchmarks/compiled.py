"""Operations, memory traffic and kernels of the compiled step, without running it: python -m benchmarks.compiled [--json FILE].

Compares operations with those of the networks' passes, bytes accessed and kernels with SimCLR's, and bytes from the host with
the size of the views. Compiles for this machine; on a CPU, fewer operations are fused than on an accelerator.
"""

import collections
import re
from collections.abc import Iterator
from typing import Any

import jax

from benchmarks.runs import build_run, model_flops
from benchmarks.step import METHODS, NETWORKS
from benchmarks.table import Row, main

FREE = {"parameter", "constant", "tuple", "get-tuple-element", "bitcast"}  # opcodes that run nothing
HOST_TRANSFERS = {"infeed", "outfeed", "send", "recv"}
BATCH = 64


def rows() -> Iterator[Row]:
  """Compiles every network and method in float32 at batch size 64."""
  for title, (name, side, _, width) in NETWORKS.items():
    simclr: dict[str, float] = {}
    for method, recipe in METHODS.items():
      fields = [f"model.name={name}", f"model.width={width}", f"model.stem={'cifar' if side <= 64 else 'imagenet'}"]
      run = build_run(recipe, *fields, f"train.batch_size={BATCH}", "train.precision=float32", side=side, num_images=2 * BATCH)
      batch = next(iter(run.batches(run.init(), 0, 0)))
      compiled, label = run.compile_step(batch), f"{method}, {title}"
      opcodes = kernels(compiled.as_text() or "")
      cost: Any = compiled.cost_analysis()
      transfers = sum(opcodes[opcode] for opcode in HOST_TRANSFERS)
      assert transfers == 0, f"{label}: the step transfers data from or to the host {transfers} times"
      flops = cost["flops"] / BATCH / 1e9, model_flops(run) / BATCH / 1e9
      yield Row(name=label, value=flops[0], unit="GFLOP an image", peer="the networks' passes", peer_value=flops[1])
      for kind, unit, value in (("moved", "GB", cost["bytes accessed"] / 1e9), ("run", "kernels", opcodes.total())):
        yield Row(name=f"{label}: {kind}", value=value, unit=unit, peer="SimCLR", peer_value=simclr.setdefault(kind, value))
      views = BATCH * sum(group.count * 3 * group.size**2 for group in run.config.views.values())
      host_bytes = sum(leaf.nbytes for leaf in jax.tree.leaves(batch))
      yield Row(name=f"{label}: from the host", value=host_bytes / 1e3, unit="kB", peer="the views", peer_value=views / 1e3)


def kernels(text: str) -> collections.Counter[str]:
  """Counts the opcodes in the entry computation of an HLO text, without those in FREE."""
  entry = text[text.index("\nENTRY ") :]
  opcodes = collections.Counter(re.findall(r"^\s+(?:ROOT )?%\S+ = .*? ([a-z][a-z0-9-]*)\(", entry, re.MULTILINE))
  return collections.Counter({opcode: count for opcode, count in opcodes.items() if opcode not in FREE})


if __name__ == "__main__":
  main(rows)
