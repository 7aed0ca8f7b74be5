"""Whole training steps, from images in device memory to updated weights: python -m benchmarks.step [--json FILE].

Compares images/s with the same network and loss in PyTorch, if torch is installed, and TFLOP/s with the peak of the machine.
The PyTorch step reads finished views; the jaxssl step also augments. Without an accelerator, uses a narrow float32 ResNet-18.
"""

import argparse
import dataclasses
import functools
import importlib.util
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp

from benchmarks.results import Row, Skip, Target
from benchmarks.runs import build_run, model_flops
from benchmarks.table import Case, accelerated, alternate, main, seconds
from jaxssl.train.setup import Experiment

METHODS = {"SimCLR": "simclr.py", "AdaSim": "nnboot.py:cifar10", "ISD": "isd.py", "ReSA": "resa.py"}
PEAK = {"H200": (989e12, 495e12), "H100": (989e12, 495e12), "A100": (312e12, 156e12)}  # bfloat16, float32 by TF32; dense


@dataclasses.dataclass(frozen=True)
class Network:
  """A network, the images that it is measured with, and how often."""

  name: str
  side: int
  batch: int
  width: float = 1.0

  @property
  def fields(self) -> list[str]:
    """The changes of a recipe that select the network."""
    return [f"model.name={self.name}", f"model.width={self.width}", f"model.stem={'cifar' if self.side <= 64 else 'imagenet'}"]


NETWORKS = {
  "ResNet-18, 32 pixels": Network("resnet18", 32, 512),
  "ViT-S/16, 224 pixels": Network("vit_s", 224, 256),
  "ResNet-50, 224 pixels": Network("resnet50", 224, 256),
}
NARROW = {"quarter of ResNet-18, 32 pixels": Network("resnet18", 32, 128, 0.25)}
DEMO = "the demo (configs/nnboot.py), as it is"
CIFAR = 50_000  # images of an epoch
PRODUCT = 2048  # side of the matrices whose product measures the peak of a machine that is not listed

TARGETS = [
  Target(key="AdaSim, ResNet-18, 32 pixels, bfloat16: an epoch of CIFAR-10", number=2.0, unit="s", source="one H100 or H200"),
  Target(key="*, ResNet-18, 32 pixels, bfloat16", number=25_000, unit="images/s", source="one H100 or H200"),
  *(
    Target(key=f"SimCLR, {network}, bfloat16", number=1.0, source="PyTorch, compiled, in the same run") for network in NETWORKS
  ),
  Target(key="SimCLR, ViT-S/16, 224 pixels, bfloat16", number=2680, unit="images/s", source="public PyTorch, one H200"),
  Target(key="*, ViT-S/16, 224 pixels, bfloat16: of the peak", number=0.40, source="of the peak by the data sheet"),
  Target(key="*, ResNet-50, 224 pixels, bfloat16: of the peak", number=0.30, source="of the peak by the data sheet"),
  *(
    Target(key=f"SimCLR, {network}, float32", number=number, jax=jax_version, source="PyTorch in the same run")
    for network in NARROW
    for jax_version, number in (("0.10", 0.45), ("0.12", 0.50))
  ),
]


def cases(_: argparse.Namespace) -> Iterator[Case]:
  """Measures every network and method on one device: the most important ones first, in both precisions on an accelerator."""
  if not accelerated():
    for method in METHODS:
      for title, network in NARROW.items():
        yield case(method, title, network, "float32")
  else:
    for precision, methods in (("bfloat16", ("SimCLR", "AdaSim")), ("bfloat16", ("ISD", "ReSA")), ("float32", METHODS)):
      for title, network in NETWORKS.items():
        for method in methods:
          yield case(method, title, network, precision)
  yield Case(key=DEMO, run=demo, cpu=30, gpu=60)


def case(method: str, title: str, network: Network, precision: str) -> Case:
  return Case(
    key=f"{method}, {title}, {precision}",
    run=lambda: rows(method, title, network, precision),
    cpu=60 if method == "SimCLR" else 40,
    gpu=150 if method == "SimCLR" else 90,
  )


def rows(method: str, title: str, network: Network, precision: str) -> Iterator[Row | Skip]:
  """Measures a step; SimCLR's and PyTorch's take turns."""
  label, batch = f"{method}, {title}, {precision}", network.batch
  words = [*network.fields, f"train.batch_size={batch}", f"train.precision={precision}"]
  run = build_run(METHODS[method], *words, side=network.side, num_images=2 * batch)
  several, memory = stepping(run)
  steps: dict[str, Callable[[], Any]] = {"ours": several}
  if method == "SimCLR":
    if importlib.util.find_spec("torch"):
      from benchmarks.torch_step import stepper

      torch_step = stepper(network.name, network.side, batch, network.width, precision == "bfloat16")
      steps["theirs"] = lambda: [torch_step(wait=i == many() - 1) for i in range(many())]
    else:
      yield Skip(key=f"{label}: PyTorch", reason="torch is not installed")
  times = {name: total / many() for name, total in alternate(steps, rounds()).items()}
  theirs = batch / times["theirs"] if "theirs" in times else None
  peer = "PyTorch, channels-last" + (", compiled" if accelerated() else "") if theirs else ""
  yield Row(key=label, value=batch / times["ours"], unit="images/s", peer=peer, peer_value=theirs)
  if network is NETWORKS["ResNet-18, 32 pixels"]:
    yield Row(key=f"{label}: an epoch of CIFAR-10", value=CIFAR / batch * times["ours"], unit="s")
  top, source = peak(precision)
  value = model_flops(run) / times["ours"] / 1e12
  yield Row(key=f"{label}: of the peak", value=value, unit="TFLOP/s", peer=source, peer_value=top / 1e12)
  yield Row(key=f"{label}: memory", value=memory / 1e9, unit="GB")


def demo() -> Iterator[Row]:
  """Measures the demo's step."""
  run = build_run("nnboot.py", "data.placement=device", side=None)
  several, memory = stepping(run)
  elapsed = seconds(several, rounds()) / many()
  yield Row(key=DEMO, value=run.config.train.batch_size / elapsed, unit="images/s")
  yield Row(key=f"{DEMO}: memory", value=memory / 1e9, unit="GB")


@functools.cache
def peak(precision: str) -> tuple[float, str]:
  """Returns the peak operations per second of the machine, and the source of that number."""
  kind = jax.devices()[0].device_kind
  for name, (half, single) in PEAK.items():
    if name in kind:
      return (half if precision == "bfloat16" else single), f"peak of the {name} (data sheet)"
  x = jnp.ones((PRODUCT, PRODUCT), precision)
  product = jax.jit(lambda x: x @ x)
  return 2 * PRODUCT**3 / seconds(lambda: product(x), rounds=5), f"a {PRODUCT} matrix product"


def many() -> int:
  """Returns the number of steps between two waits for the device."""
  return 10 if accelerated() else 2


def rounds() -> int:
  """Returns the number of times that these steps are measured."""
  return 7 if accelerated() else 5


def stepping(run: Experiment) -> tuple[Callable[[], Any], int]:
  """Returns a function that makes some steps of a run and returns their logs, and the bytes of the step's temporaries."""
  state, step = run.init(), 0
  batches = list(run.batches(state, 0, 0))
  compiled = run.compile_step(batches[0])

  def several() -> Any:
    nonlocal state, step
    for _ in range(many()):
      step += 1
      state, logs = compiled(state, batches[step % len(batches)], run.train.resident)
    return logs

  memory: Any = compiled.memory_analysis()
  return several, memory.temp_size_in_bytes


if __name__ == "__main__":
  main("step", cases, TARGETS)
