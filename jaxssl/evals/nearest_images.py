"""Finds the images of an embedding file that are nearest to one image; shows them as a table and a contact sheet."""

import dataclasses
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont, ImageOps

from jaxssl.config.parse import read
from jaxssl.config.schema import DataConfig
from jaxssl.core import LOG, UserError, one_line, path_of, paths, retry
from jaxssl.data.arrays import ArraySource
from jaxssl.data.datasets import open_splits
from jaxssl.data.file_kinds import DecodeError, UnsupportedImage
from jaxssl.data.image_io import Decoder, viewable
from jaxssl.data.source import Source, name_of
from jaxssl.evals import embedding_file, knn, load_run
from jaxssl.evals.embedding_file import Embeddings
from jaxssl.parallel.mesh import make_mesh

SIDE, TEXT, GAP, COLUMNS = 160, 14, 8, 6  # contact sheet: pixels per image, line and gap; images per row


class Neighbor(NamedTuple):
  """An image of the file: its rank (0: the query), row, cosine similarity to the query, path, and class and split if known."""

  rank: int
  row: int
  cosine: float
  path: str
  label: str | None
  split: str | None


def neighbors(
  embeddings: str | pathlib.Path,
  image: str,
  k: int = 10,
  *,
  workdir: str | pathlib.Path | None = None,
  sheet: str | pathlib.Path | None = None,
) -> list[Neighbor]:
  """Returns the k images of an embedding file nearest to `image` by cosine similarity, after the query if it is in the file.

  `image` is a path in the file or any image file; the latter is embedded by the run in `workdir` (default: the run that wrote
  the file). `sheet`: a .png file to draw the images to. Raises UserError.
  """
  embeddings, sheet = path_of(embeddings), path_of(sheet) if sheet else None
  if sheet and sheet.suffix != ".png":
    raise UserError(f"--sheet={sheet}: unknown kind of file; expected .png")
  file = embedding_file.load(embeddings)
  if not np.isfinite(file.features).all():
    raise UserError(f"{embeddings} holds features that are not finite")
  rows, pixels = _rows_of(file, image), None
  others = len(file.features) - len(rows)
  if not 0 < k <= others:
    raise UserError(f"--k={k}: expected 1 to {others}, the other images in {embeddings}")
  if len(rows):
    cosines, ids = knn.neighbors(make_mesh(), file.features, file.features[rows], k, own=rows)
  else:
    pixels, query = _embed_image(image, file.meta, path_of(workdir or file.meta["workdir"]))
    cosines, ids = knn.neighbors(make_mesh(), file.features, query, k)
  ranked = [*((int(row), 1.0) for row in rows), *zip(ids[0].tolist(), cosines[0].tolist(), strict=True)]
  nearest = [
    Neighbor(rank, row, cosine, str(file.path[row]), *(x if x is None else str(x[row]) for x in (file.label, file.split)))
    for rank, (row, cosine) in enumerate(ranked, 1 - len(rows))
  ]
  if sheet:
    try:
      with paths.uploaded(sheet) as path:
        _draw_sheet(file, nearest, pixels).save(path)
    except OSError as error:
      raise retry.failure(f"--sheet={sheet}: cannot be written", error) from error
  return nearest


def _rows_of(file: Embeddings, image: str) -> np.ndarray:
  """Returns the row, int [1], of an image in the file by its path there or its full path; int [0] if it is not there."""
  data, whole = file.meta["data"], paths.absolute(image)
  same = file.path == image
  for field, split in (("path", "train"), ("test_path", "test")):
    root = paths.absolute(data[field]) + os.sep if data[field] else ""
    if root and whole.startswith(root):
      inside = file.path == whole.removeprefix(root)
      if data["test_path"] and file.split is not None:  # otherwise data.path holds all splits
        inside &= file.split == split
      same |= inside
  rows = np.flatnonzero(same)
  if len(rows) > 1:
    hint = "; expected the full path of one" if data["test_path"] else ""
    raise UserError(f"--image={image}: the path of {len(rows)} images in the file{hint}")
  return rows


def _embed_image(image: str, meta: Mapping[str, Any], workdir: pathlib.Path) -> tuple[np.ndarray, np.ndarray]:
  """Returns the pixels [h, w, c] of an image file, and its features float32 [1, f] by the network that made the file."""
  data = read(DataConfig, meta["data"])
  try:
    pixels = Decoder.of(data).decode(paths.read(image), image)
  except OSError as error:
    raise retry.failure(f"--image={image}: neither a path in the file nor a readable image", error) from error
  except (DecodeError, UnsupportedImage) as error:
    raise UserError(f"--image={error}") from error
  shown = ("network", "size", "resize", "interpolation")  # files from before there was a choice lack the last
  config = load_run.read_config(workdir, {f"evals.{name}": meta[name] for name in shown if name in meta})
  run = load_run.load(workdir, dataclasses.replace(config, data=data), meta["step"])
  if run.fingerprint != meta["weights"]:
    raise UserError(f"--workdir={workdir}: other weights than those that made the file; expected the run that made it")
  return pixels, run.embed(ArraySource(pixels[None], name="query"))[0]


def table(nearest: Sequence[Neighbor]) -> str:
  """Formats neighbors as a table: rank, cosine, class and split if known, path."""
  lines = [("rank", "cosine", "class", "split", "path")]
  lines += [(str(n.rank), f"{n.cosine:.4f}", n.label, n.split, n.path) for n in nearest]
  columns = [[one_line(text) for text in column] for column in zip(*lines, strict=True) if None not in column]
  padded = [[text.ljust(max(map(len, column))) for text in column] for column in columns]
  return "\n".join("  ".join(line).rstrip() for line in zip(*padded, strict=True))


def _draw_sheet(file: Embeddings, nearest: Sequence[Neighbor], query: np.ndarray | None) -> Image.Image:
  """Draws the neighbors after the query, if it is not in the file; an image that can no longer be read is gray."""
  try:
    data, holdout = read(DataConfig, file.meta["data"]), file.meta.get("holdout", 0.0)  # files of older versions have none
    sources = open_splits(data, file.meta["seed"], file.meta["whole"], holdout)
  except UserError as error:
    sources = {}
    LOG.warning("the images cannot be drawn: %s", error)
  tiles: list[tuple[np.ndarray | None, str]] = [] if query is None else [(query, "query")]
  for neighbor in nearest:
    caption = f"{neighbor.rank}: {neighbor.cosine:.3f}" if neighbor.rank else "query"
    tiles.append((_read_again(file, neighbor.row, sources), f"{caption}\n{neighbor.label or ''}"))
  wide, high = SIDE + GAP, SIDE + 2 * TEXT + GAP
  across, down = min(COLUMNS, len(tiles)), -(-len(tiles) // COLUMNS)
  drawn = Image.new("RGB", (across * wide + GAP, down * high + GAP), "white")
  draw, font = ImageDraw.Draw(drawn), ImageFont.load_default(TEXT - 2)
  for k, (image, caption) in enumerate(tiles):
    left, top = GAP + k % COLUMNS * wide, GAP + k // COLUMNS * high
    tile = Image.new("RGB", (1, 1), "lightgray") if image is None else Image.fromarray(viewable(image))
    drawn.paste(ImageOps.pad(tile, (SIDE, SIDE), Image.Resampling.BICUBIC, "white"), (left, top))
    draw.text((left, top + SIDE), caption, "black", font, spacing=2)
  return drawn


def _read_again(file: Embeddings, row: int, sources: dict[str, Source]) -> np.ndarray | None:
  """Reads an image of the file; None if the image at its position is gone or has another name."""
  source = sources.get(str(file.split[row])) if file.split is not None else next(iter(sources.values()), None)
  index = int(file.index[row])
  if source is None or index >= len(source) or name_of(source, index) != file.path[row]:
    return None
  try:
    return source.read(index)
  except (DecodeError, UnsupportedImage):
    return None
