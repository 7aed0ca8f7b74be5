"""Nearest neighbors of a few images, now and over the epochs, and who was bootstrapped to whom."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jaxssl.core.json_io import count, finite
from jaxssl.data.datasets import Dataset
from jaxssl.evals import neighbors
from jaxssl.evals.load_run import LoadedRun
from jaxssl.report.descriptions import escape
from jaxssl.report.thumbnails import Sheet, as_shown, class_of, says, thumbnail
from jaxssl.workdir.records import RunRecord

SIDE = 64
FOLLOWED, ROWS = 4, 8  # images whose neighbors are shown over the epochs, and epochs shown of each
FRAMES = ' A <b class="same">blue frame</b>: of its class; an <b class="other">orange, broken one</b>: of another.'


def section(key: str, run: LoadedRun, record: RunRecord) -> tuple[str, str]:
  """Makes the gallery and what its images need in the page's head."""
  bank, train = run.measure.splits.reference, run.measure.splits.train
  lines = [line for line in record.neighbors if _fits(line, len(bank), len(train))]
  lines = lines or [{"epoch": 0, **neighbors.nearest_examples(run.subject, None)}]
  chosen = [lines[i] for i in np.unique(np.linspace(0, len(lines) - 1, ROWS).round().astype(int))]
  last, pairs = lines[-1], lines[-1]["partners"]
  near = {row for line in chosen for rows in (line["images"], *line["neighbors"]) for row in rows}
  images = {("bank", row): thumbnail(bank, row, SIDE) for row in sorted(near)}
  images |= {("train", row): thumbnail(train, row, SIDE) for row in sorted({row for pair in pairs or [] for row in pair})}
  sheet = Sheet(f"{key}-near", images)

  cards = "".join(_card(sheet, bank, last, i) for i in range(len(last["images"])))
  how = FRAMES if bank.source.labels is not None else " Do they show the same kind of thing?"
  text = (
    f"<p>Large, images drawn at random; beside each the {neighbors.NEAREST} training images that the network finds most "
    f'similar, with their similarity (1: the same direction).{how}</p>{as_shown(bank)}<div class="cards">{cards}</div>'
  )
  if len(lines) > 1:
    followed = "".join(_followed(sheet, bank, chosen, i) for i in range(min(FOLLOWED, len(last["images"]))))
    text += "<h3>How they changed</h3><p>A row is an epoch. Neighbors that settle on one kind of image are a good sign.</p>"
    text += f'<div class="cards">{followed}</div>'
  if pairs is not None:
    text += f"<h3>Who was bootstrapped to whom</h3>{_pairs(sheet, train, pairs, last['epoch'])}"
  return text, sheet.style


def _fits(line: Mapping[str, Any], bank: int, train: int) -> bool:
  """Whether a line is whole, and can be of these images."""

  def rows(values: Any, below: int) -> bool:
    return isinstance(values, list) and all(count(row) and row < below for row in values)

  asked, near, alike, pairs = (line.get(name) for name in ("images", "neighbors", "similarities", "partners"))
  if not (isinstance(near, list) and isinstance(alike, list) and isinstance(pairs, list | None) and "partners" in line):
    return False
  return (
    rows(asked, bank)
    and bool(asked)
    and len(asked) == len(near) == len(alike)
    and all(
      rows(some, bank) and isinstance(values, list) and len(some) == len(values) and None not in map(finite, values)
      for some, values in zip(near, alike, strict=True)
    )
    and all(rows(pair, train) and len(pair) == 2 for pair in pairs or [])
    and count(line.get("epoch"))
  )


def _frame(split: Dataset, row: int, other: int) -> str:
  one, two = class_of(split, row), class_of(split, other)
  return "" if not one or not two else "same" if one == two else "other"


def _near(sheet: Sheet, bank: Dataset, row: int, other: int, similarity: float | None = None) -> str:
  number = "" if similarity is None else f"<small>{similarity:.2f}</small>"
  return f'<div class="{_frame(bank, row, other)}">{sheet.tile(("bank", other), says(bank, other))}{number}</div>'


def _card(sheet: Sheet, bank: Dataset, line: Mapping[str, Any], i: int) -> str:
  row, others = line["images"][i], line["neighbors"][i]
  near = "".join(_near(sheet, bank, row, *pair) for pair in zip(others, line["similarities"][i], strict=True))
  name = escape(class_of(bank, row))
  name += f": {sum(_frame(bank, row, other) == 'same' for other in others)} of {len(others)}" if name else ""
  image = f"<div>{sheet.tile(('bank', row), says(bank, row))}<small>{name}</small></div>"
  return f'<figure class="near">{image}<div>{near}</div></figure>'


def _followed(sheet: Sheet, bank: Dataset, lines: Sequence[Mapping[str, Any]], i: int) -> str:
  row, body = lines[-1]["images"][i], ""
  for line in lines:
    near = "".join(_near(sheet, bank, row, other) for other in line["neighbors"][i])
    body += f"<span>{line['epoch'] + 1}</span>{near}"
  head = f"{sheet.tile(('bank', row), says(bank, row))}<small>{escape(class_of(bank, row))}</small>"
  return f'<figure class="followed"><figcaption>{head}</figcaption><div>{body}</div></figure>'


def _pairs(sheet: Sheet, train: Dataset, pairs: Sequence[Sequence[int]], epoch: int) -> str:
  if not pairs:
    return f"<p>Nobody in epoch {epoch + 1}: every image was its own partner.</p>"
  shown = ""
  for one, other in pairs:
    tiles = "<span>←</span>".join(sheet.tile(("train", row), says(train, row)) for row in (one, other))
    shown += f'<div class="pair {_frame(train, one, other)}">{tiles}</div>'
  return f'<p>In epoch {epoch + 1} the right image gave the left one\'s other view.</p><div class="pairs">{shown}</div>'
