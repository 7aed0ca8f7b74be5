"""Where a vision transformer's class token looks, picture by picture."""

import numpy as np
from PIL import Image

from jaxssl.data.pictures import viewable
from jaxssl.report.pictures import Sheet

SIDE = 96
HEADS = 3  # shown by themselves


def section(key: str, pictures: np.ndarray, attention: np.ndarray) -> tuple[str, str]:
  """Makes the maps of pictures [n, s, s, c], uint8 or uint16, and attention [n, heads, rows, columns]; and their style."""
  heads = min(HEADS, attention.shape[1])
  names = ["picture", "all heads", *(f"head {i + 1}" for i in range(heads))]
  tiles = {}
  for i, (picture, maps) in enumerate(zip(pictures, attention, strict=True)):
    seen = np.asarray(Image.fromarray(viewable(picture)).resize((SIDE, SIDE)))
    tiles[i, 0] = seen
    for j, one in enumerate([maps.mean(0), *maps[:heads]]):
      tiles[i, j + 1] = over(seen, one)
  sheet = Sheet(f"{key}-look", tiles)
  body = ""
  for i in range(len(pictures)):
    shown = (
      f"<div>{sheet.tile((i, j), f'picture {i + 1}, {name}')}<small>{name}</small></div>" for j, name in enumerate(names)
    )
    body += f'<figure class="look" style="--n:{len(names)}">{"".join(shown)}</figure>'
  text = (
    "<p>How much the last block's class token looks at each part; bright: much. A network that has learned looks at things, "
    "not at what is behind them, and its heads look at different ones.</p>"
  )
  return f'{text}<div class="cards">{body}</div>', sheet.style


def over(picture: np.ndarray, attention: np.ndarray) -> np.ndarray:
  """Lays attention [rows, columns] over a picture, uint8 [side, side, 3]: what is not looked at is dark."""
  from matplotlib import colormaps

  low, high = attention.min(), attention.max()
  scaled = Image.fromarray(((attention - low) / max(high - low, 1e-12)).astype(np.float32))
  bright = np.clip(np.asarray(scaled.resize(picture.shape[:2], Image.Resampling.BICUBIC)), 0, 1)
  heat = colormaps["viridis"](bright)[..., :3] * 255
  grey = picture.mean(-1, keepdims=True)
  return (0.35 * grey + 0.65 * heat).astype(np.uint8)
