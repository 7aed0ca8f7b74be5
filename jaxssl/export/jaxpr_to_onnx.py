"""Translates an encoder's jaxpr into ONNX. Everything that does not depend on the images is computed here."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import JaxprEqn, Literal

from jaxssl.core.types import Array, PyTree
from jaxssl.export.onnx_arrays import BATCH, Builder, Value, held, untranslated
from jaxssl.export.onnx_rules import EXPANDED, RULES

SAME = ("copy", "stop_gradient", "name", "optimization_barrier", "sharding_constraint")  # return their inputs
CALLS = ("jit", "pjit", "closed_call", "custom_jvp_call", "custom_vjp_call", "remat2", "checkpoint")


def to_onnx(encode: Callable[[PyTree, Array], Array], weights: PyTree, image_shape: tuple[int, int, int]) -> Any:
  """Translates encode(weights, images), from float32 [b, h, w, c] to float32 [b, f], into an onnx.ModelProto.

  The ONNX input `images` is [b, c, h, w] with any b. Raises UserError if a primitive is not translated.
  """
  leaves, tree = jax.tree_util.tree_flatten_with_path(weights)
  images = jax.ShapeDtypeStruct((BATCH, *image_shape), jnp.float32)
  closed = jax.make_jaxpr(lambda leaves, x: encode(jax.tree.unflatten(tree, leaves), x))([leaf for _, leaf in leaves], images)
  t = Builder()
  constants = [t.value(leaf, jax.tree_util.keystr(path, simple=True, separator=".")) for path, leaf in leaves]
  height, width, channels = image_shape
  (features,) = _run(t, closed, [*constants, held("images", (-1, height, width, channels), (0, 2, 3, 1))])
  return t.model(t.tensor(features), ("batch", channels, height, width), ("batch", *features.shape[1:]))


def _run(t: Builder, closed: Any, inputs: Sequence[Value]) -> list[Value]:
  jaxpr, constants = getattr(closed, "jaxpr", closed), getattr(closed, "consts", [])  # jax 0.12 has one class for both
  values: dict[Any, Value] = dict(zip(jaxpr.constvars, map(t.value, constants), strict=True))
  values |= zip(jaxpr.invars, inputs, strict=True)

  def read(x: Any) -> Value:
    return t.value(x.val) if isinstance(x, Literal) else values[x]

  for eqn in jaxpr.eqns:
    values |= zip(eqn.outvars, _translate(t, eqn, [read(x) for x in eqn.invars]), strict=True)
  return [read(x) for x in jaxpr.outvars]


def _translate(t: Builder, eqn: JaxprEqn, inputs: Sequence[Value]) -> Sequence[Value]:
  """Translates an equation, or computes it if its inputs are constants."""
  name = eqn.primitive.name
  if name in SAME:
    return inputs
  if name in CALLS:
    return _run(t, eqn.params.get("jaxpr") or eqn.params["call_jaxpr"], inputs)
  avals = [x.aval for x in (*eqn.invars, *eqn.outvars)]  # type: ignore[attr-defined]
  if all(map(t.is_constant, inputs)) and all(n % BATCH for aval in avals for n in aval.shape):
    labels = [label for x in inputs if (label := t.labels[x.name]) != "constant"]
    results = eqn.primitive.bind(*(jnp.asarray(t.array(x)) for x in inputs), **eqn.params)
    return [t.value(x, *labels[:1]) for x in (results if eqn.primitive.multiple_results else [results])]
  if name in EXPANDED:
    expanded = functools.partial(EXPANDED[name], **eqn.params)
    return _run(t, jax.make_jaxpr(expanded)(*avals[: len(inputs)]), inputs)
  if name not in RULES:
    raise untranslated(eqn)
  return [RULES[name](t, eqn, *inputs)]
