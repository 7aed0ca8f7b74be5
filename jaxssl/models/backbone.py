"""Defines and registers the backbones that `model.name` selects."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, TypeVar, dataclass_transform

import flax.linen as nn
import jax
import numpy as np

from jaxssl.config.schema import ModelConfig
from jaxssl.core import Registry, UserError

Shapes = Mapping[str, tuple[int, ...]]  # torch name -> shape in torch's layout
LARGEST_SIDE = 2**16  # pixels or channels; larger values are typing errors
FOR_TORCH = "for --format=timm or torchvision; flax, onnx and stablehlo take others"
# Fields of `config.model` that a family without them does not ignore but refuses
REFUSED = ("zero_init_residual", "heads", "positions", "init", "remat")
BACKBONES: Registry[type["Backbone"]] = Registry("model.name", dataclass=True)
Family = TypeVar("Family", bound=type["Backbone"])


@dataclass_transform(frozen_default=True, kw_only_default=True)
def register(family: Family) -> Family:
  """Makes a subclass of `Backbone` a frozen dataclass and registers it under its names. Raises UserError for a taken name."""
  return BACKBONES.register(*family.names)(family)


@register
class Backbone:
  """A family of encoders. The fields of a subclass are those of `config.model` that the family reads.

  It refuses other values of `REFUSED` fields that it lacks than their defaults, and ignores the remaining fields.
  """

  names: ClassVar[Sequence[str]] = ("custom",)  # the values of model.name
  # (pattern, replacement) in order, from the dotted path of a flax module to the name of the torch module
  torch_names: ClassVar[Sequence[tuple[str, str]]] = ()
  first_conv: ClassVar[str] = ""  # torch name of the kernel that is applied to the image
  torch_classifier: ClassVar[str] = "fc"  # torch name of the linear classifier of the features
  in_torchvision: ClassVar[bool] = False  # whether torchvision has the encoders that `timm` names
  name: str

  @property
  def frozen(self) -> tuple[str, ...]:
    """Names of parameters, or parts of their paths, that are never trained."""
    return ()

  def build(self, dtype: jax.typing.DTypeLike, image_size: int) -> nn.Module:
    """Builds the encoder, which computes in `dtype`: a module that maps images [b, h, w, c] to features [b, f].

    It has a method `__call__(images, *, train)`. Optional members:
      tokens(images, *, train=False): float32 [b, 1 + patches, f], the token of `__call__`, then the patches row by row.
      feature_map(images): float32 [b, rows, columns, f], features of each patch or position.
      attention(images): float32 [b, heads, rows, columns], that token's attention to the patches in the last block. It may
        read the collection `intermediates`.
      last_blocks(images, count): float32 [b, count * f], that token after the last `count` blocks, each normalized as that of
        `__call__`. It may read the collection `blocks`. `depth` is then the number of blocks.
      resized(params, size): the encoder and its parameters for square images of `size` pixels.
      image_size: pixels per side that the parameters are for.
    Features sown into the collection `layers` are evaluated next to the output.

    Raises UserError for a field that is out of range.
    """
    raise UserError(f"model.name={self.name} is not allowed without an encoder; pass one to jaxssl.train(encoder=...)")

  @classmethod
  def infer(cls, shapes: Shapes) -> dict[str, Any]:
    """Infers fields of `config.model` from the names and shapes in a weights file; empty for another family."""
    return {}

  def fit(self, name: str, tensor: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Fits a tensor in torch's layout to `shape`, the encoder's own; returns it unchanged if it cannot be fitted.

    Kernels for RGB images are summed for one channel, which gives a gray image the response of the same image in RGB.
    """
    if name == self.first_conv and tensor.ndim == len(shape) == 4 and (tensor.shape[1], shape[1]) == (3, 1):
      return tensor.sum(1, keepdims=True)
    return tensor

  def timm(self, channels: int, size: int) -> tuple[str, dict[str, Any]]:
    """Returns the name of the model in timm and the keywords of `timm.create_model`. Raises UserError if timm has none."""
    raise UserError(f"model.name={self.name}: not in timm or torchvision; expected --format=flax, onnx or stablehlo")


def backbone(config: ModelConfig) -> Backbone:
  """Returns the backbone that `model.name` names, with its fields.

  Raises UserError for an unknown name, and for a field of `REFUSED` that the backbone cannot follow.
  """
  family = BACKBONES.find(config.name)
  for name in REFUSED:
    value, default = getattr(config, name), getattr(ModelConfig, name)
    able = sorted(taker for taker, other in BACKBONES.items() if _reads(other, name))
    if value != default and config.name not in able:
      problem = f"model.{name}={value}: model.name={config.name} does not have this option"
      raise UserError(f"{problem}; expected {default}, or one of {', '.join(able)}")
  return family(**{field.name: getattr(config, field.name) for field in dataclasses.fields(family)})


def _reads(family: type[Backbone], field: str) -> bool:
  return any(field == own.name for own in dataclasses.fields(family))


def first_shape(shapes: Shapes, name: str) -> tuple[int, ...]:
  """Returns the shape of the first tensor of that name, with any prefix; () if there is none."""
  return next((shape for key, shape in shapes.items() if key == name or key.endswith(f".{name}")), ())


def block(remat: bool, kind: type[nn.Module]) -> Any:
  """Returns a class of blocks that are called with (x, train).

  With `remat`, their gradient computes the activations within a block again instead of storing them; parameters, random numbers
  and results are the same.
  """
  return nn.remat(kind, static_argnums=(2,)) if remat else kind
