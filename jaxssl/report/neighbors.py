"""Shows the nearest neighbors of a few images, now and over the epochs, and pairs of bootstrapped images."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxssl.core.json_io import count
from jaxssl.evals import neighbors
from jaxssl.evals.load_run import LoadedRun
from jaxssl.report.text import escape
from jaxssl.report.thumbnails import Gallery, as_shown
from jaxssl.workdir.records import RunRecord

SIDE = 64
FOLLOWED, ROWS = 4, 8  # images that are followed over the epochs; epochs shown of each
FRAMES = ' A <b class="same">blue frame</b> marks its class, an <b class="other">orange, dashed one</b> another class.'


def section(run: LoadedRun, record: RunRecord) -> str:
  """Returns the nearest neighbors, how they changed, and the bootstrapped pairs."""
  datasets = run.evaluator.datasets
  reference, train = Gallery(datasets.reference, SIDE), Gallery(datasets.train, SIDE)
  lines = [line for line in record.neighbors if _fits(line, len(datasets.reference), len(datasets.train))]
  lines = lines or [{"epoch": 0, **neighbors.nearest_examples(run.extractor, None)}]
  lines = [line for line in lines if line["images"] == lines[-1]["images"]]
  last, pairs = lines[-1], lines[-1]["partners"]

  cards = ""
  for row, others, similarities in zip(last["images"], last["neighbors"], last["similarities"], strict=True):
    tiles = reference.framed(row, others, [f"<small>{similarity:.2f}</small>" for similarity in similarities])
    name = escape(reference.name(row))
    name += f": {sum(reference.frame(row, other) == 'same' for other in others)} of {len(others)}" if name else ""
    cards += f'<figure class="near"><div>{reference.tile(row)}<small>{name}</small></div><div>{tiles}</div></figure>'
  frames = FRAMES if reference.source.labels is not None else " Do they show the same kind of object?"
  text = (
    f"<p>Images drawn at random; beside each the {neighbors.NEAREST} training images with the most similar features, "
    f'and their cosine similarity.{frames}</p>{as_shown(datasets.reference)}<div class="cards">{cards}</div>'
  )
  if len(lines) > 1:
    chosen = [lines[i] for i in np.unique(np.linspace(0, len(lines) - 1, ROWS).round().astype(int))]
    followed = ""
    for i, row in enumerate(last["images"][:FOLLOWED]):
      epochs = (f"<span>{line['epoch'] + 1}</span>{reference.framed(row, line['neighbors'][i])}" for line in chosen)
      head = f"{reference.tile(row)}<small>{escape(reference.name(row))}</small>"
      followed += f'<figure class="followed"><figcaption>{head}</figcaption><div>{"".join(epochs)}</div></figure>'
    text += "<h3>How they changed</h3><p>One row an epoch. Neighbors that converge to one kind of image are a good sign.</p>"
    text += f'<div class="cards">{followed}</div>'
  if pairs is None:
    return text
  text += f"<h3>Bootstrapped pairs</h3><p>In epoch {last['epoch'] + 1} "
  if not pairs:
    return f"{text}every image was its own partner.</p>"
  tiles = (f'<div class="pair {train.frame(*pair)}">{"<span>←</span>".join(map(train.tile, pair))}</div>' for pair in pairs)
  return f'{text}the right image supplied the left one\'s second view.</p><div class="pairs">{"".join(tiles)}</div>'


def _fits(line: Mapping[str, Any], reference: int, train: int) -> bool:
  """Returns whether a line of the file, which may be damaged, has all fields and numbers images of these sets."""
  try:
    images, nearest, cosines = (np.asarray(line[name]) for name in ("images", "neighbors", "similarities"))
    pairs = np.asarray(line["partners"] or np.zeros((0, 2), int))
  except (KeyError, ValueError, OverflowError):
    return False
  values = ((images, "i", 0, reference), (nearest, "i", 0, reference), (pairs, "i", 0, train), (cosines, "f", -2, 2))
  return (
    all(array.dtype.kind == kind and bool(((array >= least) & (array < end)).all()) for array, kind, least, end in values)
    and nearest.ndim == 2
    and nearest.shape == cosines.shape
    and nearest.shape[:1] == images.shape
    and pairs.shape[1:] == (2,)
    and count(line.get("epoch"))
  )
