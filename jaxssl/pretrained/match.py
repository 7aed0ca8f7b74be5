"""Finds an encoder's tensors in a file of any origin and fits them to the encoder."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping

import numpy as np

from jaxssl.core import LOG, UserError
from jaxssl.models.backbone import BACKBONES, Backbone, Shapes
from jaxssl.pretrained.torch_names import torch_entry

Tensors = Mapping[str, np.ndarray]
TEACHER = re.compile(r"teacher|momentum|ema|target|encoder_[kt]\b")
# Parts of a network besides its encoder: classifiers, heads, queues
OTHERS = re.compile(
  r"(fc|head|heads|head_dist|classifier|projector|projection|projection_head|predictor|prototypes|mlp|last_layer|queue\w*)\b"
)
COLLECTIONS = ("params", "batch_stats", "stats")  # the outermost names of flax trees
SHOWN = 5  # names in a message
PARTIAL = "; use another model.name, or --config.model.allow_partial=true to leave them out"


def find(file: str, tensors: Tensors, shapes: Shapes, backbone: Backbone, partial: bool) -> dict[str, np.ndarray]:
  """Returns the encoder's tensors under torch names, with the encoder's shapes.

  `file` is used in messages; `shapes` are those of the encoder. With `partial`, tensors that are missing or have another shape
  are left out. Otherwise they raise UserError, which names the first five.
  """
  tensors = _torch_names(tensors)
  prefix = _prefix(tensors, shapes)
  within = {name.removeprefix(prefix): x for name, x in tensors.items() if name.startswith(prefix)}
  fitted = {name: backbone.fit(name, within[name], shape) for name, shape in shapes.items() if name in within}
  hint = _architecture(within, shapes) or _architecture(tensors, shapes)
  if not fitted:
    raise UserError(f"model.init_from={file}: no tensor of this encoder; the file has {_some(tensors)}{hint}")
  matched = {name: x for name, x in fitted.items() if x.shape == shapes[name]}
  other = [f"{n} {_shape(x.shape)} instead of {_shape(shapes[n])}" for n, x in fitted.items() if x.shape != shapes[n]]
  missing = [name for name in shapes if name not in within]
  extra = [n for n in within if n not in shapes and not OTHERS.match(n) and not n.endswith("num_batches_tracked")]
  source = f"{file}{f' ({prefix})' if prefix else ''}"
  for names, problem, advice in (
    (other, f"of {len(shapes)} tensors have another shape", hint),
    (missing, f"of {len(shapes)} tensors are missing", hint or PARTIAL),
    (extra, "tensors are not part of this encoder", hint or PARTIAL),
  ):
    if names and not (partial and matched):
      raise UserError(f"model.init_from={source}: {len(names)} {problem}: {_some(names)}{advice}")
  for name, x in matched.items():
    if x.shape != within[name].shape:
      LOG.info("%s: fitted from %s to %s", name, _shape(within[name].shape), _shape(x.shape))
  LOG.info("%d of %d tensors of %s", len(matched), len(shapes), source)
  if unused := [name for name in tensors if not (name.startswith(prefix) and name.removeprefix(prefix) in matched)]:
    LOG.info("left out %d tensors outside the encoder: %s", len(unused), _some(sorted({_module(n, prefix) for n in unused})))
  if len(matched) < len(shapes):
    LOG.warning("model.allow_partial: initialized randomly: %s", _some([name for name in shapes if name not in matched]))
  return matched


def _prefix(tensors: Tensors, wanted: Iterable[str]) -> str:
  """Returns the prefix that most of the wanted names have; ties go to a teacher's prefix, then to the shortest."""
  counts = Counter(name.removesuffix(own) for name in tensors for own in wanted if f".{name}".endswith(f".{own}"))
  return max(counts, key=lambda prefix: (counts[prefix], bool(TEACHER.search(prefix)), -len(prefix)), default="")


def _architecture(tensors: Tensors, shapes: Shapes) -> str:
  """Suggests the fields of `config.model` that a file's names and shapes imply, if they differ from those of the encoder."""
  for family in dict.fromkeys(BACKBONES.values()):
    if fields := family.infer({name: x.shape for name, x in tensors.items()}):
      current = family.infer(shapes)
      texts = {field: f"{value:g}" if isinstance(value, float) else value for field, value in fields.items()}
      flags = [f"--config.model.{field}={text}" for field, text in texts.items() if current.get(field) != fields[field]]
      return f"; the file suggests {' '.join(flags)}" if flags else ""
  return ""


def _torch_names(tensors: Tensors) -> dict[str, np.ndarray]:
  """Converts flax trees, as in an export of the format flax (params/encoder/conv1/kernel), to torch names and layouts."""
  if not any(re.search(r"(^|[./])kernel$", name) for name in tensors):
    return dict(tensors)
  steps = {name: [step for step in re.split(r"[./]", name) if step not in COLLECTIONS] for name in tensors}
  return dict(torch_entry(steps[name] or [name], x) for name, x in tensors.items())


def _module(name: str, prefix: str) -> str:
  """Shortens a tensor's name to its module, e.g. module.encoder_q.fc.0.weight to module.encoder_q.fc for that prefix."""
  return prefix + name[len(prefix) :].split(".")[0] if name.startswith(prefix) else ".".join(name.split(".")[:2])


def _shape(shape: tuple[int, ...]) -> str:
  return " x ".join(map(str, shape))


def _some(items: Iterable[str]) -> str:
  items = list(items)
  return ", ".join(items[:SHOWN]) + (f" and {len(items) - SHOWN} more" if len(items) > SHOWN else "")
