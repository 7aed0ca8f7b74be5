"""`neighbors`: the pictures in a file of embeddings that are nearest to one picture, as a table and as a contact sheet."""

import dataclasses
import os
import pathlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont, ImageOps

from jaxssl import embeddings, flags, opened, parallel, paths
from jaxssl import logging as runlog
from jaxssl.config import DataConfig
from jaxssl.data.arrays import ArraySource
from jaxssl.data.base import Source
from jaxssl.data.every import Readable, name_of, open_every
from jaxssl.data.pictures import BadPicture, decode, dtype_of, viewable
from jaxssl.embeddings import Embeddings
from jaxssl.evals import knn
from jaxssl.evals.encode import encode
from jaxssl.evals.measure import network_of
from jaxssl.fields import read
from jaxssl.paths import path_of
from jaxssl.types import UserError, one_line

SIDE, TEXT, GAP, COLUMNS = 160, 14, 8, 6  # of a contact sheet: pixels a picture, a line and a gap; pictures a row


class Found(NamedTuple):
  """A row of the table, and of the file: rank 0 is the picture asked about."""

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
  file = embeddings.load(known.embeddings)
  if not np.isfinite(file.features).all():
    raise UserError(f"{known.embeddings} holds features that are not finite")
  row = row_of(file, known.image)
  most = len(file.features) - (row is not None)
  if not 0 < known.k <= most:
    raise UserError(f"--k {known.k} is not allowed; 1 to {most}, the other pictures in {known.embeddings}")
  picture = None
  if row is None:
    picture = read_picture(known.image, file)
    query = embed_picture(picture, file, known.workdir or path_of(file.meta["workdir"]))
    found = nearest(file.features, query, known.k)
  else:
    found = [Found(0, row, 1.0), *nearest(file.features, row, known.k)]
  print(table(file, found))
  if known.sheet is not None:
    try:
      with paths.brought(known.sheet) as made:
        sheet(file, found, picture).save(made)
    except OSError as error:
      raise UserError(f"--sheet {known.sheet} cannot be written: {error.strerror}") from error
  return 0


def nearest(features: np.ndarray, query: np.ndarray | int, k: int) -> list[Found]:
  """Finds the k rows of `features` float32 [n, f] nearest to a query float32 [f], or to one of them, itself left out."""
  own = query if isinstance(query, int) else None
  asked = features[query] if isinstance(query, int) else query
  values, rows = knn.neighbors(parallel.make_mesh(), features, asked[None], k + (own is not None))
  pairs = [(int(row), float(value)) for row, value in zip(rows[0], values[0], strict=True) if row != own][:k]
  return [Found(rank, row, value) for rank, (row, value) in enumerate(pairs, 1)]


def row_of(file: Embeddings, image: str) -> int | None:
  """Finds a picture in the file by its path there, or by its full name; None where it is not in it.

  Raises UserError where several pictures have that path.
  """
  data = file.meta["data"]
  roots = [paths.whole(data[name]) for name in ("path", "test_path") if data[name]]
  inside = [paths.whole(image).removeprefix(root + os.sep) for root in roots]
  rows = np.flatnonzero(np.isin(file.path, [image, *inside]))
  if len(rows) > 1:
    raise UserError(f"--image {image} is the path of {len(rows)} pictures in the file; give a picture's full name")
  return int(rows[0]) if len(rows) else None


def read_picture(image: str, file: Embeddings) -> np.ndarray:
  """Reads a picture file as the run read its own: [h, w, c]. Raises UserError where it cannot be read."""
  try:
    data = file.meta["data"]
    return decode(paths.read(image), data["channels"], image, dtype_of(data.get("depth", 8)))
  except OSError as error:
    raise UserError(
      f"--image {image} is neither a path in the file nor a picture that can be read: {error.strerror}"
    ) from error
  except BadPicture as error:
    raise UserError(f"--image {error}") from error


def embed_picture(picture: np.ndarray, file: Embeddings, workdir: pathlib.Path) -> np.ndarray:
  """Gives float32 [f] of a picture, by the network that made the file. Raises UserError where `workdir` holds another."""
  meta = file.meta
  config = opened.read_config(workdir, [f"--evals.{name}={meta[name]}" for name in ("network", "size", "resize")])
  config = dataclasses.replace(config, data=read(DataConfig, meta["data"]))
  network, online, teacher, _ = opened.open_network(workdir, config, meta["step"])
  variables = teacher if teacher is not None and network_of(config, True) == "teacher" else online
  if opened.fingerprint(variables) != meta["weights"]:
    raise UserError(f"--workdir {workdir} holds other weights than those that made the file; name the run that made it")
  store_size = config.data.store_size if config.data.placement == "device" else 0
  one = Readable(ArraySource(picture[None], name="query"), np.arange(1), store_size)
  mesh = parallel.make_mesh()
  features, _ = encode(config, mesh, network, parallel.everywhere(mesh, variables), one)
  return features[0]


def table(file: Embeddings, found: Sequence[Found]) -> str:
  """Writes one line a picture: rank, cosine, class if there are classes, split if there are several, path."""
  columns = {"rank": [str(f.rank) for f in found], "cosine": [f"{f.cosine:.4f}" for f in found]}
  for name, values in (("class", file.label), ("split", file.split), ("path", file.path)):
    if values is not None:
      columns[name] = [one_line(str(values[f.row])) for f in found]
  widths = [max(map(len, [name, *values])) for name, values in columns.items()]
  lines = [list(columns), *zip(*columns.values(), strict=True)]
  return "\n".join("  ".join(text.ljust(w) for text, w in zip(line, widths, strict=True)).rstrip() for line in lines)


def sheet(file: Embeddings, found: Sequence[Found], query: np.ndarray | None) -> Image.Image:
  """Draws the query, where it is not in the file itself, and what was found, each with its cosine and class beneath.

  A picture that can no longer be read is left grey.
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
  for k, (picture, *lines) in enumerate(tiles):
    left, top = GAP + k % COLUMNS * wide, GAP + k // COLUMNS * high
    if picture is None:
      drawn.paste("lightgrey", (left, top, left + SIDE, top + SIDE))
    else:
      image = Image.fromarray(viewable(picture))
      drawn.paste(ImageOps.pad(image, (SIDE, SIDE), Image.Resampling.BICUBIC, "white"), (left, top))
    for line, text in enumerate(lines):
      draw.text((left, top + SIDE + line * TEXT), text, "black", font)
  return drawn


def _open_again(file: Embeddings) -> dict[str, Source]:
  """Opens the pictures of the file; none, and a line in the log, where they are no longer there."""
  try:
    return open_every(read(DataConfig, file.meta["data"]), file.meta["seed"], file.meta["whole"])
  except UserError as error:
    runlog.LOG.warning("the pictures are not drawn: %s", error)
    return {}


def _read_again(file: Embeddings, row: int, sources: dict[str, Source]) -> np.ndarray | None:
  """Reads a picture of the file; None where there is none of this name at its place any more."""
  source = sources.get(str(file.split[row])) if file.split is not None else next(iter(sources.values()), None)
  index = int(file.index[row])
  if source is None or index >= len(source) or name_of(source, index) != file.path[row]:
    return None
  try:
    return source.read(index)
  except BadPicture:
    return None
