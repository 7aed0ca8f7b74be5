"""What the compiled step holds, counted without running it: python -m benchmarks.compiled [--json FILE].

Operations beside those of the networks' passes; bytes moved and kernels beside SimCLR's; what crosses from the host beside the
views themselves. Compiled for this machine: an accelerator fuses more.
"""

import collections
import re
from collections.abc import Iterator
from typing import Any

import jax

from benchmarks.runs import made, model_flops
from benchmarks.step import METHODS, NETWORKS
from benchmarks.table import Row, main

FREE = {"parameter", "constant", "tuple", "get-tuple-element", "bitcast"}  # opcodes that do nothing when the step runs
CROSSING = {"infeed", "outfeed", "send", "recv"}
BATCH = 64


def rows() -> Iterator[Row]:
  """Every network and method, float32, a batch of 64."""
  for title, (name, side, _, width) in NETWORKS.items():
    simclr: dict[str, float] = {}
    for method, recipe in METHODS.items():
      fields = [f"model.name={name}", f"model.width={width}", f"model.stem={'cifar' if side <= 64 else 'imagenet'}"]
      run = made(recipe, *fields, f"train.batch_size={BATCH}", "train.precision=float32", side=side, num_images=2 * BATCH)
      batch = next(iter(run.batches(run.init(), 0, 0)))
      compiled, label = run.compile_step(batch), f"{method}, {title}"
      found = kernels(compiled.as_text() or "")
      cost: Any = compiled.cost_analysis()
      crossing = sum(found[opcode] for opcode in CROSSING)
      assert crossing == 0, f"{label}: the step waits for the host {crossing} times"
      flops = cost["flops"] / BATCH / 1e9, model_flops(run) / BATCH / 1e9
      yield Row(name=label, value=flops[0], unit="GFLOP an image", peer="the networks' passes", peer_value=flops[1])
      for what, unit, value in (("moved", "GB", cost["bytes accessed"] / 1e9), ("run", "kernels", found.total())):
        yield Row(name=f"{label}: {what}", value=value, unit=unit, peer="SimCLR", peer_value=simclr.setdefault(what, value))
      views = BATCH * sum(group.count * 3 * group.size**2 for group in run.config.views.values())
      crossed = sum(leaf.nbytes for leaf in jax.tree.leaves(batch))
      yield Row(name=f"{label}: from the host", value=crossed / 1e3, unit="kB", peer="the views", peer_value=views / 1e3)


def kernels(text: str) -> collections.Counter[str]:
  """Opcodes of the entry computation of an HLO text that run something."""
  entry = text[text.index("\nENTRY ") :]
  found = collections.Counter(re.findall(r"^\s+(?:ROOT )?%\S+ = .*? ([a-z][a-z0-9-]*)\(", entry, re.MULTILINE))
  return collections.Counter({opcode: count for opcode, count in found.items() if opcode not in FREE})


if __name__ == "__main__":
  main(rows)
