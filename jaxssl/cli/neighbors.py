"""`neighbors`: the images in a file of embeddings that are nearest to one image, as a table and as a contact sheet."""

import dataclasses
import os
import pathlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont, ImageOps

from jaxssl.config import flags
from jaxssl.config.parse import read
from jaxssl.config.schema import DataConfig
from jaxssl.core import log as runlog
from jaxssl.core import paths
from jaxssl.core.errors import UserError, one_line
from jaxssl.core.paths import path_of
from jaxssl.data.arrays import ArraySource
from jaxssl.data.datasets import name_of, open_every
from jaxssl.data.image_io import DecodeError, decode, dtype_of, viewable
from jaxssl.data.source import Source
from jaxssl.evals import embedding_file, knn, load_run
from jaxssl.evals.embedding_file import Embeddings
from jaxssl.parallel.mesh import make_mesh

SIDE, TEXT, GAP, COLUMNS = 160, 14, 8, 6  # of a contact sheet: pixels an image, a line and a gap; images a row


class Neighbor(NamedTuple):
  """A row of the table, and of the file: rank 0 is the image asked about."""

  rank: int
  row: int
  cosine: float


def neighbors(argv: Sequence[str]) -> int:
  """Runs `neighbors --embeddings FILE --image IMAGE [--k 10] [--workdir DIR] [--sheet OUT.png]`."""
  parser = flags.Parser(add_help=False, allow_abbrev=False)
  parser.add_argument("--embeddings", type=path_of, required=True)
  parser.add_argument("--image", required=True)
  parser.add_argument("--k", type=int, default=10)
  parser.add_argument("--workdir", type=path_of)
  parser.add_argument("--sheet", type=path_of)
  known = parser.parse_args(list(argv))
  if known.sheet is not None and known.sheet.suffix != ".png":
    raise UserError(f"--sheet {known.sheet} is not allowed; it ends in .png")
  runlog.start(None)
  file = embedding_file.load(known.embeddings)
  if not np.isfinite(file.features).all():
    raise UserError(f"{known.embeddings} holds features that are not finite")
  row = row_of(file, known.image)
  most = len(file.features) - (row is not None)
  if not 0 < known.k <= most:
    raise UserError(f"--k {known.k} is not allowed; 1 to {most}, the other images in {known.embeddings}")
  image = None
  if row is None:
    image = read_image(known.image, file)
    query = embed_image(image, file, known.workdir or path_of(file.meta["workdir"]))
    found = nearest(file.features, query, known.k)
  else:
    found = [Neighbor(0, row, 1.0), *nearest(file.features, row, known.k)]
  print(table(file, found))
  if known.sheet is not None:
    try:
      with paths.uploaded(known.sheet) as made:
        sheet(file, found, image).save(made)
    except OSError as error:
      raise UserError(f"--sheet {known.sheet} cannot be written: {error.strerror}") from error
  return 0


def nearest(features: np.ndarray, query: np.ndarray | int, k: int) -> list[Neighbor]:
  """Finds the k rows of `features` float32 [n, f] nearest to a query float32 [f], or to one of them, itself left out."""
  own = query if isinstance(query, int) else None
  asked = features[query] if isinstance(query, int) else query
  values, rows = knn.neighbors(make_mesh(), features, asked[None], k + (own is not None))
  pairs = [(int(row), float(value)) for row, value in zip(rows[0], values[0], strict=True) if row != own][:k]
  return [Neighbor(rank, row, value) for rank, (row, value) in enumerate(pairs, 1)]


def row_of(file: Embeddings, image: str) -> int | None:
  """Finds an image in the file by its path there, or by its full name; None where it is not in it.

  Raises UserError where several images have that path.
  """
  data = file.meta["data"]
  roots = [paths.absolute(data[name]) for name in ("path", "test_path") if data[name]]
  inside = [paths.absolute(image).removeprefix(root + os.sep) for root in roots]
  rows = np.flatnonzero(np.isin(file.path, [image, *inside]))
  if len(rows) > 1:
    raise UserError(f"--image {image} is the path of {len(rows)} images in the file; give an image's full name")
  return int(rows[0]) if len(rows) else None


def read_image(image: str, file: Embeddings) -> np.ndarray:
  """Reads an image file as the run read its own: [h, w, c]. Raises UserError where it cannot be read."""
  try:
    data = file.meta["data"]
    return decode(paths.read(image), data["channels"], image, dtype_of(data["bit_depth"]))
  except OSError as error:
    raise UserError(f"--image {image} is neither a path in the file nor an image that can be read: {error.strerror}") from error
  except DecodeError as error:
    raise UserError(f"--image {error}") from error


def embed_image(image: np.ndarray, file: Embeddings, workdir: pathlib.Path) -> np.ndarray:
  """Gives float32 [f] of an image, by the network that made the file. Raises UserError where `workdir` holds another."""
  meta = file.meta
  config = load_run.read_config(workdir, [f"--evals.{name}={meta[name]}" for name in ("network", "size", "resize")])
  config = dataclasses.replace(config, data=read(DataConfig, meta["data"]))
  run = load_run.load(workdir, config, meta["step"])
  if run.fingerprint != meta["weights"]:
    raise UserError(f"--workdir {workdir} holds other weights than those that made the file; name the run that made it")
  features, _, _ = run.embed(ArraySource(image[None], name="query"))
  return features[0]


def table(file: Embeddings, found: Sequence[Neighbor]) -> str:
  """Writes one line an image: rank, cosine, class if there are classes, split if there are several, path."""
  columns = {"rank": [str(f.rank) for f in found], "cosine": [f"{f.cosine:.4f}" for f in found]}
  for name, values in (("class", file.label), ("split", file.split), ("path", file.path)):
    if values is not None:
      columns[name] = [one_line(str(values[f.row])) for f in found]
  widths = [max(map(len, [name, *values])) for name, values in columns.items()]
  lines = [list(columns), *zip(*columns.values(), strict=True)]
  return "\n".join("  ".join(text.ljust(w) for text, w in zip(line, widths, strict=True)).rstrip() for line in lines)


def sheet(file: Embeddings, found: Sequence[Neighbor], query: np.ndarray | None) -> Image.Image:
  """Draws the query, where it is not in the file itself, and what was found, each with its cosine and class beneath.

  An image that can no longer be read is left gray.
  """
  sources = _open_again(file)
  tiles: list[tuple[np.ndarray | None, str, str]] = [] if query is None else [(query, "query", "")]
  for rank, row, cosine in found:
    says = f"{rank}: {cosine:.3f}" if rank else "query"
    tiles.append((_read_again(file, row, sources), says, "" if file.label is None else str(file.label[row])))
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
  """Opens the images of the file; none, and a line in the log, where they are no longer there."""
  try:
    return open_every(read(DataConfig, file.meta["data"]), file.meta["seed"], file.meta["whole"])
  except UserError as error:
    runlog.LOG.warning("the images are not drawn: %s", error)
    return {}


def _read_again(file: Embeddings, row: int, sources: dict[str, Source]) -> np.ndarray | None:
  """Reads an image of the file; None where there is none of this name at its place any more."""
  source = sources.get(str(file.split[row])) if file.split is not None else next(iter(sources.values()), None)
  index = int(file.index[row])
  if source is None or index >= len(source) or name_of(source, index) != file.path[row]:
    return None
  try:
    return source.read(index)
  except DecodeError:
    return None
