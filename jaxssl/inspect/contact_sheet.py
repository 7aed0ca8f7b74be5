"""Draws pairs of images side by side, with their names, to be judged by eye."""

import io
from collections.abc import Mapping, Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from jaxssl.core import one_line
from jaxssl.data.folder import FolderSource
from jaxssl.data.image_io import Decoder
from jaxssl.inspect.duplicates import NearPair
from jaxssl.inspect.scan import ImageStats, read_again

PAIRS, COLUMNS = 36, 3  # at most drawn; side by side
_SIDE, _GAP, _MARGIN, _LINE = 160, 4, 14, 15  # pixels: of an image; in a pair; between pairs; of a line of text
_WIDTH, _HEIGHT = 2 * _SIDE + _GAP + 2 * _MARGIN, _SIDE + 2 * _LINE + 2 * _MARGIN + _GAP  # of a pair
_GRAY, _BLACK = (216, 216, 216), (0, 0, 0)  # gray: the borders of white images are visible


def near_duplicates(
  sources: Mapping[str, FolderSource], images: Sequence[ImageStats], pairs: Sequence[NearPair], decoder: Decoder
) -> bytes:
  """Draws near duplicates, the least similar first, each image at most once, as PNG. `decoder`: of the scan."""
  shown, seen = list[NearPair](), set[int]()
  for pair in sorted(pairs, key=lambda pair: pair.excess):
    if len(shown) < PAIRS and seen.isdisjoint(pair[:2]):
      shown.append(pair)
      seen.update(pair[:2])
  title = f"{len(shown)} of {len(pairs)} pairs that may show the same, the least similar first"
  places = [pair[:2] for pair in shown]
  names = [[sources[images[k].split].relative_name(images[k].index) for k in pair] for pair in places]
  pixels = [[read_again(sources, images[k], decoder, _SIDE) for k in pair] for pair in places]
  file = io.BytesIO()
  draw(title, pixels, names).save(file, "PNG")
  return file.getvalue()


def draw(title: str, images: Sequence[Sequence[np.ndarray]], names: Sequence[Sequence[str]]) -> Image.Image:
  """Draws pairs of images, uint8 [h, w, 3] of any size, and below each pair the two names, a line each."""
  font = ImageFont.load_default(size=12)
  columns = min(COLUMNS, len(images))
  rows = -(-len(images) // columns)
  sheet = Image.new("RGB", (max(columns, 2) * _WIDTH, rows * _HEIGHT + 2 * _LINE), _GRAY)
  canvas = ImageDraw.Draw(sheet)
  canvas.text((_MARGIN, _LINE // 2), title, _BLACK, font)
  for k, (pair, lines) in enumerate(zip(images, names, strict=True)):
    left, top = k % columns * _WIDTH + _MARGIN, k // columns * _HEIGHT + 2 * _LINE + _MARGIN // 2
    for number, (image, line) in enumerate(zip(pair, lines, strict=True)):
      height, width = (max(round(side * _SIDE / max(image.shape)), 1) for side in image.shape[:2])
      shown = Image.fromarray(image).resize((width, height), Image.Resampling.BICUBIC)
      sheet.paste(shown, (left + number * (_SIDE + _GAP) + (_SIDE - width) // 2, top + (_SIDE - height) // 2))
      text = _shortened(line, 2 * _SIDE + _GAP, font)
      canvas.text((left, top + _SIDE + _GAP + number * _LINE), text, _BLACK, font)
  return sheet


def _shortened(text: str, width: int, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> str:
  """Escapes characters that the font lacks, and leaves out the middle of text that is wider than `width` pixels."""
  text = one_line(text)
  text = "".join(letter if letter.isascii() else letter.encode("unicode_escape").decode() for letter in text)
  kept, shown = len(text), text
  while font.getlength(shown) > width:
    kept -= 1
    shown = f"{text[: kept // 3]} ... {text[len(text) - (kept - kept // 3) :]}"
  return shown
