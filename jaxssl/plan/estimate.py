"""Builds the train step of a run from shapes alone, and estimates its memory, operations and traffic on one machine."""

import dataclasses
import math
import re
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxssl.config.schema import Config
from jaxssl.core import UserError, tree
from jaxssl.core.types import TrainState
from jaxssl.plan import hlo, jaxpr_memory
from jaxssl.plan.dataset_sizes import DatasetSpec
from jaxssl.plan.hlo import Traffic
from jaxssl.plan.topology import GIB, Topology
from jaxssl.train import build_step, cost
from jaxssl.train.step import Batch, TrainStep
from jaxssl.train.step_time import abstract_inputs

STATE = {  # part of the memory -> beginnings of paths in TrainState; the first match counts
  "parameters": (".student", ".step"),
  "optimizer": ".opt_state",
  "teacher": ".teacher",
  "method_state": ".method_state",
  "bank": ".neighbor_bank.features",
  "votes": ".neighbor_bank",
}
MARGIN = 1.5  # safety factor for activations that were estimated, not compiled


@dataclasses.dataclass(frozen=True, kw_only=True)
class Estimate:
  """A run on one machine at one batch size. Memory and traffic are per chip."""

  topology: str
  chips: int
  hosts: int
  batch_size: int
  accumulate: int
  compiled: bool  # False: estimated from the traced step
  memory: dict[str, int]  # bytes by part: those of STATE, images, batch, padding, activations
  total: int  # bytes
  available: int | None  # bytes; None: unknown
  fits: bool | None  # None: unknown
  live: int  # estimated bytes of the activations, also if compiled
  flops: float  # operations per step of all chips
  traffic: dict[str, Traffic] | None  # None: unknown; only the gradients' if not compiled
  steps: int  # of the run


class Step(NamedTuple):
  """A train step and its arguments as `jax.ShapeDtypeStruct`s with shardings."""

  train_step: TrainStep
  state: TrainState
  batch: Batch
  resident: Any  # all images; None if data.placement=host

  def trace(self) -> jax.stages.Traced:
    """Traces the step that a run would compile."""
    return build_step.jit_step(self.train_step, self.state).trace(self.state, self.batch, self.resident)


def build(config: Config, images: DatasetSpec, mesh: Any) -> Step:
  """Builds the step of a run on a mesh, which may be abstract. Raises UserError as training would."""
  data = config.data
  # Training measures a missing mean and std on the images; the values do not change any shape. An open bit_depth means 8 bits.
  config = tree.replace(config, {"data.mean": data.mean or (0.5,), "data.std": data.std or (0.5,)})
  train_step = build_step.build_train_step(config, mesh, images.count)
  batch, resident = abstract_inputs(train_step.config, mesh, images.count, images.side)
  return Step(train_step=train_step, state=build_step.abstract_state(train_step), batch=batch, resident=resident)


def estimate(config: Config, images: DatasetSpec, target: Topology) -> Estimate:
  """Traces the step of a run and compiles it if the machine allows that. Raises UserError as training would."""
  step, chips = build(config, images, target.mesh), target.chips
  memory, traced = memory_of(step), step.trace()
  live = live_bytes(step, traced)
  available, margin, traffic, fits = target.memory, 0.0, None, None
  if not target.compiles:
    memory |= {"padding": 0, "activations": live}
    margin = (MARGIN - 1) * live
    payload = sum(leaf.size for leaf in jax.tree.leaves(step.state.student.params)) * jnp.dtype(config.train.precision).itemsize
    sent = hlo.ring("all-reduce", payload, chips)
    traffic = {"all-reduce": Traffic(count=1, payload=payload, sent=sent)} if chips > 1 else {}
  else:
    arrays = sum(memory.values())
    try:
      compiled = traced.lower().compile()
    except jax.errors.JaxRuntimeError as error:
      sizes, fits = refusal(str(error)), False
      if sizes is None:
        raise UserError(f"the step cannot be compiled: {str(error).splitlines()[0]}") from error
      used, available = sizes
      memory |= {"padding": 0, "activations": used - arrays if used > arrays else used}
    else:
      stats: Any = compiled.memory_analysis()
      activations = stats.temp_size_in_bytes + stats.output_size_in_bytes - stats.alias_size_in_bytes
      activations += stats.generated_code_size_in_bytes
      memory |= {"padding": stats.argument_size_in_bytes - arrays, "activations": activations}
      fits = None if target.kind == "cpu" else True  # a TPU's compiler refuses what does not fit
      traffic = hlo.traffic(compiled.as_text() or "", chips)
  total = sum(memory.values())
  if fits is None and available is not None:
    fits = total + margin <= available
  return Estimate(
    topology=target.name,
    chips=chips,
    hosts=target.hosts,
    batch_size=config.train.batch_size,
    accumulate=config.train.accumulate,
    compiled=target.compiles,
    memory=memory,
    total=total,
    available=available,
    fits=fits,
    live=live,
    flops=cost.flops(traced.jaxpr.jaxpr, chips),
    traffic=traffic,
    steps=build_step.training_length(config, images.count).steps,
  )


def memory_of(step: Step) -> dict[str, int]:
  """Returns the bytes per chip of a step's arguments, by part."""

  def size(leaf: Any) -> int:
    return math.prod(leaf.sharding.shard_shape(leaf.shape)) * leaf.dtype.itemsize

  memory = dict.fromkeys((*STATE, "images", "batch"), 0)
  for path, leaf in jax.tree_util.tree_leaves_with_path(step.state):
    name = jax.tree_util.keystr(path)
    memory[next(part for part, starts in STATE.items() if name.startswith(starts))] += size(leaf)
  for part, arrays in (("images", step.resident), ("batch", step.batch)):
    memory[part] = sum(map(size, jax.tree.leaves(arrays)))
  return memory


def live_bytes(step: Step, traced: jax.stages.Traced) -> int:
  """Estimates the peak bytes per chip of a traced step without its arguments."""
  twice = jax.tree.map(lambda x: x.update(shape=(2 * x.shape[0], *x.shape[1:])), step.batch)
  doubled, aliased = step._replace(batch=twice).trace(), len(jax.tree.leaves(step.state))
  return jaxpr_memory.live(traced.jaxpr.jaxpr, doubled.jaxpr.jaxpr, step.train_step.mesh.size, aliased)


def refusal(text: str) -> tuple[int, int] | None:
  """Parses (bytes needed, bytes available) from a compiler's out-of-memory message; None for any other message."""
  match = re.search(r"([\d.]+)([KMGT]?)\)? (?:of|exceeds available HBM) \(?([\d.]+)([KMGT]?)", text)
  if "RESOURCE_EXHAUSTED" not in text or not match:
    return None
  scale = {"": 1, "K": 2**10, "M": 2**20, "G": GIB, "T": 2**40}
  used, available = (int(float(match[i]) * scale[match[i + 1]]) for i in (1, 3))
  return used, available
