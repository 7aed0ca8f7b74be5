"""Shows the attention of a vision transformer's class token to the patches of images."""

import jax
import numpy as np
from PIL import Image

from jaxssl.data.datasets import Dataset
from jaxssl.evals.features import FeatureExtractor
from jaxssl.parallel.mesh import replicate, to_host
from jaxssl.report.thumbnails import panel, preprocessed

SIDE = 96
HEADS = 3  # heads that are shown separately


def section(extractor: FeatureExtractor, split: Dataset) -> str:
  """Returns the preprocessed images of a split with maps of the last block's attention; empty for a network without."""
  mesh, (x, images) = extractor.mesh, preprocessed(extractor, split, SIDE)
  attention = to_host(mesh, jax.jit(extractor.network.attention)(extractor.variables, replicate(mesh, x)))
  if attention is None:
    return ""
  body = ""
  for image, maps in zip(images, attention, strict=True):
    heads = [(f"head {i + 1}", _over(image, head)) for i, head in enumerate(maps[:HEADS])]
    body += panel([("image", image), ("all heads", _over(image, maps.mean(0))), *heads])
  return (
    "<p>The attention of the last block's class token on each patch; bright: high. A network that has learned attends to "
    f'objects rather than the background, and its heads to different parts.</p><div class="cards">{body}</div>'
  )


def _over(image: np.ndarray, attention: np.ndarray) -> np.ndarray:
  """Overlays attention [rows, columns] on an image, uint8 [side, side, 3]; low attention is dark."""
  from matplotlib import colormaps

  low, high = attention.min(), attention.max()
  scaled = Image.fromarray(((attention - low) / max(high - low, 1e-12)).astype(np.float32))
  bright = np.clip(np.asarray(scaled.resize(image.shape[:2], Image.Resampling.BICUBIC)), 0, 1)
  heat = colormaps["viridis"](bright)[..., :3] * 255
  return (0.35 * image.mean(-1, keepdims=True) + 0.65 * heat).astype(np.uint8)
