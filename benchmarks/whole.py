"""Epochs from files to updated weights, at 224 pixels: python -m benchmarks.whole [--json FILE].

Trains SimCLR on generated JPEGs of 500 x 375, decoded and cropped on the host by all cores, and compares it with the same
network and loss in PyTorch with PIL's transforms in a DataLoader with one worker per core. Without an accelerator,
uses a narrow ResNet-18 in float32.
"""

import argparse
import functools
import importlib.util
import itertools
import pathlib
from collections.abc import Callable, Iterator

import jax

from benchmarks.input import generate_jpegs
from benchmarks.results import Row, Skip, Target
from benchmarks.runs import build_run
from benchmarks.step import Network
from benchmarks.table import Case, accelerated, alternate, main

SIDE, ROUNDS = 224, 3
NETWORKS = {"ViT-S/16": (Network("vit_s", SIDE, 256), 5120), "ResNet-50": (Network("resnet50", SIDE, 256), 5120)}  # images
NARROW = {"quarter of ResNet-18": (Network("resnet18", SIDE, 32, 0.25), 256)}
TARGETS = [
  Target(key="SimCLR, ViT-S/16, bfloat16", number=871, unit="images/s", source="public PyTorch, one H200"),
  *(Target(key=f"SimCLR, {name}, bfloat16", number=2, source="PyTorch with all its workers") for name in NETWORKS),
]


def cases(_: argparse.Namespace) -> Iterator[Case]:
  """Measures images/s over whole epochs, excluding the first."""
  for title, (network, images) in (NETWORKS if accelerated() else NARROW).items():
    key = f"SimCLR, {title}, {'bfloat16' if accelerated() else 'float32'}"
    yield Case(key=key, run=functools.partial(rows, key, network, images), cpu=150, gpu=240)


def rows(key: str, network: Network, images: int) -> Iterator[Row | Skip]:
  folder, batch = generate_jpegs(images), network.batch
  fields = [*network.fields, f"train.batch_size={batch}", f"train.precision={key.rpartition(' ')[2]}"]
  run = build_run("simclr.py", *fields, "data.source=folder", f"data.path={folder}", "data.placement=host", side=SIDE)
  state, numbers = run.init(), itertools.count()

  def ours() -> None:
    nonlocal state
    for batch_rows in run.batches(state, next(numbers), 0):
      state, logs = run.step(state, batch_rows)
    jax.block_until_ready(logs)

  epochs: dict[str, Callable[[], None]] = {"ours": ours}
  if importlib.util.find_spec("torch"):
    from benchmarks.torch_step import loader, stepper

    step = stepper(network.name, SIDE, batch, network.width, accelerated())
    batches = loader(sorted(pathlib.Path(folder).iterdir()), run.config.views["global"], batch)

    def theirs() -> None:
      for views in batches:
        step(views)

    epochs["theirs"] = theirs
  else:
    yield Skip(key=f"{key}: PyTorch", reason="torch is not installed")
  rates = {name: images // batch * batch / seconds for name, seconds in alternate(epochs, ROUNDS).items()}
  peer = "PyTorch, DataLoader" if "theirs" in rates else ""
  yield Row(key=key, value=rates["ours"], unit="images/s", peer=peer, peer_value=rates.get("theirs"))


if __name__ == "__main__":
  main("whole", cases, TARGETS)
