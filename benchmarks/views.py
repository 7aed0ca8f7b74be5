"""Time per view of the jitted augmentations, compared with PIL in one process: python -m benchmarks.views [--json FILE]."""

import argparse
import math
import random
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
import PIL
from PIL import Image, ImageEnhance, ImageFilter, ImageOps

from benchmarks.results import Row
from benchmarks.table import Case, main, seconds
from jaxssl.augment import pipeline, presets
from jaxssl.config.schema import ViewConfig

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def cases(_: argparse.Namespace) -> Iterator[Case]:
  """Measures AdaSim's recipe at two sizes."""
  for size, side, batch in ((32, 32, 256), (224, 256, 16)):
    key = f"AdaSim's views, {size} px of {side} x {side}, batch {batch}"
    yield Case(key=key, run=lambda key=key, size=size, side=side, batch=batch: rows(key, size, side, batch), cpu=25, gpu=40)


def rows(key: str, size: int, side: int, batch: int) -> Iterator[Row]:
  view = ViewConfig(**presets.adasim(size)["global"])
  rng = np.random.default_rng(0)
  images = np.stack([smooth_image(rng, side) for _ in range(2 * batch)]).reshape(batch, 2, side, side, 3)
  on_device, random_key = jnp.asarray(images), jax.random.key(0)

  @jax.jit
  def ours(key: jax.Array, images: jax.Array) -> dict[str, jax.Array]:
    crop_key, finish_key = jax.random.split(key)
    crops = pipeline.crop(crop_key, images, {"global": view})
    return pipeline.finish(finish_key, crops, {"global": view}, MEAN, STD)

  def peer() -> list[np.ndarray]:
    return [pil_view(image, view, v) for row in images for v, image in enumerate(row)]

  views = 2 * batch
  yield Row(
    key=key,
    value=seconds(lambda: ours(random_key, on_device)) / views * 1e6,
    unit="us/view",
    peer=f"Pillow {PIL.__version__}, one process",
    peer_value=seconds(peer, rounds=5) / views * 1e6,
  )


def smooth_image(rng: np.random.Generator, side: int) -> np.ndarray:
  coarse = Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8))
  return np.asarray(coarse.resize((side, side), Image.Resampling.BICUBIC))


def pil_view(image: np.ndarray, view: ViewConfig, v: int) -> np.ndarray:
  """Makes view number `v` of an image with PIL and NumPy: uint8 [h, w, 3] -> float32 [size, size, 3]."""
  top, left, height, width = pil_box(image.shape[0], image.shape[1], view)
  pil_image = Image.fromarray(image).crop((left, top, left + width, top + height))
  pil_image = pil_image.resize((view.size, view.size), Image.Resampling.BICUBIC)
  if random.random() < view.flip:
    pil_image = pil_image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
  if random.random() < view.jitter_p:
    for op in random.sample((pil_brightness, pil_contrast, pil_saturation, pil_hue), 4):
      pil_image = op(pil_image, view.jitter)
  if random.random() < view.gray_p:
    pil_image = pil_image.convert("L").convert("RGB")
  if random.random() < view.blur_p[v % len(view.blur_p)]:
    pil_image = pil_image.filter(ImageFilter.GaussianBlur(random.uniform(*view.blur_sigma)))
  if random.random() < view.solarize_p[v % len(view.solarize_p)]:
    pil_image = ImageOps.solarize(pil_image)
  scaled = np.asarray(pil_image).astype(np.float32) / 255
  return (scaled - np.array(MEAN, np.float32)) / np.array(STD, np.float32)


def pil_box(height: int, width: int, view: ViewConfig) -> tuple[int, int, int, int]:
  flat, wide = (math.log(ratio) for ratio in view.crop_ratio)
  while True:
    area, ratio = height * width * random.uniform(*view.crop_scale), math.exp(random.uniform(flat, wide))
    h, w = round(math.sqrt(area / ratio)), round(math.sqrt(area * ratio))
    if h <= height and w <= width:
      return random.randint(0, height - h), random.randint(0, width - w), h, w


def around_one(strength: float) -> float:
  return random.uniform(1 - strength, 1 + strength)


def pil_brightness(image: Image.Image, strengths: tuple[float, ...]) -> Image.Image:
  return ImageEnhance.Brightness(image).enhance(around_one(strengths[0]))


def pil_contrast(image: Image.Image, strengths: tuple[float, ...]) -> Image.Image:
  return ImageEnhance.Contrast(image).enhance(around_one(strengths[1]))


def pil_saturation(image: Image.Image, strengths: tuple[float, ...]) -> Image.Image:
  return ImageEnhance.Color(image).enhance(around_one(strengths[2]))


def pil_hue(image: Image.Image, strengths: tuple[float, ...]) -> Image.Image:
  hue, saturation, value = image.convert("HSV").split()
  turn = int(random.uniform(-strengths[3], strengths[3]) * 255) % 256
  turned = Image.fromarray(np.asarray(hue) + np.uint8(turn))
  return Image.merge("HSV", (turned, saturation, value)).convert("RGB")


if __name__ == "__main__":
  main("views", cases)
