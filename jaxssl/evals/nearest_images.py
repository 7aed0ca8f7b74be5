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
  row = _row_of(file, image)
  most = len(file.features) - (row is not None)
  if not 0 < k <= most:
    raise UserError(f"--k={k}: expected 1 to {most}, the other images in {embeddings}")
  if row is None:
    pixels, own, rows = _read_image(image, file), None, []
    query = _embed_image(pixels, file, path_of(workdir or file.meta["workdir"]))
  else:
    pixels, own, rows = None, np.array([row]), [(row, 1.0)]
    query = file.features[row]
  cosines, ids = knn.neighbors(make_mesh(), file.features, query[None], k, own=own)
  rows += zip(ids[0].tolist(), cosines[0].tolist(), strict=True)
  found = [
    Neighbor(rank, r, cosine, str(file.path[r]), *(x if x is None else str(x[r]) for x in (file.label, file.split)))
    for rank, (r, cosine) in enumerate(rows, row is None)
  ]
  if sheet:
    try:
      with paths.uploaded(sheet) as path:
        _draw_sheet(file, found, pixels).save(path)
    except OSError as error:
      raise UserError(f"--sheet={sheet}: cannot be written: {error.strerror}") from error
  return found


def _row_of(file: Embeddings, image: str) -> int | None:
  """Returns the row of an image in the file by its path there or its full path; None if it is not in the file."""
  data = file.meta["data"]
  roots = [paths.absolute(data[name]) for name in ("path", "test_path") if data[name]]
  inside = [paths.absolute(image).removeprefix(root + os.sep) for root in roots]
  rows = np.flatnonzero(np.isin(file.path, [image, *inside]))
  if len(rows) > 1:
    raise UserError(f"--image={image}: the path of {len(rows)} images in the file; expected a full path")
  return int(rows[0]) if len(rows) else None


def _read_image(image: str, file: Embeddings) -> np.ndarray:
  """Reads an image file as the run reads its images: [h, w, c]."""
  try:
    data = file.meta["data"]
    return decode(paths.read(image), data["channels"], image, dtype_of(data["bit_depth"]))
  except OSError as error:
    raise UserError(f"--image={image}: neither a path in the file nor a readable image: {error.strerror}") from error
  except DecodeError as error:
    raise UserError(f"--image={error}") from error


def _embed_image(image: np.ndarray, file: Embeddings, workdir: pathlib.Path) -> np.ndarray:
  """Returns the features float32 [f] of an image by the network that made the file."""
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
  lines = [("rank", "cosine", "class", "split", "path")]
  lines += [(str(f.rank), f"{f.cosine:.4f}", f.label, f.split, f.path) for f in found]
  columns = [[one_line(text) for text in column] for column in zip(*lines, strict=True) if None not in column]
  padded = [[text.ljust(max(map(len, column))) for text in column] for column in columns]
  return "\n".join("  ".join(line).rstrip() for line in zip(*padded, strict=True))


def _draw_sheet(file: Embeddings, found: Sequence[Neighbor], query: np.ndarray | None) -> Image.Image:
  """Draws the neighbors, each with its cosine and class below it, after the query [h, w, c] if it is not in the file.

  An image that can no longer be read is left gray.
  """
  sources: dict[str, Source] = {}
  try:
    sources = open_splits(read(DataConfig, file.meta["data"]), file.meta["seed"], file.meta["whole"])
  except UserError as error:
    runlog.LOG.warning("the images cannot be drawn: %s", error)
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
    tile = Image.new("RGB", (1, 1), "lightgray") if image is None else Image.fromarray(viewable(image))
    drawn.paste(ImageOps.pad(tile, (SIDE, SIDE), Image.Resampling.BICUBIC, "white"), (left, top))
    for line, text in enumerate(lines):
      draw.text((left, top + SIDE + line * TEXT), text, "black", font)
  return drawn


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
