"""Shows the features of the patches of images as colors: their first three principal components."""

import jax
import numpy as np
from PIL import Image

from jaxssl.data.datasets import Dataset
from jaxssl.evals.feature_stats import unit
from jaxssl.evals.features import FeatureExtractor
from jaxssl.evals.raw_pixels import patch_grid
from jaxssl.parallel.mesh import replicate, to_host
from jaxssl.report.thumbnails import panel, preprocessed

SIDE = 96
TILES = 4  # side by side
LEAST = 4  # rows of patches; fewer show nothing
MARGIN = 1.0  # percent of the values of a component that are darker than black, and brighter than its color


def section(extractor: FeatureExtractor, split: Dataset) -> str:
  """Returns the preprocessed images of a split with their patches in color; empty for a network with fewer than 4 x 4."""
  network, mesh = extractor.network, extractor.mesh
  if not network.has_patches or min(patch_grid(network, extractor.preprocessing)) < LEAST:
    return ""
  x, images = preprocessed(extractor, split, SIDE)
  patches = to_host(mesh, jax.jit(network.patches)(extractor.variables, replicate(mesh, x)))
  shape = patches.shape
  colors = components(unit(patches.reshape(-1, shape[-1])).reshape(shape))  # lengths, which a few patches dominate, say little
  shown, name = list[tuple[str, np.ndarray]](), f"{shape[1]} x {shape[2]} patches"
  for image, grid in zip(images, colors, strict=True):
    enlarged = np.asarray(Image.fromarray(grid).resize((SIDE, SIDE), Image.Resampling.NEAREST))
    shown += [("image", image), (name, enlarged)]
  body = "".join(panel(shown[start : start + TILES]) for start in range(0, len(shown), TILES))
  return (
    "<p>The first three principal components of the features of patches, scaled to unit length, as red, green and blue, the "
    "same for all images: patches of one color have similar features. A network that has learned gives parts of the same "
    f'kind one color, also in different images, and colors objects unlike the background.</p><div class="cards">{body}</div>'
  )


def components(patches: np.ndarray) -> np.ndarray:
  """Projects patches float32 [n, rows, columns, f] to their first three principal components: uint8 [n, rows, columns, 3].

  They are the same for all images; each fills its range. The signs, which are arbitrary, make the largest weights positive.
  """
  x = patches.reshape(-1, patches.shape[-1]).astype(np.float64)
  x -= x.mean(0)
  axes = np.linalg.svd(x, full_matrices=False)[2][:3].T
  axes = axes * np.sign(np.take_along_axis(axes, np.abs(axes).argmax(0)[None], 0))
  y = np.pad(x @ axes, ((0, 0), (0, 3 - axes.shape[1])))
  low, high = np.percentile(y, (MARGIN, 100 - MARGIN), axis=0)
  y = np.clip((y - low) / np.maximum(high - low, 1e-12), 0, 1)
  return np.rint(255 * y).astype(np.uint8).reshape(*patches.shape[:3], 3)
