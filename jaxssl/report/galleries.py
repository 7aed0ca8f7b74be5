"""Nearest neighbours of a few pictures, now and over the epochs, and who was bootstrapped to whom."""

import html
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jaxssl.evals import gallery
from jaxssl.opened import Opened
from jaxssl.report.pictures import Sheet, class_of, says, thumbnail
from jaxssl.report.record import Record
from jaxssl.splits import Split

SIDE = 64
HISTORY, ROWS = 4, 8  # pictures whose neighbours are followed over the epochs, and epochs shown of each


def section(key: str, run: Opened, record: Record) -> tuple[str, str]:
  """Makes the gallery and what its pictures need in the page's head."""
  bank, train = run.measure.splits.bank, run.measure.splits.train
  lines = [line for line in record.neighbors if _fits(line, len(bank), len(train))]
  if not lines:
    lines = [{"epoch": None, "step": run.step, **gallery.look(run.subject, None)}]
  chosen = [lines[i] for i in np.unique(np.linspace(0, len(lines) - 1, ROWS).round().astype(int))]
  pairs = lines[-1]["partners"]
  near = {row for line in (chosen[-1:] + chosen) for ids in (line["pictures"], *line["neighbors"]) for row in ids}
  pictures: dict[Any, np.ndarray] = {("bank", row): thumbnail(bank, row, SIDE) for row in sorted(near)}
  pictures |= {("train", row): thumbnail(train, row, SIDE) for row in sorted({row for pair in pairs or [] for row in pair})}
  sheet = Sheet(f"{key}-near", pictures)

  labelled = bank.source.labels is not None
  frame = ' A <b class="same">blue frame</b>: of its class; an <b class="other">orange, broken one</b>: of another.'
  text = f"<p>Left, pictures drawn at random; beside each its {gallery.NEAREST} most similar training pictures, with their similarity"
  text += f" (1: the same direction).{frame if labelled else ' Do they show the same kind of thing?'}</p>"
  text += f'<div class="cards">{"".join(_card(sheet, bank, lines[-1], i) for i in range(len(lines[-1]["pictures"])))}</div>'
  if len(lines) > 1:
    text += "<h3>How they changed</h3><p>A row is an epoch. Neighbours that settle on the same kind of picture are a good sign.</p>"
    text += f'<div class="cards">{"".join(_history(sheet, bank, chosen, i) for i in range(min(HISTORY, len(lines[-1]["pictures"]))))}</div>'
  if pairs is not None:
    text += "<h3>Who was bootstrapped to whom</h3>"
    text += _pairs(sheet, train, pairs, lines[-1]["epoch"])
  return text, sheet.style


def _fits(line: Mapping[str, Any], bank: int, train: int) -> bool:
  """Whether a line can be of these pictures."""
  rows, pairs = [line["pictures"], *line["neighbors"]], line["partners"] or []
  return all(row < bank for ids in rows for row in ids) and all(row < train for pair in pairs for row in pair)


def _frame(split: Split, row: int, other: int) -> str:
  one, two = class_of(split, row), class_of(split, other)
  return "" if not one or not two else "same" if one == two else "other"


def _near(sheet: Sheet, bank: Split, row: int, other: int, similarity: float | None) -> str:
  number = "" if similarity is None else f"<small>{similarity:.2f}</small>"
  tile = sheet.tile(("bank", other), says(bank, other) + (f", similarity {similarity:.2f}" if similarity is not None else ""))
  return f'<div class="{_frame(bank, row, other)}">{tile}{number}</div>'


def _card(sheet: Sheet, bank: Split, line: Mapping[str, Any], i: int) -> str:
  row, others = line["pictures"][i], line["neighbors"][i]
  near = "".join(_near(sheet, bank, row, *pair) for pair in zip(others, line["similarities"][i], strict=True))
  name = class_of(bank, row)
  if name:
    same = sum(_frame(bank, row, other) == "same" for other in others)
    name = f"{html.escape(name)}: {same} of {len(others)}"
  return f'<figure class="near"><div>{sheet.tile(("bank", row), says(bank, row))}<small>{name}</small></div><div>{near}</div></figure>'


def _history(sheet: Sheet, bank: Split, lines: Sequence[Mapping[str, Any]], i: int) -> str:
  row = lines[-1]["pictures"][i]
  body = ""
  for line in lines:
    near = "".join(_near(sheet, bank, row, other, None) for other in line["neighbors"][i])
    body += f'<span>{line["epoch"] + 1 if line["epoch"] is not None else ""}</span>{near}'
  name = class_of(bank, row)
  head = f'<div>{sheet.tile(("bank", row), says(bank, row))}</div><small>{html.escape(name)}</small>'
  return f'<figure class="history"><figcaption>{head}</figcaption><div>{body}</div></figure>'


def _pairs(sheet: Sheet, train: Split, pairs: Sequence[Sequence[int]], epoch: int | None) -> str:
  if not pairs:
    return "<p>Nobody in the last epoch that was looked at: every picture was its own partner.</p>"
  shown = "".join(
    f'<div class="pair {_frame(train, one, other)}">{sheet.tile(("train", one), says(train, one))}<span>←</span>'
    f"{sheet.tile(('train', other), says(train, other))}</div>"
    for one, other in pairs
  )
  when = "" if epoch is None else f" In epoch {epoch + 1}, for example:"
  return f"<p>The right picture gave the left one's second view.{when}</p><div class='pairs'>{shown}</div>"
