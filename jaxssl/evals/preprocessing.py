"""Prepares images for a network: one definition for evaluations, `embed` and exports."""

import dataclasses
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np

from jaxssl import methods
from jaxssl.augment import color, pipeline
from jaxssl.config.schema import Config, ViewConfig
from jaxssl.core import UserError
from jaxssl.core.types import Array
from jaxssl.data.file_kinds import Stored
from jaxssl.data.image_io import Decoder
from jaxssl.data.whole_images import Resizing
from jaxssl.models.backbone import LARGEST_SIDE as MOST


def first_view(config: Config) -> ViewConfig:
  """Returns the group of the student's first view; the network is built for its size. Raises UserError if it is missing."""
  group = methods.read_method(config.method).forward_spec.student[0].group
  if group not in config.views:
    raise UserError(f"views.{group} is missing; method.name={config.method['name']} needs it")
  return config.views[group]


def image_shape(config: Config) -> tuple[int, int, int]:
  """Returns (height, width, channels) of the images that the network is built for."""
  size = first_view(config).size
  return size, size, config.data.channels


@dataclasses.dataclass(frozen=True, kw_only=True)
class Preprocessing:
  """The preprocessing of images for a network."""

  channels: int
  bit_depth: Literal[8, 10, 12, 14, 16]
  resident_size: int  # shorter side, then center crop, before all else; 0: not done
  resize: int  # shorter side before the center crop; 0: the whole image is resized to `size`
  size: int  # side in pixels
  interpolation: Literal["bilinear", "bicubic"]
  mean: tuple[float, ...]  # one for each channel, of values in 0..1
  std: tuple[float, ...]

  @classmethod
  def of(cls, config: Config) -> "Preprocessing":
    """Returns the preprocessing of a run's evaluations."""
    data = config.data
    mean, std = (tuple(map(float, x if len(x) > 1 else [*x] * data.channels)) for x in (data.mean, data.std))
    return cls(
      channels=data.channels,
      bit_depth=data.bit_depth or 8,  # never 0 once a run has started
      resident_size=data.resident_size if data.placement == "device" else 0,
      resize=config.evals.resize,
      size=config.evals.size or first_view(config).size,
      interpolation=config.evals.interpolation,
      mean=mean,
      std=std,
    )

  def check(self) -> None:
    """Raises UserError for values that are out of range."""
    for field, least in (("channels", 1), ("size", 1), ("resident_size", 0), ("resize", 0)):
      if not least <= getattr(self, field) <= MOST:
        raise UserError(f"preprocessing.{field}={getattr(self, field)}: out of range; expected {least} to {MOST}")
    if 0 < self.resize < self.size:
      raise UserError(f"preprocessing.resize={self.resize}: below preprocessing.size={self.size}; expected 0, or at least that")
    for field in ("mean", "std"):
      if len(getattr(self, field)) != self.channels:
        raise UserError(f"preprocessing.{field}: expected one value for each of {self.channels} channels")
    if min(self.std) <= 0:
      raise UserError(f"preprocessing.std={self.std}: expected values above 0")

  def on_device(self, stored: Array, store: Array | None) -> Array:
    """Returns float32 [b, size, size, c] from images that the host has resized, or from positions in resident images."""
    images, resize = (stored, 0) if store is None else (store[stored], self.resize)
    return pipeline.show(images, self.size, resize, self.mean, self.std, self.interpolation)

  @property
  def decoder(self) -> Decoder:
    """The decoder of the images."""
    return Decoder(channels=self.channels, bit_depth=self.bit_depth)

  def on_host(self, images: np.ndarray) -> np.ndarray:
    """Returns float32 [b, size, size, c], normalized, from [b, h, w, c], uint8 or uint16, of any size."""
    decoder = self.decoder
    resized = np.zeros((len(images), self.size, self.size, self.channels), decoder.dtype)
    for place, image in enumerate(images):
      resized[place] = self.resized(decoder.convert(Stored(image), f"image {place}"))
    return self.normalized(resized)

  def resized(self, image: np.ndarray) -> np.ndarray:
    """Returns [size, size, c] from an image [h, w, c] of any size, as the decoder returns it."""
    return self.resizing.pixels(image)

  @property
  def resizing(self) -> Resizing:
    """How images are resized."""
    return Resizing(self.resident_size, self.resize, self.size, self.interpolation)

  def scaled(self, values: Array) -> Array:
    """Returns float32 [b, size, size, c], normalized, from values of files, 0 to 2**bit_depth - 1, of images of that size."""
    brightest = 2**self.bit_depth - 1
    return jax.vmap(lambda image: color.normalize(image.astype(jnp.float32), self.mean, self.std, brightest))(values)

  def values(self, resized: np.ndarray) -> np.ndarray:
    """Returns the values of files, 0 to 2**bit_depth - 1, of images [b, size, size, c] that `resized` has returned."""
    share = (2**self.bit_depth - 1) / np.iinfo(resized.dtype).max
    return resized if share == 1 else np.rint(resized * share).astype(resized.dtype)

  def normalized(self, resized: np.ndarray) -> np.ndarray:
    """Returns float32 [b, size, size, c] from images that `resized` has returned."""
    return np.asarray(self.on_device(jnp.asarray(resized), None))
