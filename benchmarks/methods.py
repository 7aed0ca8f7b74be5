"""Time of the method layer, memory with accumulation, and compile times: python -m benchmarks.methods [--json FILE]."""

import argparse
import functools
import time
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import numpy as np

from benchmarks.results import Row, Target
from benchmarks.runs import build_run
from benchmarks.table import Case, main, seconds
from jaxssl.core.types import MethodState, Outputs, Variables, ViewBatch
from jaxssl.methods.base import ViewSlice
from jaxssl.train.setup import Experiment

BATCH = 256
LAYERS = {  # ResNet-18 on 32 x 32, batch 256
  "ISD, queue 128,000": ["isd.py", "method.queue=128000"],
  "ReSA": ["resa.py"],
  "NNCLR": ["nnclr.py"],
  "DINO": ["nnboot.py:cifar10", "bootstrap.policy=off"],
}
COMPILES = (
  "barlow.py byol.py dino.py isd.py moco.py moco.py:v3 msf.py nnclr.py resa.py simclr.py simsiam.py swav.py vicreg.py".split()
)
TARGETS = [Target(key="*: compile", number=20, unit="s", source="limit")]


def method_seconds(run: Experiment) -> float:
  """Times the loss, its gradient with respect to the outputs, and the update of the method state."""
  method, forward_spec = run.train_step.method, run.train_step.method.forward_spec
  state = run.init()

  def shapes(variables: Variables, views: Sequence[ViewSlice]) -> Outputs:
    groups: Any = [np.zeros((BATCH, (v.stop or 1) - v.start, 32, 32, 3), np.float32) for v in views]
    return jax.eval_shape(lambda v: run.train_step.network.apply(v, groups, joint=forward_spec.joint, key=None)[0], variables)

  def random_like(tree: Outputs) -> Outputs:
    return jax.tree.map(lambda x: jax.random.normal(jax.random.key(0), x.shape), tree)

  student = random_like(shapes(state.student, forward_spec.student))
  teacher = (
    random_like(shapes(state.teacher, forward_spec.teacher)) if state.teacher else jax.tree.map(lambda x: x[:0], student)
  )
  scheduled = {name: jax.numpy.float32(schedule(0)) for name, schedule in run.train_step.schedules.items()}
  rows = next(iter(run.batches(state, 0, 0)))
  batch = ViewBatch(index=rows.index, views={}, label=rows.label)

  @jax.jit
  def update(student: Outputs, method_state: MethodState) -> tuple:
    loss = jax.value_and_grad(lambda o: method.loss(o, teacher, method_state, scheduled)[0])(student)
    return loss, method.update_state(method_state, student, teacher, batch)

  return seconds(lambda: update(student, state.method_state), rounds=5)


def cases(_: argparse.Namespace) -> Iterator[Case]:
  """Compares the method layer with a whole step; measures memory with accumulation, and compile times."""
  for name, recipe in LAYERS.items():
    yield Case(key=name, run=functools.partial(layer, f"{name}: method layer", recipe), cpu=240, gpu=90)
  for recipe in COMPILES:
    yield Case(key=f"{recipe}: compile", run=functools.partial(compile_time, recipe), cpu=25, gpu=60)
  yield Case(key="accumulation", run=accumulation, cpu=100, gpu=150)


def layer(key: str, recipe: Sequence[str]) -> Iterator[Row]:
  run = build_run(*recipe, f"train.batch_size={BATCH}", "train.precision=float32")
  method = method_seconds(run)
  state, batches = run.init(), list(run.batches(run.init(), 0, 0))
  times = []
  for batch in batches[:3]:
    start = time.perf_counter()
    state, logs = run.step(state, batch)
    jax.block_until_ready(logs)
    times.append(time.perf_counter() - start)
  yield Row(key=key, value=1e3 * method, unit="ms", peer="whole step", peer_value=1e3 * min(times[1:]))


def compile_time(recipe: str) -> Iterator[Row]:
  run = build_run(f"{recipe},runlocal" if ":" in recipe else f"{recipe}:runlocal", "train.batch_size=32")
  batch = next(iter(run.batches(run.init(), 0, 0)))
  start = time.perf_counter()
  run.compile_step(batch)
  yield Row(key=f"{recipe}: compile", value=time.perf_counter() - start, unit="s")


def accumulation() -> Iterator[Row]:
  unsplit = None
  for parts in (1, 4, 16):
    run = build_run("simclr.py", "train.batch_size=512", f"train.accumulate={parts}")
    batch = next(iter(run.batches(run.init(), 0, 0)))
    memory: Any = run.compile_step(batch).memory_analysis()
    size = memory.temp_size_in_bytes / 1e9
    unsplit = unsplit or size
    yield Row(key=f"SimCLR, batch 512 in {parts} parts: memory", value=size, unit="GB", peer="in one", peer_value=unsplit)


if __name__ == "__main__":
  main("methods", cases, TARGETS)
