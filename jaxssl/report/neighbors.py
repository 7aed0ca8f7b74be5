"""Nearest neighbors of a few images, now and over the epochs, and pairs of bootstrapped images."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jaxssl.core.json_io import count, finite
from jaxssl.data.datasets import Dataset
from jaxssl.evals import neighbors
from jaxssl.evals.load_run import LoadedRun
from jaxssl.report.text import escape
from jaxssl.report.thumbnails import Sheet, as_shown, class_of, name_of, thumbnail
from jaxssl.workdir.records import RunRecord

SIDE = 64
FOLLOWED, ROWS = 4, 8  # images that are followed over the epochs; epochs shown of each
FRAMES = ' A <b class="same">blue frame</b> marks its class, an <b class="other">orange, dashed one</b> another class.'


def section(key: str, run: LoadedRun, record: RunRecord) -> tuple[str, str]:
  """Returns the gallery, and the style of its images for the head of the page."""
  reference, train = run.evaluator.datasets.reference, run.evaluator.datasets.train
  lines = [line for line in record.neighbors if _fits(line, len(reference), len(train))]
  lines = lines or [{"epoch": 0, **neighbors.nearest_examples(run.extractor, None)}]
  chosen = [lines[i] for i in np.unique(np.linspace(0, len(lines) - 1, ROWS).round().astype(int))]
  last, pairs = lines[-1], lines[-1]["partners"]
  near = {row for line in chosen for rows in (line["images"], *line["neighbors"]) for row in rows}
  images = {("reference", row): thumbnail(reference, row, SIDE) for row in sorted(near)}
  images |= {("train", row): thumbnail(train, row, SIDE) for row in sorted({row for pair in pairs or [] for row in pair})}
  sheet = Sheet(f"{key}-near", images)

  cards = "".join(_card(sheet, reference, last, i) for i in range(len(last["images"])))
  frames = FRAMES if reference.source.labels is not None else " Do they show the same kind of object?"
  text = (
    f"<p>Images drawn at random; beside each the {neighbors.NEAREST} training images with the most similar features, "
    f'and their cosine similarity.{frames}</p>{as_shown(reference)}<div class="cards">{cards}</div>'
  )
  if len(lines) > 1:
    followed = "".join(_followed(sheet, reference, chosen, i) for i in range(min(FOLLOWED, len(last["images"]))))
    text += "<h3>How they changed</h3><p>One row an epoch. Neighbors that converge to one kind of image are a good sign.</p>"
    text += f'<div class="cards">{followed}</div>'
  if pairs is not None:
    text += f"<h3>Bootstrapped pairs</h3>{_pairs(sheet, train, pairs, last['epoch'])}"
  return text, sheet.style


def _fits(line: Mapping[str, Any], reference: int, train: int) -> bool:
  """Returns whether a line is complete and refers to images that exist."""

  def rows(values: Any, below: int) -> bool:
    return isinstance(values, list) and all(count(row) and row < below for row in values)

  images, near, alike, pairs = (line.get(name) for name in ("images", "neighbors", "similarities", "partners"))
  if not (isinstance(near, list) and isinstance(alike, list) and isinstance(pairs, list | None) and "partners" in line):
    return False
  return (
    rows(images, reference)
    and bool(images)
    and len(images) == len(near) == len(alike)
    and all(
      rows(some, reference) and isinstance(values, list) and len(some) == len(values) and None not in map(finite, values)
      for some, values in zip(near, alike, strict=True)
    )
    and all(rows(pair, train) and len(pair) == 2 for pair in pairs or [])
    and count(line.get("epoch"))
  )


def _frame(split: Dataset, row: int, other: int) -> str:
  one, two = class_of(split, row), class_of(split, other)
  return "" if not one or not two else "same" if one == two else "other"


def _near(sheet: Sheet, reference: Dataset, row: int, other: int, similarity: float | None = None) -> str:
  number = "" if similarity is None else f"<small>{similarity:.2f}</small>"
  return (
    f'<div class="{_frame(reference, row, other)}">{sheet.tile(("reference", other), name_of(reference, other))}{number}</div>'
  )


def _card(sheet: Sheet, reference: Dataset, line: Mapping[str, Any], i: int) -> str:
  row, others = line["images"][i], line["neighbors"][i]
  near = "".join(_near(sheet, reference, row, *pair) for pair in zip(others, line["similarities"][i], strict=True))
  name = escape(class_of(reference, row))
  name += f": {sum(_frame(reference, row, other) == 'same' for other in others)} of {len(others)}" if name else ""
  image = f"<div>{sheet.tile(('reference', row), name_of(reference, row))}<small>{name}</small></div>"
  return f'<figure class="near">{image}<div>{near}</div></figure>'


def _followed(sheet: Sheet, reference: Dataset, lines: Sequence[Mapping[str, Any]], i: int) -> str:
  row, body = lines[-1]["images"][i], ""
  for line in lines:
    near = "".join(_near(sheet, reference, row, other) for other in line["neighbors"][i])
    body += f"<span>{line['epoch'] + 1}</span>{near}"
  head = f"{sheet.tile(('reference', row), name_of(reference, row))}<small>{escape(class_of(reference, row))}</small>"
  return f'<figure class="followed"><figcaption>{head}</figcaption><div>{body}</div></figure>'


def _pairs(sheet: Sheet, train: Dataset, pairs: Sequence[Sequence[int]], epoch: int) -> str:
  if not pairs:
    return f"<p>None in epoch {epoch + 1}: every image was its own partner.</p>"
  shown = ""
  for one, other in pairs:
    tiles = "<span>←</span>".join(sheet.tile(("train", row), name_of(train, row)) for row in (one, other))
    shown += f'<div class="pair {_frame(train, one, other)}">{tiles}</div>'
  return f'<p>In epoch {epoch + 1} the right image supplied the left one\'s second view.</p><div class="pairs">{shown}</div>'
