"""Whole training steps, images in device memory to updated weights: python -m benchmarks.step [--json FILE].

Images a second beside the same network and loss in PyTorch where torch is installed (its step gets ready views: ours cuts its
own), and the share of the machine's peak. Without an accelerator: a narrow ResNet-18 in float32.
"""

import importlib.util
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp

from benchmarks.runs import made, model_flops
from benchmarks.table import Row, main, seconds

METHODS = {"SimCLR": "simclr.py", "AdaSim": "nnboot.py:cifar10", "ISD": "isd.py", "ReSA": "resa.py"}
PEAK = {"H200": (989e12, 495e12), "H100": (989e12, 495e12), "A100": (312e12, 156e12)}  # bfloat16, float32 by TF32; dense
NETWORKS: dict[str, tuple[str, int, int, float]] = {  # name, pixels, batch, width
  "ResNet-18, 32 pixels": ("resnet18", 32, 512, 1.0),
  "ResNet-50, 224 pixels": ("resnet50", 224, 256, 1.0),
  "ViT-S/16, 224 pixels": ("vit_s", 224, 256, 1.0),
}
NARROW = {"ResNet-18 of a quarter's width, 32 pixels": ("resnet18", 32, 128, 0.25)}
PRODUCT = 2048  # rows of the square matrices whose product gives the peak of a machine that is not listed


def peak(precision: str) -> tuple[float, str]:
  """Operations a second that the machine can do at most, and where that is from."""
  kind = jax.devices()[0].device_kind
  for name, (half, single) in PEAK.items():
    if name in kind:
      return (half if precision == "bfloat16" else single), f"peak of the {name} by its data sheet"
  x = jnp.ones((PRODUCT, PRODUCT), precision)
  product = jax.jit(lambda x: x @ x)
  return 2 * PRODUCT**3 / seconds(lambda: product(x), rounds=5), f"a {PRODUCT} matrix product"


def rows() -> Iterator[Row]:
  """Every network and method in both precisions, on one device."""
  accelerator = jax.default_backend() != "cpu"
  for title, (name, side, batch, width) in (NETWORKS if accelerator else NARROW).items():
    for precision in ("bfloat16", "float32") if accelerator else ("float32",):
      top, whence = peak(precision)
      for method, recipe in METHODS.items():
        fields = [f"model.name={name}", f"model.width={width}", f"model.stem={'cifar' if side <= 64 else 'imagenet'}"]
        run = made(
          recipe, *fields, f"train.batch_size={batch}", f"train.precision={precision}", side=side, num_images=2 * batch
        )
        taken, memory = step_seconds(run)
        label = f"{method}, {title}, {precision}"
        yield Row(name=label, value=model_flops(run) / taken / 1e12, unit="TFLOP/s", peer=whence, peer_value=top / 1e12)
        if accelerator:
          yield Row(name=f"{label}: memory", value=memory / 1e9, unit="GB", peer="the device", peer_value=device_memory() / 1e9)
        if method == "SimCLR" and importlib.util.find_spec("torch"):
          from benchmarks.torch_step import stepper

          theirs = seconds(stepper(name, side, batch, width, precision == "bfloat16"), rounds=5)
          unit, peer = "images/s", "PyTorch, channels-last" + (", compiled" if accelerator else "")
          yield Row(name=label, value=batch / taken, unit=unit, peer=peer, peer_value=batch / theirs)


def step_seconds(run: Any) -> tuple[float, int]:
  """Seconds a step takes when steps follow each other, and the bytes that it holds besides the state."""
  state, step = run.init(), 0
  batches = list(run.batches(state, 0, 0))
  compiled = run.compile_step(batches[0])
  state, logs = compiled(state, batches[0], run.train.resident)
  jax.block_until_ready(logs)

  def five() -> Any:
    nonlocal state, step
    for _ in range(5):
      step += 1
      state, logs = compiled(state, batches[step % len(batches)], run.train.resident)
    return logs

  taken = seconds(five, rounds=5 if jax.default_backend() != "cpu" else 2) / 5
  memory: Any = compiled.memory_analysis()
  return taken, memory.temp_size_in_bytes


def device_memory() -> float:
  """Bytes of the device's memory."""
  return jax.devices()[0].memory_stats()["bytes_limit"]


if __name__ == "__main__":
  main(rows)
