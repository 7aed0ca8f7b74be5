"""Writes the format `onnx`: the network as a graph of standard operators, for onnxruntime and other runtimes.

The graph is translated from the encoder's jaxpr. Everything that does not depend on the images is computed here.
"""

import functools
import json
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import JaxprEqn, Literal

from jaxssl.core import UserError
from jaxssl.core.types import Array, PyTree
from jaxssl.export.bundle import ExportBundle
from jaxssl.export.onnx_graph import BATCH, Graph
from jaxssl.export.onnx_rules import ELEMENTWISE, EXPANDED, RULES, untranslated

FILE = "model.onnx"
SAME = ("copy", "stop_gradient", "name", "optimization_barrier", "sharding_constraint")  # return their inputs
CALLS = ("jit", "pjit", "closed_call", "custom_jvp_call", "custom_vjp_call", "remat2", "checkpoint")


def write(folder: pathlib.Path, bundle: ExportBundle) -> None:
  """Writes the graph to `folder`. It takes a batch of any size. Raises UserError if onnx or onnxruntime is not installed."""
  try:
    import onnx
    import onnxruntime  # noqa: F401  (to run the file)
  except ImportError as error:
    raise UserError(f"--format=onnx: {error.name} is not installed; run pip install 'jaxssl[onnx]'") from error
  model = to_onnx(bundle.exported, bundle.variables, bundle.image_shape, bundle.output, bundle.input_type)
  if bundle.classes:
    onnx.helper.set_model_props(model, {"classes": json.dumps(bundle.classes)})
  onnx.save(model, folder / FILE)


def run(folder: pathlib.Path, bundle: ExportBundle | None = None) -> Callable[[np.ndarray], np.ndarray]:
  """Loads the export and returns a function from images [b, size, size, c] to its output, float32 [b, n]."""
  import onnxruntime

  session = onnxruntime.InferenceSession(folder / FILE, providers=["CPUExecutionProvider"])
  return lambda x: np.asarray(session.run(None, {"images": np.ascontiguousarray(x.transpose(0, 3, 1, 2))})[0])


def to_onnx(
  encode: Callable[[PyTree, Array], Array],
  weights: PyTree,
  image_shape: tuple[int, int, int],
  output: str = "features",
  input_type: np.dtype | type = np.float32,
) -> Any:
  """Translates encode(weights, images), from `input_type` [b, h, w, c] to float32 [b, f], into an onnx.ModelProto.

  The ONNX input `images` is [b, c, h, w] with any b; `output` names the output. Raises UserError if a primitive is not
  translated.
  """
  leaves, tree = jax.tree_util.tree_flatten_with_path(weights)
  images = jax.ShapeDtypeStruct((BATCH, *image_shape), input_type)
  closed = jax.make_jaxpr(lambda leaves, x: encode(jax.tree.unflatten(tree, leaves), x))([leaf for _, leaf in leaves], images)
  height, width, channels = image_shape
  graph = Graph(images=(BATCH, channels, height, width))
  constants = [graph.constant(leaf, jax.tree_util.keystr(path, simple=True, separator=".")) for path, leaf in leaves]
  (features,) = _run(graph, closed, [*constants, graph.transpose("images", (0, 2, 3, 1))])
  (shape,) = (aval.shape for aval in closed.out_avals)
  images = ("batch", channels, height, width)
  return graph.model(graph.expand(features, shape), images, ("batch", *shape[1:]), output, np.dtype(input_type))


def _run(graph: Graph, closed: Any, inputs: Sequence[str]) -> list[str]:
  """Translates a jaxpr of the tensors `inputs`. Axes that an operation broadcasts may still have length 1 in a tensor."""
  jaxpr, constants = getattr(closed, "jaxpr", closed), getattr(closed, "consts", [])  # jax 0.12 has one class for both
  tensors: dict[Any, str] = dict(zip(jaxpr.constvars, map(graph.constant, constants), strict=True))
  tensors |= zip(jaxpr.invars, inputs, strict=True)

  def read(x: Any) -> str:
    return graph.constant(x.val) if isinstance(x, Literal) else tensors[x]

  for eqn in jaxpr.eqns:
    tensors |= zip(eqn.outvars, _translate(graph, eqn, [read(x) for x in eqn.invars]), strict=True)
  return [read(x) for x in jaxpr.outvars]


def _translate(graph: Graph, eqn: JaxprEqn, inputs: Sequence[str]) -> Sequence[str]:
  """Translates an equation, or computes it if its inputs are constants."""
  name = eqn.primitive.name
  if name in SAME:
    return inputs
  if name in CALLS:
    return _run(graph, eqn.params.get("jaxpr") or eqn.params["call_jaxpr"], inputs)
  if name == "platform_index":  # of what is computed differently on CPUs: runtimes get what all others compute
    return [graph.constant(np.int32(eqn.params["platforms"].index(None)))]
  if name == "cond" and inputs[0] in graph.constants:
    return _run(graph, eqn.params["branches"][graph.constants[inputs[0]].item()], inputs[1:])
  avals: list[Any] = [x.aval for x in (*eqn.invars, *eqn.outvars)]
  lengths = [n for aval in avals for n in aval.shape]
  if any(n > BATCH and n % BATCH for n in lengths):
    raise UserError("--format=onnx: the encoder has an axis that is not a multiple of the batch; use flax or stablehlo")
  if all(x in graph.constants for x in inputs) and all(n < BATCH for n in lengths):
    arrays = (jnp.broadcast_to(graph.constants[x], aval.shape) for x, aval in zip(inputs, avals, strict=False))
    results = eqn.primitive.bind(*arrays, **eqn.params)
    labels = [label for x in inputs if (label := graph.labels[x]) != "constant"]
    return [graph.constant(x, *labels[:1]) for x in (results if eqn.primitive.multiple_results else [results])]
  if name in EXPANDED:
    return _run(graph, jax.make_jaxpr(functools.partial(EXPANDED[name], **eqn.params))(*avals[: len(inputs)]), inputs)
  if name in ELEMENTWISE:
    return [ELEMENTWISE[name](graph, eqn, *inputs)]
  if name not in RULES:
    raise untranslated(eqn)
  return [RULES[name](graph, eqn, *(graph.expand(x, aval.shape) for x, aval in zip(inputs, avals, strict=False)))]
