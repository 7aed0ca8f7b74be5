"""Represents the arrays of a jaxpr as tensors of an ONNX graph.

Transposes, broadcasts and axes of length 1 are tracked (`Value`) and executed only if an operator needs them, so a
convolutional network stays in ONNX's channels-first layout.
"""

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from jax.extend.core import JaxprEqn

from jaxssl.core.errors import UserError
from jaxssl.export.onnx_graph import Graph

BATCH = 1_000_003  # the batch in the jaxpr: a prime above all other lengths, so its multiples are multiples of the batch


@dataclasses.dataclass
class Value:
  """An array of the jaxpr, stored in a tensor with `rank` axes.

  Axis i of the array has length shape[i] and lies at axis axes[i] of the tensor; if that is None, the tensor has length 1
  there and is broadcast. The tensor's other axes have length 1. A length of k times the batch is written -k.
  """

  name: str
  rank: int
  axes: tuple[int | None, ...]
  shape: tuple[int, ...]

  def take(self, order: Iterable[int]) -> "Value":
    """Returns the array with these axes, in this order; those left out have length 1."""
    order = list(order)
    return Value(self.name, self.rank, tuple(self.axes[i] for i in order), tuple(self.shape[i] for i in order))

  def drop(self, axes: Sequence[int]) -> "Value":
    """Returns the array without axes of length 1."""
    return self.take(i for i in range(len(self.shape)) if i not in axes)


def held(name: str, shape: tuple[int, ...], slots: Sequence[int | None] | None = None, rank: int | None = None) -> Value:
  """Describes a tensor that holds axis i of an array at axis slots[i], by default in order."""
  slots = range(len(shape)) if slots is None else slots
  axes = tuple(None if n == 1 else slot for n, slot in zip(shape, slots, strict=True))
  return Value(name, len(shape) if rank is None else rank, axes, shape)


def dims(shape: Sequence[int]) -> tuple[int, ...]:
  """Writes k times the batch as -k."""
  if any(n > BATCH and n % BATCH for n in shape):
    raise UserError("--format=onnx: the encoder has an axis that is not a multiple of the batch; use flax or stablehlo")
  return tuple(int(n if n % BATCH else -(n // BATCH)) for n in shape)


def untranslated(eqn: JaxprEqn, detail: str = "") -> UserError:
  """Returns the error for a primitive that is not translated."""
  name = f"{eqn.primitive.name}{detail and ' with '}{detail}"
  return UserError(f"--format=onnx: the encoder uses the JAX primitive {name}, which is not translated; use flax or stablehlo")


class Builder(Graph):
  """A graph of operations on values."""

  def shape(self, eqn: JaxprEqn) -> tuple[int, ...]:
    """Returns the shape of the equation's first output."""
    return dims(eqn.outvars[0].aval.shape)  # type: ignore[attr-defined]

  def value(self, array: Any, label: str = "constant") -> Value:
    """Adds a constant."""
    return held(self.constant(array, label), np.shape(array))

  def is_constant(self, x: Value) -> bool:
    """Returns whether x does not depend on the images."""
    return x.name in self.constants

  def array(self, x: Value) -> np.ndarray:
    """Returns the value of a constant."""
    return np.broadcast_to(self.constants[self.arranged(x, range(len(x.shape)), len(x.shape))], x.shape)

  def arranged(self, x: Value, slots: Sequence[int | None], rank: int) -> str:
    """Returns a tensor of `rank` axes with axis i of x at axis slots[i], or of length 1 if x broadcasts it."""
    if x.rank == rank and all(axis in (None, slot) for axis, slot in zip(x.axes, slots, strict=True)):
      return x.name
    at = {slot: axis for axis, slot in zip(x.axes, slots, strict=True) if axis is not None and slot is not None}
    order = [at[slot] for slot in sorted(at)]
    spare, gaps = sorted({*range(x.rank)} - {*order}), [slot for slot in range(rank) if slot not in at]
    if self.is_constant(x):
      array = self.constants[x.name].transpose(order + spare).reshape([x.shape[x.axes.index(axis)] for axis in order])
      return self.constant(np.expand_dims(array, tuple(gaps)), self.labels[x.name])
    if x.rank == rank:
      return self.node("Transpose", x.name, perm=[at[slot] if slot in at else spare.pop() for slot in range(rank)])
    name = self.node("Squeeze", x.name, self.constant(spare)) if spare else x.name
    if order != sorted(order):
      name = self.node("Transpose", name, perm=[sorted(order).index(axis) for axis in order])
    return self.node("Unsqueeze", name, self.constant(gaps)) if gaps else name

  def full(self, x: Value) -> Value:
    """Executes the broadcasts of x."""
    missing = [n if axis is None else 1 for n, axis in zip(x.shape, x.axes, strict=True)]
    if all(n == 1 for n in missing):
      return x
    rows = self.node("Shape", "images", start=0, end=1)
    pieces = [self.constant([n]) if n > 0 else self.node("Mul", rows, self.constant([-n])) for n in missing]
    shape = self.node("Concat", *pieces, axis=0)
    return held(self.node("Expand", self.arranged(x, range(len(missing)), len(missing)), shape), x.shape)

  def tensor(self, x: Value) -> str:
    """Returns a tensor with the shape of x in the jaxpr."""
    return self.arranged(self.full(x), range(len(x.shape)), len(x.shape))

  def reshaped(self, name: str, shape: Sequence[int]) -> str:
    """Reshapes a tensor."""
    return self.node("Reshape", name, self.constant([max(n, -1) for n in shape]))

  def layout(self, xs: Sequence[Value], needed: Iterable[int] = ()) -> tuple[list[int | None], int]:
    """Chooses slots and a rank for arrays with the same axes: those of the array that holds most of them."""
    wanted = sorted({*needed, *(i for x in xs for i, axis in enumerate(x.axes) if axis is not None)})

    def preference(x: Value) -> tuple[bool, int, bool]:
      at = [axis for axis in x.axes if axis is not None]
      return not self.is_constant(x), len(at), at != sorted(at)  # of two, the layout of convolutions

    best = max(xs, key=preference)
    free = [axis for axis in range(best.rank) if axis not in best.axes]
    missing = [i for i in wanted if best.axes[i] is None]
    if len(missing) > len(free):
      return list(range(len(best.shape))), len(best.shape)
    added = dict(zip(missing, free, strict=False))
    return [added.get(i, axis) for i, axis in enumerate(best.axes)], best.rank

  def elementwise(self, op: str, *inputs: Value | float, **attributes: Any) -> Value:
    """Adds a node that broadcasts its inputs. Numbers are float32; scalars fit any number of axes."""
    values = [x if isinstance(x, Value) else self.value(np.float32(x)) for x in inputs]
    num_axes = max(len(x.shape) for x in values)
    xs = [x if x.shape else Value(x.name, x.rank, (None,) * num_axes, (1,) * num_axes) for x in values]
    slots, rank = self.layout(xs)
    names = [self.arranged(x, slots, rank) for x in xs]
    for i, name in enumerate(names):
      if (array := self.constants.get(name)) is not None:
        while array.ndim and len(array) == 1:  # runtimes fuse biases that are vectors
          array = array[0]
        names[i] = self.constant(array, self.labels[name])
    shape = tuple(next((n for n in lengths if n != 1), 1) for lengths in zip(*(x.shape for x in xs), strict=True))
    axes = [slot if any(x.axes[i] is not None for x in xs) else None for i, slot in enumerate(slots)]
    return Value(self.node(op, *names, **attributes), rank, tuple(axes), shape)
