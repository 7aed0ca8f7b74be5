"""The attention of a vision transformer's class token on the patches of images."""

import functools

import jax
import numpy as np
from PIL import Image

from jaxssl.core.types import Array, PyTree, Variables
from jaxssl.data.datasets import Dataset, in_order
from jaxssl.data.image_io import viewable
from jaxssl.evals.features import FeatureExtractor, extract
from jaxssl.evals.preprocessing import Preprocessing
from jaxssl.models.network import Network
from jaxssl.report.thumbnails import Sheet

SIDE = 96
HEADS = 3  # heads that are shown separately


def section(key: str, images: np.ndarray, attention: np.ndarray) -> tuple[str, str]:
  """Returns maps of images [n, s, s, c], uint8 or uint16, and attention [n, heads, rows, columns]; and their style."""
  heads = min(HEADS, attention.shape[1])
  names = ["image", "all heads", *(f"head {i + 1}" for i in range(heads))]
  tiles = {}
  for i, (image, maps) in enumerate(zip(images, attention, strict=True)):
    resized = np.asarray(Image.fromarray(viewable(image)).resize((SIDE, SIDE)))
    tiles[i, 0] = resized
    for j, one in enumerate([maps.mean(0), *maps[:heads]]):
      tiles[i, j + 1] = over(resized, one)
  sheet = Sheet(f"{key}-attention", tiles)
  body = ""
  for i in range(len(images)):
    shown = (f"<div>{sheet.tile((i, j), f'image {i + 1}, {name}')}<small>{name}</small></div>" for j, name in enumerate(names))
    body += f'<figure class="look" style="--n:{len(names)}">{"".join(shown)}</figure>'
  text = (
    "<p>The attention of the last block's class token on each patch; bright: high. A network that has learned attends to "
    "objects rather than the background, and its heads to different parts.</p>"
  )
  return f'{text}<div class="cards">{body}</div>', sheet.style


def over(image: np.ndarray, attention: np.ndarray) -> np.ndarray:
  """Overlays attention [rows, columns] on an image, uint8 [side, side, 3]; low attention is dark."""
  from matplotlib import colormaps

  low, high = attention.min(), attention.max()
  scaled = Image.fromarray(((attention - low) / max(high - low, 1e-12)).astype(np.float32))
  bright = np.clip(np.asarray(scaled.resize(image.shape[:2], Image.Resampling.BICUBIC)), 0, 1)
  heat = colormaps["viridis"](bright)[..., :3] * 255
  gray = image.mean(-1, keepdims=True)
  return (0.35 * gray + 0.65 * heat).astype(np.uint8)


def attention_maps(extractor: FeatureExtractor, split: Dataset) -> tuple[np.ndarray, np.ndarray] | None:
  """Computes the images of a split as the network sees them, and the last block's class attention on the patches.

  Images: [n, size, size, c] of the source's type; attention: float32 [n, heads, rows, columns]. None for a network without.
  """
  shown = extractor.preprocessing
  run = functools.partial(_attention, extractor.network, shown, extractor.variables, store=split.resident)
  images, attention = extract(extractor.mesh, run, in_order(extractor.config, extractor.mesh, split, shown.size))
  if attention is None:
    return None
  most = np.iinfo(split.source.dtype).max
  images = (images * np.asarray(shown.std) + np.asarray(shown.mean)) * most
  return np.rint(np.clip(images, 0, most)).astype(split.source.dtype), attention


@functools.partial(jax.jit, static_argnums=(0, 1))
def _attention(network: Network, shown: Preprocessing, variables: Variables, stored: Array, store: Array | None) -> PyTree:
  images = shown.on_device(stored, store)
  return images, network.attention(variables, images)
