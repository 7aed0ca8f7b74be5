"""Epochs from files to updated weights, at 224 pixels: python -m benchmarks.whole [--json FILE].

Trains SimCLR on generated JPEGs of 500 x 375, decoded and cropped on the host by all cores, and compares it with the same
network and loss in PyTorch with PIL's transforms in a DataLoader with one worker per core. Requires torch. Without an
accelerator, uses a narrow ResNet-18 in float32.
"""

import itertools
import pathlib
import time
from collections.abc import Callable, Iterator

import jax
import numpy as np

from benchmarks.input import generate_jpegs
from benchmarks.runs import build_run
from benchmarks.table import Row, main

SIDE, ROUNDS = 224, 3
NETWORKS = {"ResNet-50": ("resnet50", 256, 1.0, 5120), "ViT-S/16": ("vit_s", 256, 1.0, 5120)}  # name, batch, width, images
NARROW = {"ResNet-18 of a quarter's width": ("resnet18", 32, 0.25, 256)}


def rows() -> Iterator[Row]:
  """Measures images/s over whole epochs, excluding the first."""
  from benchmarks.torch_step import loader, stepper

  accelerator = jax.default_backend() != "cpu"
  for title, (name, batch, width, images) in (NETWORKS if accelerator else NARROW).items():
    folder = generate_jpegs(images)
    precision = "bfloat16" if accelerator else "float32"
    fields = [f"model.name={name}", f"model.width={width}", "model.stem=imagenet", f"train.batch_size={batch}"]
    fields += [f"train.precision={precision}", "data.source=folder", f"data.path={folder}", "data.placement=host"]
    run = build_run("simclr.py", *fields, side=SIDE)
    state, numbers = run.init(), itertools.count()
    view, step = run.config.views["global"], stepper(name, SIDE, batch, width, accelerator)
    batches = loader(sorted(pathlib.Path(folder).iterdir()), view, batch)

    def ours(run=run, numbers=numbers) -> None:  # noqa: ANN001
      nonlocal state
      for rows in run.batches(state, next(numbers), 0):
        state, logs = run.step(state, rows)
      jax.block_until_ready(logs)

    def theirs(step=step, batches=batches) -> None:  # noqa: ANN001
      for views in batches:
        step(views)

    speeds: dict[Callable[[], None], list[float]] = {ours: [], theirs: []}
    for _ in range(ROUNDS + 1):
      for epoch, rates in speeds.items():
        start = time.perf_counter()
        epoch()
        rates.append(images // batch * batch / (time.perf_counter() - start))
    mine, peer = (float(np.median(rates[1:])) for rates in speeds.values())
    yield Row(name=f"SimCLR, {title}, {precision}", value=mine, unit="images/s", peer="PyTorch, DataLoader", peer_value=peer)


if __name__ == "__main__":
  main(rows)
