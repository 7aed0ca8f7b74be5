"""Finds an encoder's tensors in a file of any origin and fits them to the encoder."""

import logging
import re
from collections.abc import Mapping

import numpy as np

from jaxssl.core.errors import UserError
from jaxssl.models.backbone import BACKBONES, Backbone, Shapes
from jaxssl.pretrained.torch_names import torch_name

LOG = logging.getLogger("jaxssl")
Tensors = Mapping[str, np.ndarray]
TEACHER = re.compile(r"teacher|momentum|ema|target|encoder_[kt]\b")
# What a network may have besides its encoder: classifiers, heads, queues
OTHERS = re.compile(
  r"(fc|head|heads|head_dist|classifier|projector|projection|projection_head|predictor|prototypes|mlp|last_layer|queue\w*)\b"
)
SHOWN = 5  # names in a message
PARTIAL = "; use another model.name, or --config.model.allow_partial=true to leave them out"


def find(file: str, tensors: Tensors, shapes: Shapes, backbone: Backbone, partial: bool) -> dict[str, np.ndarray]:
  """Returns the encoder's tensors under torch names, with the encoder's shapes.

  `file` is used in messages; `shapes` are those of the encoder. With `partial`, tensors that are missing or have another shape
  are left out. Otherwise they raise UserError, which names the first five.
  """
  tensors = _torch_names(tensors)
  prefix = choose(tensors, set(shapes))
  within = {name[len(prefix) :]: x for name, x in tensors.items() if name.startswith(prefix)}
  found = {name: _fit(backbone, name, within[name], shape) for name, shape in shapes.items() if name in within}
  hint = architecture(within, shapes) or architecture(tensors, shapes)
  if not found:
    raise UserError(f"model.init_from={file}: no tensor of this encoder; the file has {_some(list(tensors))}{hint}")
  other = [f"{n} {_shape(x.shape)} instead of {_shape(shapes[n])}" for n, x in found.items() if x.shape != shapes[n]]
  missing = [name for name in shapes if name not in within]
  extra = [
    name for name in within if name not in shapes and not OTHERS.match(name) and not name.endswith("num_batches_tracked")
  ]
  where = f"model.init_from={file}{f' ({prefix})' if prefix else ''}"
  if not partial:
    if other:
      raise UserError(f"{where}: {len(other)} of {len(shapes)} tensors have another shape: {_some(other, '; ')}{hint}")
    if missing:
      raise UserError(f"{where}: {len(missing)} of {len(shapes)} tensors are missing: {_some(missing)}{hint or PARTIAL}")
    if extra:
      raise UserError(f"{where}: {len(extra)} tensors are not part of this encoder: {_some(extra)}{hint or PARTIAL}")
  taken = {name: x for name, x in found.items() if x.shape == shapes[name]}
  if not taken:
    raise UserError(f"{where}: no tensor has the shape of the encoder's: {_some(other, '; ')}{hint}")
  LOG.info("%d of %d tensors of %s%s", len(taken), len(shapes), file, f" ({prefix})" if prefix else "")
  if left := len(tensors) - len(taken):
    names = [name for name in tensors if not (name.startswith(prefix) and name[len(prefix) :] in taken)]
    LOG.info("left out %d tensors outside the encoder: %s", left, _some(sorted({_group(n, prefix) for n in names})))
  if len(taken) < len(shapes):
    LOG.warning("model.allow_partial: initialized randomly: %s", _some([name for name in shapes if name not in taken]))
  return taken


def choose(tensors: Tensors, wanted: set[str]) -> str:
  """Returns the prefix that most of the wanted names have; ties go to a teacher's prefix, then to the shortest."""
  counts: dict[str, int] = {}
  deepest = max((name.count(".") + 1 for name in wanted), default=0)
  for name in tensors:
    steps = name.split(".")
    for i in range(max(len(steps) - deepest, 0), len(steps)):
      if ".".join(steps[i:]) in wanted:
        prefix = "".join(f"{step}." for step in steps[:i])
        counts[prefix] = counts.get(prefix, 0) + 1
  return max(counts, key=lambda p: (counts[p], bool(TEACHER.search(p)), -len(p)), default="")


def architecture(tensors: Tensors, shapes: Shapes) -> str:
  """Suggests the fields of `config.model` that a file's names and shapes imply, if they differ from those of the encoder."""
  for family in dict.fromkeys(BACKBONES.values()):
    if fields := family.infer({name: x.shape for name, x in tensors.items()}):
      mine = family.infer(shapes)
      flags = [f"--config.model.{field}={_value(value)}" for field, value in fields.items() if mine.get(field) != value]
      return f"; the file suggests {' '.join(flags)}" if flags else ""
  return ""


def _fit(backbone: Backbone, name: str, x: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
  fitted = backbone.fit(name, x, shape)
  if fitted.shape != x.shape:
    LOG.info("%s: fitted from %s to %s", name, _shape(x.shape), _shape(fitted.shape))
  return fitted


def _torch_names(tensors: Tensors) -> dict[str, np.ndarray]:
  """Converts flax trees, as in an export of the format flax (params/encoder/conv1/kernel), to torch names and layouts."""
  if not any(re.search(r"(^|[./])kernel$", name) for name in tensors):
    return dict(tensors)
  converted = {}
  for name, x in tensors.items():
    steps = tuple(step for step in re.split(r"[./]", name) if step not in ("params", "batch_stats", "stats"))
    if steps[-1:] == ("kernel",):
      x = np.ascontiguousarray(x.transpose({2: (1, 0), 4: (3, 2, 0, 1)}.get(x.ndim, range(x.ndim))))
    converted[torch_name(steps) if steps else name] = x
  return converted


def _value(value: object) -> str:
  return f"{value:g}" if isinstance(value, float) else str(value)


def _shape(shape: tuple[int, ...]) -> str:
  return " x ".join(map(str, shape))


def _group(name: str, prefix: str) -> str:
  """Shortens a tensor's name to its module, e.g. module.encoder_q.fc.0.weight to module.encoder_q.fc for that prefix."""
  return prefix + name[len(prefix) :].split(".")[0] if name.startswith(prefix) else ".".join(name.split(".")[:2])


def _some(items: list[str], between: str = ", ") -> str:
  return between.join(items[:SHOWN]) + (f" and {len(items) - SHOWN} more" if len(items) > SHOWN else "")
