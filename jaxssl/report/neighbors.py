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
  chosen = [lines[i] for i in np.unique(np.linspace(0, len(lines) - 1, ROWS).round().astype(int))]
  last, pairs = lines[-1], lines[-1]["partners"]

  cards = "".join(
    _card(reference, *example) for example in zip(last["images"], last["neighbors"], last["similarities"], strict=True)
  )
  frames = FRAMES if reference.source.labels is not None else " Do they show the same kind of object?"
  text = (
    f"<p>Images drawn at random; beside each the {neighbors.NEAREST} training images with the most similar features, "
    f'and their cosine similarity.{frames}</p>{as_shown(datasets.reference)}<div class="cards">{cards}</div>'
  )
  if len(lines) > 1:
    followed = ""
    for i, row in enumerate(last["images"][:FOLLOWED]):
      followed += _followed(reference, row, {line["epoch"]: line["neighbors"][i] for line in chosen})
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

  def rows(values: Any, below: int, *shape: int) -> bool:
    array = np.asarray(values)
    return array.dtype.kind == "i" and array.shape == shape and bool(((array >= 0) & (array < below)).all())

  try:
    images, similarities, pairs = len(line["images"]), np.asarray(line["similarities"]), line["partners"]
    return (
      images > 0
      and rows(line["images"], reference, images)
      and similarities.dtype.kind == "f"
      and bool(np.isfinite(similarities).all())
      and similarities.ndim == 2
      and rows(line["neighbors"], reference, images, similarities.shape[1])
      and len(similarities) == images
      and (pairs is None or pairs == [] or rows(pairs, train, len(pairs), 2))
      and count(line.get("epoch"))
    )
  except (KeyError, TypeError, ValueError, OverflowError):
    return False


def _card(gallery: Gallery, row: int, others: list[int], similarities: list[float]) -> str:
  captions = (f"<small>{similarity:.2f}</small>" for similarity in similarities)
  tiles = "".join(_framed(gallery, row, other, caption) for other, caption in zip(others, captions, strict=True))
  name = escape(gallery.name(row))
  name += f": {sum(gallery.frame(row, other) == 'same' for other in others)} of {len(others)}" if name else ""
  return f'<figure class="near"><div>{gallery.tile(row)}<small>{name}</small></div><div>{tiles}</div></figure>'


def _followed(gallery: Gallery, row: int, epochs: Mapping[int, list[int]]) -> str:
  body = ""
  for epoch, others in epochs.items():
    body += f"<span>{epoch + 1}</span>" + "".join(_framed(gallery, row, other) for other in others)
  head = f"{gallery.tile(row)}<small>{escape(gallery.name(row))}</small>"
  return f'<figure class="followed"><figcaption>{head}</figcaption><div>{body}</div></figure>'


def _framed(gallery: Gallery, row: int, other: int, caption: str = "") -> str:
  return f'<div class="{gallery.frame(row, other)}">{gallery.tile(other)}{caption}</div>'
