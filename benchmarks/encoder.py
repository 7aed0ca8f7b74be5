"""An encoder alone, on one view, forward and with gradients: python -m benchmarks.encoder [--json FILE].

The peer is the same network in PyTorch, channels-last, compiled on a GPU. Without an accelerator, uses a narrow float32
ResNet-18.
"""

import argparse
import functools
import importlib.util
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp

from benchmarks.results import Row, Skip
from benchmarks.step import NARROW, NETWORKS, Network, many, rounds
from benchmarks.table import Case, accelerated, alternate, main
from jaxssl.config.schema import ModelConfig
from jaxssl.models.network import build


def cases(_: argparse.Namespace) -> Iterator[Case]:
  """Measures each network in training mode."""
  precision = "bfloat16" if accelerated() else "float32"
  for title, network in (NETWORKS if accelerated() else NARROW).items():
    key = f"{title}, {precision}"
    yield Case(key=key, run=functools.partial(rows, key, network, precision), cpu=25, gpu=120)


def rows(key: str, network: Network, precision: str) -> Iterator[Row | Skip]:
  """Measures passes; those of PyTorch take turns with them."""
  runs = ours(network, precision)
  peer = ""
  if importlib.util.find_spec("torch"):
    from benchmarks import torch_step

    peer = "PyTorch, channels-last" + (", compiled" if accelerated() else "")
    theirs = torch_step.passes(network.name, network.side, network.batch, network.width, accelerated())
    runs |= {f"{name}, PyTorch": run for name, run in theirs.items()}
  else:
    yield Skip(key=f"{key}: PyTorch", reason="torch is not installed")
  repeated = {name: functools.partial(repeat, run) for name, run in runs.items()}
  times = {name: 1e3 * total / many() for name, total in alternate(repeated, rounds()).items()}
  for name in ("forward", "forward and gradient"):
    yield Row(key=f"{key}: {name}", value=times[name], unit="ms", peer=peer, peer_value=times.get(f"{name}, PyTorch"))


def ours(network: Network, precision: str) -> dict[str, Callable[[], Any]]:
  """Returns functions that run the encoder of jaxssl on random images."""
  stem = "cifar" if network.side <= 64 else "imagenet"
  built = build(ModelConfig(name=network.name, width=network.width, stem=stem), precision, network.side)
  variables = built.init(jax.random.key(0), (network.side, network.side, 3))
  params, stats = variables.params["encoder"], variables.stats.get("encoder", {})
  images = jax.random.normal(jax.random.key(1), (network.batch, network.side, network.side, 3))

  def forward(params: Any, images: jax.Array) -> tuple[jax.Array, Any]:
    tree = {"params": params, "batch_stats": stats}
    features, changed = built.encoder.apply(tree, images, train=True, mutable=["batch_stats"])
    return jnp.square(jnp.asarray(features, jnp.float32)).mean(), changed

  alone, gradient = jax.jit(forward), jax.jit(jax.value_and_grad(forward, has_aux=True))
  return {"forward": lambda: alone(params, images), "forward and gradient": lambda: gradient(params, images)}


def repeat(run: Callable[[], Any]) -> Any:
  """Runs a function several times and returns the last result."""
  for _ in range(many()):
    result = run()
  return result


if __name__ == "__main__":
  main("encoder", cases)
