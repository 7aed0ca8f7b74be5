"""Where a vision transformer's class token looks, image by image."""

import functools

import jax
import numpy as np
from PIL import Image

from jaxssl.core.types import Array, PyTree, Variables
from jaxssl.data.datasets import Dataset, in_order
from jaxssl.data.image_io import viewable
from jaxssl.evals.features import FeatureExtractor, Preprocessing, extract
from jaxssl.models.network import Network
from jaxssl.report.thumbnails import Sheet

SIDE = 96
HEADS = 3  # shown by themselves


def section(key: str, images: np.ndarray, attention: np.ndarray) -> tuple[str, str]:
  """Makes the maps of images [n, s, s, c], uint8 or uint16, and attention [n, heads, rows, columns]; and their style."""
  heads = min(HEADS, attention.shape[1])
  names = ["image", "all heads", *(f"head {i + 1}" for i in range(heads))]
  tiles = {}
  for i, (image, maps) in enumerate(zip(images, attention, strict=True)):
    seen = np.asarray(Image.fromarray(viewable(image)).resize((SIDE, SIDE)))
    tiles[i, 0] = seen
    for j, one in enumerate([maps.mean(0), *maps[:heads]]):
      tiles[i, j + 1] = over(seen, one)
  sheet = Sheet(f"{key}-look", tiles)
  body = ""
  for i in range(len(images)):
    shown = (f"<div>{sheet.tile((i, j), f'image {i + 1}, {name}')}<small>{name}</small></div>" for j, name in enumerate(names))
    body += f'<figure class="look" style="--n:{len(names)}">{"".join(shown)}</figure>'
  text = (
    "<p>How much the last block's class token looks at each part; bright: much. A network that has learned looks at things, "
    "not at what is behind them, and its heads look at different ones.</p>"
  )
  return f'{text}<div class="cards">{body}</div>', sheet.style


def over(image: np.ndarray, attention: np.ndarray) -> np.ndarray:
  """Lays attention [rows, columns] over an image, uint8 [side, side, 3]: what is not looked at is dark."""
  from matplotlib import colormaps

  low, high = attention.min(), attention.max()
  scaled = Image.fromarray(((attention - low) / max(high - low, 1e-12)).astype(np.float32))
  bright = np.clip(np.asarray(scaled.resize(image.shape[:2], Image.Resampling.BICUBIC)), 0, 1)
  heat = colormaps["viridis"](bright)[..., :3] * 255
  gray = image.mean(-1, keepdims=True)
  return (0.35 * gray + 0.65 * heat).astype(np.uint8)


def attention_maps(subject: FeatureExtractor, split: Dataset) -> tuple[np.ndarray, np.ndarray] | None:
  """Gives what the network is shown of a split's images, and its last block's class attention on the patches.

  Images: [n, size, size, c] of the source's type; attention: float32 [n, heads, rows, columns]. None: there is none.
  """
  run = functools.partial(_look, subject.network, subject.show, subject.variables, store=split.resident)
  images, attention = extract(subject.mesh, run, in_order(subject.config, subject.mesh, split, subject.show.size))
  if attention is None:
    return None
  most = np.iinfo(split.source.dtype).max
  images = (images * np.asarray(subject.show.std) + np.asarray(subject.show.mean)) * most
  return np.rint(np.clip(images, 0, most)).astype(split.source.dtype), attention


@functools.partial(jax.jit, static_argnums=(0, 1))
def _look(network: Network, show: Preprocessing, variables: Variables, stored: Array, store: Array | None) -> PyTree:
  images = show.images(stored, store)
  return images, network.attention(variables, images)
