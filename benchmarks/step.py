"""Whole training steps, from images in device memory to updated weights: python -m benchmarks.step [--json FILE].

Compares TFLOP/s with the peak of the machine, and images/s with the same network and loss in PyTorch if torch is installed.
The PyTorch step reads finished views; the jaxssl step also augments. Without an accelerator, uses a narrow float32 ResNet-18.
"""

import importlib.util
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp

from benchmarks.runs import build_run, model_flops
from benchmarks.table import Row, main, seconds

METHODS = {"SimCLR": "simclr.py", "AdaSim": "nnboot.py:cifar10", "ISD": "isd.py", "ReSA": "resa.py"}
PEAK = {"H200": (989e12, 495e12), "H100": (989e12, 495e12), "A100": (312e12, 156e12)}  # bfloat16, float32 by TF32; dense
NETWORKS: dict[str, tuple[str, int, int, float]] = {  # name, pixels, batch, width
  "ResNet-18, 32 pixels": ("resnet18", 32, 512, 1.0),
  "ResNet-50, 224 pixels": ("resnet50", 224, 256, 1.0),
  "ViT-S/16, 224 pixels": ("vit_s", 224, 256, 1.0),
}
NARROW = {"ResNet-18 of a quarter's width, 32 pixels": ("resnet18", 32, 128, 0.25)}
STEPS = 5  # between two waits for the device
PRODUCT = 2048  # side of the matrices whose product measures the peak of a machine that is not listed


def peak(precision: str) -> tuple[float, str]:
  """Returns the peak operations per second of the machine, and the source of that number."""
  kind = jax.devices()[0].device_kind
  for name, (half, single) in PEAK.items():
    if name in kind:
      return (half if precision == "bfloat16" else single), f"peak of the {name} (data sheet)"
  x = jnp.ones((PRODUCT, PRODUCT), precision)
  product = jax.jit(lambda x: x @ x)
  return 2 * PRODUCT**3 / seconds(lambda: product(x), rounds=5), f"a {PRODUCT} matrix product"


def rows() -> Iterator[Row]:
  """Measures every network and method on one device, in both precisions on an accelerator."""
  accelerator = jax.default_backend() != "cpu"
  for title, (name, side, batch, width) in (NETWORKS if accelerator else NARROW).items():
    for precision in ("bfloat16", "float32") if accelerator else ("float32",):
      top, source = peak(precision)
      for method, recipe in METHODS.items():
        fields = [f"model.name={name}", f"model.width={width}", f"model.stem={'cifar' if side <= 64 else 'imagenet'}"]
        run = build_run(
          recipe, *fields, f"train.batch_size={batch}", f"train.precision={precision}", side=side, num_images=2 * batch
        )
        elapsed, memory = step_seconds(run)
        label = f"{method}, {title}, {precision}"
        yield Row(name=label, value=model_flops(run) / elapsed / 1e12, unit="TFLOP/s", peer=source, peer_value=top / 1e12)
        if accelerator:
          yield Row(name=f"{label}: memory", value=memory / 1e9, unit="GB", peer="the device", peer_value=device_memory() / 1e9)
        if method == "SimCLR" and importlib.util.find_spec("torch"):
          from benchmarks.torch_step import stepper

          torch_step = stepper(name, side, batch, width, precision == "bfloat16")
          theirs = seconds_per_step(lambda step=torch_step: [step(wait=i == STEPS - 1) for i in range(STEPS)])
          unit, peer = "images/s", "PyTorch, channels-last" + (", compiled" if accelerator else "")
          yield Row(name=label, value=batch / elapsed, unit=unit, peer=peer, peer_value=batch / theirs)


def step_seconds(run: Any) -> tuple[float, int]:
  """Returns the seconds per step in a sequence of steps, and the bytes of temporaries."""
  state, step = run.init(), 0
  batches = list(run.batches(state, 0, 0))
  compiled = run.compile_step(batches[0])
  state, logs = compiled(state, batches[0], run.train.resident)
  jax.block_until_ready(logs)

  def several() -> Any:
    nonlocal state, step
    for _ in range(STEPS):
      step += 1
      state, logs = compiled(state, batches[step % len(batches)], run.train.resident)
    return logs

  memory: Any = compiled.memory_analysis()
  return seconds_per_step(several), memory.temp_size_in_bytes


def seconds_per_step(several: Callable[[], Any]) -> float:
  """Times a function that makes STEPS steps and waits for the last one."""
  return seconds(several, rounds=2 if jax.default_backend() == "cpu" else 7) / STEPS


def device_memory() -> float:
  """Returns the bytes of memory that programs can use on the first device."""
  return jax.devices()[0].memory_stats()["bytes_limit"]


if __name__ == "__main__":
  main(rows)
