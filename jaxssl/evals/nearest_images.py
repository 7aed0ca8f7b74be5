"""Finds the images of an embedding file that are nearest to one image; shows them as a table and a contact sheet."""

import dataclasses
import os
import pathlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont, ImageOps

from jaxssl.config.parse import read
from jaxssl.config.schema import DataConfig
from jaxssl.core import log as runlog
from jaxssl.core import paths
from jaxssl.core.errors import UserError, one_line
from jaxssl.core.paths import path_of
from jaxssl.data.arrays import ArraySource
from jaxssl.data.datasets import name_of, open_splits
from jaxssl.data.image_io import DecodeError, decode, dtype_of, viewable
from jaxssl.data.source import Source
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
  row = row_of(file, image)
  most = len(file.features) - (row is not None)
  if not 0 < k <= most:
    raise UserError(f"--k={k}: expected 1 to {most}, the other images in {embeddings}")
  pixels = None
  if row is None:
    pixels = read_image(image, file)
    rows = nearest(file.features, embed_image(pixels, file, path_of(workdir or file.meta["workdir"])), k)
  else:
    rows = [(row, 1.0), *nearest(file.features, row, k)]
  columns = [None if x is None else x.astype(str) for x in (file.path, file.label, file.split)]
  found = [
    Neighbor(rank, r, cosine, *(None if x is None else str(x[r]) for x in columns))  # type: ignore[arg-type]
    for rank, (r, cosine) in enumerate(rows, row is None)
  ]
  if sheet:
    try:
      with paths.uploaded(sheet) as path:
        draw_sheet(file, found, pixels).save(path)
    except OSError as error:
      raise UserError(f"--sheet={sheet}: cannot be written: {error.strerror}") from error
  return found


def nearest(features: np.ndarray, query: np.ndarray | int, k: int) -> list[tuple[int, float]]:
  """Returns (row, cosine) of the k rows of float32 [n, f] nearest to a float32 [f], or to one of the rows (left out)."""
  own = query if isinstance(query, int) else None
  vector = features[query] if isinstance(query, int) else query
  values, rows = knn.neighbors(make_mesh(), features, vector[None], k + (own is not None))
  return [(int(row), float(value)) for row, value in zip(rows[0], values[0], strict=True) if row != own][:k]


def row_of(file: Embeddings, image: str) -> int | None:
  """Returns the row of an image in the file by its path there or its full path; None if it is not in the file.

  Raises UserError if several images have that path.
  """
  data = file.meta["data"]
  roots = [paths.absolute(data[name]) for name in ("path", "test_path") if data[name]]
  inside = [paths.absolute(image).removeprefix(root + os.sep) for root in roots]
  rows = np.flatnonzero(np.isin(file.path, [image, *inside]))
  if len(rows) > 1:
    raise UserError(f"--image={image}: the path of {len(rows)} images in the file; expected a full path")
  return int(rows[0]) if len(rows) else None


def read_image(image: str, file: Embeddings) -> np.ndarray:
  """Reads an image file as the run reads its images: [h, w, c]. Raises UserError if it cannot be read."""
  try:
    data = file.meta["data"]
    return decode(paths.read(image), data["channels"], image, dtype_of(data["bit_depth"]))
  except OSError as error:
    raise UserError(f"--image={image}: neither a path in the file nor a readable image: {error.strerror}") from error
  except DecodeError as error:
    raise UserError(f"--image={error}") from error


def embed_image(image: np.ndarray, file: Embeddings, workdir: pathlib.Path) -> np.ndarray:
  """Returns the features float32 [f] of an image by the network that made the file. Raises UserError for another run."""
  meta = file.meta
  config = load_run.read_config(workdir, {f"evals.{name}": meta[name] for name in ("network", "size", "resize")})
  config = dataclasses.replace(config, data=read(DataConfig, meta["data"]))
  run = load_run.load(workdir, config, meta["step"])
  if run.fingerprint != meta["weights"]:
    raise UserError(f"--workdir={workdir}: other weights than those that made the file; expected the run that made it")
  features, _, _ = run.embed(ArraySource(image[None], name="query"))
  return features[0]


def table(found: Sequence[Neighbor]) -> str:
  """Formats neighbors as a table: rank, cosine, class and split if known, path."""
  columns = {"rank": [str(f.rank) for f in found], "cosine": [f"{f.cosine:.4f}" for f in found]}
  for name, values in (
    ("class", [f.label for f in found]),
    ("split", [f.split for f in found]),
    ("path", [f.path for f in found]),
  ):
    if values[0] is not None:
      columns[name] = [one_line(str(value)) for value in values]
  widths = [max(map(len, [name, *values])) for name, values in columns.items()]
  lines = [list(columns), *zip(*columns.values(), strict=True)]
  return "\n".join("  ".join(text.ljust(w) for text, w in zip(line, widths, strict=True)).rstrip() for line in lines)


def draw_sheet(file: Embeddings, found: Sequence[Neighbor], query: np.ndarray | None) -> Image.Image:
  """Draws the neighbors, each with its cosine and class below it, after the query [h, w, c] if it is not in the file.

  An image that can no longer be read is left gray.
  """
  sources = _open_again(file)
  tiles: list[tuple[np.ndarray | None, str, str]] = [] if query is None else [(query, "query", "")]
  for neighbor in found:
    caption = f"{neighbor.rank}: {neighbor.cosine:.3f}" if neighbor.rank else "query"
    tiles.append((_read_again(file, neighbor.row, sources), caption, neighbor.label or ""))
  wide, high = SIDE + GAP, SIDE + 2 * TEXT + GAP
  across, down = min(COLUMNS, len(tiles)), -(-len(tiles) // COLUMNS)
  drawn = Image.new("RGB", (across * wide + GAP, down * high + GAP), "white")
  draw, font = ImageDraw.Draw(drawn), ImageFont.load_default(TEXT - 2)
  for k, (image, *lines) in enumerate(tiles):
    left, top = GAP + k % COLUMNS * wide, GAP + k // COLUMNS * high
    if image is None:
      drawn.paste("lightgray", (left, top, left + SIDE, top + SIDE))
    else:
      tile = Image.fromarray(viewable(image))
      drawn.paste(ImageOps.pad(tile, (SIDE, SIDE), Image.Resampling.BICUBIC, "white"), (left, top))
    for line, text in enumerate(lines):
      draw.text((left, top + SIDE + line * TEXT), text, "black", font)
  return drawn


def _open_again(file: Embeddings) -> dict[str, Source]:
  """Opens the images of the file; logs a warning and returns none if they are gone."""
  try:
    return open_splits(read(DataConfig, file.meta["data"]), file.meta["seed"], file.meta["whole"])
  except UserError as error:
    runlog.LOG.warning("the images cannot be drawn: %s", error)
    return {}


def _read_again(file: Embeddings, row: int, sources: dict[str, Source]) -> np.ndarray | None:
  """Reads an image of the file; None if the image at its position is gone or has another name."""
  source = sources.get(str(file.split[row])) if file.split is not None else next(iter(sources.values()), None)
  index = int(file.index[row])
  if source is None or index >= len(source) or name_of(source, index) != file.path[row]:
    return None
  try:
    return source.read(index)
  except DecodeError:
    return None
