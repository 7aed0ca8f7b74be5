"""Shows the attention of a vision transformer's class token to the patches of images."""

import jax
import numpy as np
from PIL import Image

from jaxssl.data.datasets import Dataset
from jaxssl.data.image_io import viewable
from jaxssl.evals.features import FeatureExtractor
from jaxssl.parallel.mesh import replicate, to_host
from jaxssl.report.thumbnails import tile

SIDE = 96
HEADS = 3  # heads that are shown separately


def section(extractor: FeatureExtractor, split: Dataset) -> str:
  """Returns the preprocessed images of a split with maps of the last block's attention; empty for a network without."""
  prep, mesh, source = extractor.preprocessing, extractor.mesh, split.source
  x = np.concatenate([prep.on_host(source.read(row)[None]) for row in range(len(split))])
  attention = to_host(mesh, jax.jit(extractor.network.attention)(extractor.variables, replicate(mesh, x)))
  if attention is None:
    return ""
  brightest = np.iinfo(source.dtype).max
  images = np.rint(np.clip((x * prep.std + prep.mean) * brightest, 0, brightest)).astype(source.dtype)
  body = ""
  for image, maps in zip(images, attention, strict=True):
    resized = np.asarray(Image.fromarray(viewable(image)).resize((SIDE, SIDE)))
    panels = {"image": resized, "all heads": _over(resized, maps.mean(0))}
    panels |= {f"head {i + 1}": _over(resized, head) for i, head in enumerate(maps[:HEADS])}
    tiles = "".join(f"<div>{tile(pixels, name)}<small>{name}</small></div>" for name, pixels in panels.items())
    body += f'<figure class="look" style="--n:{len(panels)}">{tiles}</figure>'
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
