"""What a run would take on one machine: memory, operations, traffic."""

import dataclasses
import math
import re
from typing import Any

import jax
import jax.numpy as jnp

from jaxssl.config.schema import Config
from jaxssl.core.errors import UserError
from jaxssl.plan import abstract_step, hlo, jaxpr_memory
from jaxssl.plan.abstract_step import DatasetSpec, Step
from jaxssl.plan.hlo import Traffic
from jaxssl.plan.topology import GIB, Topology
from jaxssl.train import setup

STATE = {  # part of the state -> where it lies in TrainState, the first that fits
  "bank": r"^\.neighbor_bank\.features",
  "votes": r"^\.neighbor_bank\.",
  "optimizer": r"^\.opt_state",
  "teacher": r"^\.teacher",
  "method_state": r"^\.method_state",
  "parameters": r"",
}
MARGIN = 1.5  # what estimated activations are multiplied by before they count as fitting
PARTS = ("parameters", "optimizer", "teacher", "method_state", "bank", "votes", "images", "batch", "padding", "activations")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Estimate:
  """One machine and batch size. Bytes are those of one chip."""

  topology: str
  chips: int
  hosts: int
  batch_size: int
  accumulate: int
  compiled: bool  # or estimated from the traced step
  memory: dict[str, int]  # by PARTS
  total: int
  available: int | None
  fits: bool | None  # None: what there is is not known
  live: int  # what activations are estimated to take, compiled or not
  live_twice: int  # and at twice the batch
  flops: float  # of a step, all chips
  flops_compiled: float | None  # the compiler's own count, loops once
  traffic: dict[str, Traffic] | None  # None: not known, for the compiler refused; estimated: the gradients' alone
  steps: int  # of the whole run


def estimate(config: Config, images: DatasetSpec, target: Topology) -> Estimate:
  """Traces the step of a run, and compiles it where that can be done. Raises UserError as training would."""
  step = abstract_step.build(config, images, target.mesh)
  held = memory_of(step)
  batch, chips = config.train.batch_size, target.chips
  tracing = step.trace()
  flops = jaxpr_memory.flops(tracing.jaxpr.jaxpr, chips)
  live, live_twice = lives(step, tracing)
  available, fits, counted, traffic = target.memory, None, None, None
  if target.compiles:
    compiled, refused = compile_step(tracing)
    if compiled is None:
      used, available = refused
      arrays = sum(held.values())
      held |= {"padding": 0, "activations": used - arrays if used > arrays else used}
      fits = False
    else:
      found: Any = compiled.memory_analysis()
      arguments = found.argument_size_in_bytes
      beside = found.temp_size_in_bytes + found.output_size_in_bytes - found.alias_size_in_bytes
      held |= {"padding": arguments - sum(held.values()), "activations": beside + found.generated_code_size_in_bytes}
      fits = None if target.kind == "cpu" else True  # a TPU's compiler refuses what does not fit
      traffic = hlo.traffic(compiled.as_text() or "", chips)
      cost: Any = compiled.cost_analysis() or {}
      counted = cost["flops"] * chips if "flops" in cost else None
  else:
    held |= {"padding": 0, "activations": live}
    weights = sum(leaf.size for leaf in jax.tree.leaves(step.state.student.params))
    payload = weights * jnp.dtype(config.train.precision).itemsize
    traffic = {"all-reduce": Traffic(1, payload, hlo.ring("all-reduce", payload, chips))} if chips > 1 else {}
  total = sum(held.values())
  if fits is None and available is not None:
    unsure = 0 if target.compiles else (MARGIN - 1) * held["activations"]
    fits = total + unsure <= available
  return Estimate(
    topology=target.name,
    chips=chips,
    hosts=target.hosts,
    batch_size=batch,
    accumulate=config.train.accumulate,
    compiled=target.compiles,
    memory={part: held[part] for part in PARTS},
    total=total,
    available=available,
    fits=fits,
    live=live,
    live_twice=live_twice,
    flops=flops,
    flops_compiled=counted,
    traffic=traffic,
    steps=setup.training_length(config, images.count).steps,
  )


def memory_of(step: Step) -> dict[str, int]:
  """Bytes of one chip that a step's arguments take, by part."""
  held = dict.fromkeys((*STATE, "images", "batch"), 0)
  for path, leaf in jax.tree_util.tree_leaves_with_path(step.state):
    name = jax.tree_util.keystr(path)
    held[next(part for part, where in STATE.items() if re.search(where, name))] += _bytes(leaf)
  held["images"] += sum(map(_bytes, jax.tree.leaves(step.store)))
  held["batch"] += sum(map(_bytes, jax.tree.leaves(step.rows)))
  return held


def lives(step: Step, tracing: jax.stages.Traced) -> tuple[int, int]:
  """Estimates the bytes of one chip that live at once in a traced step beside its arguments: (as it is, at twice the batch)."""

  def twice(x: Any) -> Any:
    return jax.ShapeDtypeStruct((2 * x.shape[0], *x.shape[1:]), x.dtype, sharding=x.sharding)

  more = dataclasses.replace(step, rows=jax.tree.map(twice, step.rows)).trace()
  one, two = tracing.jaxpr.jaxpr, more.jaxpr.jaxpr
  chips, kept = step.train_step.mesh.size, len(jax.tree.leaves(step.state))
  return jaxpr_memory.live(one, two, chips, kept), jaxpr_memory.live(two, one, chips, kept)


def compile_step(tracing: jax.stages.Traced) -> tuple[jax.stages.Compiled | None, tuple[int, int]]:
  """Compiles; where the memory does not suffice: (None, (bytes that it takes, bytes that there are)).

  Raises UserError where the compiler does not take the step for another reason.
  """
  try:
    return tracing.lower().compile(), (0, 0)
  except jax.errors.JaxRuntimeError as error:
    refused = refusal(str(error))
    if refused is None:
      raise UserError(f"the step cannot be compiled: {str(error).splitlines()[0]}") from error
    return None, refused


def refusal(text: str) -> tuple[int, int] | None:
  """Reads from a compiler's message how many bytes a program takes, and how many there are; None: it says neither."""
  found = re.search(r"([\d.]+)([KMGT]?)\)? (?:of|exceeds available HBM) \(?([\d.]+)([KMGT]?)", text)
  if "RESOURCE_EXHAUSTED" not in text or not found:
    return None
  scale = {"": 1, "K": 2**10, "M": 2**20, "G": GIB, "T": 2**40}
  used, available = (int(float(found[i]) * scale[found[i + 1]]) for i in (1, 3))
  return used, available


def _bytes(leaf: Any) -> int:
  return math.prod(leaf.sharding.shard_shape(leaf.shape)) * leaf.dtype.itemsize
