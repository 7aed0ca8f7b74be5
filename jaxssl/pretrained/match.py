"""An encoder's tensors found in a file of any origin, and fitted to the network that takes them."""

import logging
import math
import re
from collections.abc import Mapping

import jax.image
import jax.numpy as jnp
import numpy as np

from jaxssl.core.errors import UserError
from jaxssl.models import resnet, vit
from jaxssl.pretrained.torch_names import torch_name

LOG = logging.getLogger("jaxssl")
Tensors = Mapping[str, np.ndarray]
TEACHER = re.compile(r"teacher|momentum|ema|target|encoder_[kt]\b")
# What a network may carry beside its encoder: classifiers, heads, queues
OTHERS = re.compile(
  r"(fc|head|heads|head_dist|classifier|projector|projection|projection_head|predictor|prototypes|mlp|last_layer|queue\w*)\b"
)
SHOWN = 5  # names in a message
LARGEST = 64  # pixels a side of a patch that is resized
PARTIAL = ". Another model.name, or --config.model.allow_partial=true, which leaves them out"


def find(
  file: str, tensors: Tensors, shapes: Mapping[str, tuple[int, ...]], offset: float, partial: bool
) -> dict[str, np.ndarray]:
  """Gives the encoder's tensors under torch's names, of the shapes that the network has.

  `file` is named in messages; `shapes`: what the network wants; `offset`: as `positions` of the ViT takes it; `partial`: what
  is missing or has another shape is left out, and no error. Raises UserError otherwise, naming the first five.
  """
  tensors = _torch_names(tensors)
  prefix = choose(tensors, set(shapes))
  within = {name[len(prefix) :]: x for name, x in tensors.items() if name.startswith(prefix)}
  found = {name: fit(name, within[name], shape, offset) for name, shape in shapes.items() if name in within}
  hint = architecture(within, shapes)
  if not found:
    raise UserError(f"model.init_from={file} holds no tensor of this network; it holds {_some(list(tensors))}{hint}")
  other = [f"{n} {_shape(x.shape)} there, {_shape(shapes[n])} here" for n, x in found.items() if x.shape != shapes[n]]
  missing = [name for name in shapes if name not in within]
  beyond = [
    name for name in within if name not in shapes and not OTHERS.match(name) and not name.endswith("num_batches_tracked")
  ]
  told = f"model.init_from={file}{f' ({prefix})' if prefix else ''}"
  if not partial:
    if other:
      raise UserError(f"{told}: {len(other)} of {len(shapes)} tensors have another shape: {_some(other, '; ')}{hint}")
    if missing:
      raise UserError(f"{told}: {len(missing)} of {len(shapes)} tensors are missing: {_some(missing)}{hint or PARTIAL}")
    if beyond:
      raise UserError(f"{told}: {len(beyond)} tensors have no place in this network: {_some(beyond)}{hint or PARTIAL}")
  taken = {name: x for name, x in found.items() if x.shape == shapes[name]}
  if not taken:
    raise UserError(f"{told}: none of its tensors has the network's shape: {_some(other, '; ')}{hint}")
  LOG.info("%d of %d tensors of %s%s", len(taken), len(shapes), file, f" ({prefix})" if prefix else "")
  if left := len(tensors) - len(taken):
    names = [name for name in tensors if not (name.startswith(prefix) and name[len(prefix) :] in taken)]
    LOG.info("not the encoder's, and left out: %d tensors of %s", left, _some(sorted({_group(n, prefix) for n in names})))
  if len(taken) < len(shapes):
    LOG.warning("model.allow_partial: %s stay random", _some([name for name in shapes if name not in taken]))
  return taken


def choose(tensors: Tensors, wanted: set[str]) -> str:
  """Finds the prefix under which most of the wanted names are; of equals, a teacher's, then the shortest."""
  counts: dict[str, int] = {}
  deepest = max((name.count(".") + 1 for name in wanted), default=0)
  for name in tensors:
    steps = name.split(".")
    for i in range(max(len(steps) - deepest, 0), len(steps)):
      if ".".join(steps[i:]) in wanted:
        prefix = "".join(f"{step}." for step in steps[:i])
        counts[prefix] = counts.get(prefix, 0) + 1
  return max(counts, key=lambda p: (counts[p], bool(TEACHER.search(p)), -len(p)), default="")


def fit(name: str, x: np.ndarray, shape: tuple[int, ...], offset: float) -> np.ndarray:
  """Fits a tensor in torch's layout to another size of image or patch, or to one channel; else gives it as it is.

  Positions are interpolated as the ViT does it. A patch's kernel is resized so that a resized patch gives what the patch gave
  (FlexiViT, arXiv 2212.08013). The sum over three channels sees a gray image as the whole kernel sees it in colors.
  """
  first = name in ("conv1.weight", "patch_embed.proj.weight")
  if first and x.ndim == 4 and shape[1] == 1 and x.shape[1] == 3:
    LOG.info("%s: the kernels of 3 channels are summed up to 1", name)
    x = x.sum(1, keepdims=True)
  square = x.ndim == 4 and x.size and x.shape[2] == x.shape[3] <= LARGEST
  if name == "patch_embed.proj.weight" and square and x.shape[2:] != shape[2:]:
    LOG.info("%s: resized from patches of %d to %d pixels, bicubic", name, x.shape[-1], shape[-1])
    x = resize_patches(x, shape[-1])
  if name == "pos_embed" and x.ndim == 3 and x.shape[::2] == shape[::2] and 1 < x.shape[1] != shape[1]:
    sides = [math.isqrt(count - 1) for count in (x.shape[1], shape[1])]
    if sides[0] ** 2 + 1 == x.shape[1]:
      LOG.info("%s: resized from %d x %d to %d x %d patches, bicubic", name, *(side for side in sides for _ in range(2)))
      x = np.asarray(vit.positions(jnp.asarray(x), (sides[1], sides[1]), offset))
  return x


def resize_patches(kernel: np.ndarray, side: int) -> np.ndarray:
  """Resizes kernels [out, in, p, p] to [out, in, side, side]: w' = pinv(B^T) w, where B resizes a patch, bicubic."""
  out, channels, native, _ = kernel.shape
  units = np.eye(native * native, dtype=np.float32).reshape(native * native, native, native)
  resized = jax.image.resize(units, (native * native, side, side), "bicubic", antialias=False)
  turned = np.linalg.pinv(np.asarray(resized, np.float64).reshape(native * native, side * side))  # [side^2, p^2]
  return (kernel.reshape(out * channels, -1) @ turned.T).reshape(out, channels, side, side).astype(np.float32)


def architecture(tensors: Tensors, shapes: Mapping[str, tuple[int, ...]]) -> str:
  """Says which fields of the config the file's tensors ask for, where that is plain and not what the network has."""
  names = " ".join(tensors)

  def of(name: str) -> tuple[int, ...]:
    return next((x.shape for n, x in tensors.items() if n == name or n.endswith("." + name)), ())

  here = {name: tuple(shape) for name, shape in shapes.items()}
  tries = []
  if len(cls := of("cls_token")) == 3:
    depth = 1 + max((int(i) for i in re.findall(r"\bblocks\.(\d{1,4})\.", names)), default=-1)
    size = next((name for name, (dim, _) in vit.SIZES.items() if dim == cls[2]), None)
    if here.get("cls_token") != cls and size:
      tries.append(f"model.name={size}")
    if depth != _depth(here):
      tries.append(f"model.depth={depth}")
  elif len(conv := of("conv1.weight")) == 4:
    stages = tuple(len(set(re.findall(rf"\blayer{i}\.(\d+)\.", names))) for i in range(1, 5))
    bottleneck = bool(re.search(r"\blayer1\.0\.conv3\.", names))
    size = next((name for name, made in resnet.SIZES.items() if made == (bottleneck, stages)), None)
    mine = tuple(len({n.split(".")[1] for n in here if n.startswith(f"layer{i}.")}) for i in range(1, 5))
    if size and (mine, "layer1.0.conv3.weight" in here) != (stages, bottleneck):
      tries.append(f"model.name={size}")
    stem = here.get("conv1.weight", conv)
    if stem[0] != conv[0]:
      tries.append(f"model.width={conv[0] / 64:g}")
    if stem[2:] != conv[2:]:
      tries.append(f"model.stem={'imagenet' if conv[2] == 7 else 'cifar'}")
  return f". The file's network: try {' '.join(f'--config.{field}' for field in tries)}" if tries else ""


def _depth(names: Mapping[str, tuple[int, ...]]) -> int:
  return len({name.split(".")[1] for name in names if name.startswith("blocks.")})


def _torch_names(tensors: Tensors) -> dict[str, np.ndarray]:
  """Gives flax's trees, as an own export may hold them (params/encoder/conv1/kernel), torch's names and layouts."""
  if not any(re.search(r"(^|[./])kernel$", name) for name in tensors):
    return dict(tensors)
  found = {}
  for name, x in tensors.items():
    steps = tuple(step for step in re.split(r"[./]", name) if step not in ("params", "batch_stats", "stats"))
    if steps[-1:] == ("kernel",):
      x = np.ascontiguousarray(x.transpose({2: (1, 0), 4: (3, 2, 0, 1)}.get(x.ndim, range(x.ndim))))
    found[torch_name(steps) if steps else name] = x
  return found


def _shape(shape: tuple[int, ...]) -> str:
  return " x ".join(map(str, shape))


def _group(name: str, prefix: str) -> str:
  """Cuts a tensor's name to what it belongs to: module.encoder_q.fc.0.weight, beside that prefix, is module.encoder_q.fc."""
  return prefix + name[len(prefix) :].split(".")[0] if name.startswith(prefix) else ".".join(name.split(".")[:2])


def _some(items: list[str], between: str = ", ") -> str:
  return between.join(items[:SHOWN]) + (f" and {len(items) - SHOWN} more" if len(items) > SHOWN else "")
