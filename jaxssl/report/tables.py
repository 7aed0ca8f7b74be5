"""Renders tables of measurements, differing config fields, alerts, and the config."""

import json
from collections.abc import Mapping, Sequence

from jaxssl.core.metric import Metric, protocol_text
from jaxssl.core.tree import flatten
from jaxssl.report.curves import defined
from jaxssl.report.groups import Cell, Group, compared
from jaxssl.report.text import deviation, escape, number, value_and_std
from jaxssl.workdir.records import Baseline, RunRecord

MISSING = "—"
LOGGED, SHOWN = 10, 25  # lines of the log; differing fields that are shown without unfolding


def value(x: float | None, std: float | None = None, chosen: Mapping | None = None) -> str:
  """Renders a number of results.json, which the markup holds in full, and what its protocol chose."""
  if x is None:
    return number(x)
  text = f'<data value="{x!r}">{number(x)}</data>' + deviation(x, std)
  return f"{text}<br><small>{escape(protocol_text(chosen))}</small>" if chosen else text


def evaluations(record: RunRecord, dataset: str = "") -> str:
  """Returns the table of one run's last values, on its own images or on others."""
  rows, finals = [], record.finals(dataset)
  names = [metric.name for metric in defined([record], [final.name for final in finals])]
  before = "imported" if any("imported" in final.baselines for final in finals) else "untrained"
  for final in sorted(finals, key=lambda final: names.index(final.name)):
    cells, undirected = [f"<b>{value(final.value, final.std, final.chosen)}</b>"], final.metric.higher_is_better is None
    for subject in (before, "raw_pixels"):
      cells.append(_baseline(final.baselines[subject]) if subject in final.baselines else "" if undirected else MISSING)
    network = final.subject.replace("_", " ") + (" network" if final.subject in ("teacher", "student") else "")
    step = f"step {final.step}" if final.step != record.step else ""
    small = ", ".join(filter(None, (protocol_text(final.protocol), network, step)))
    rows.append((escape(final.metric.title), cells, _small(final.metric, small)))
  return _table("values", ["this run", before, "raw pixels"], rows)


def _baseline(level: Baseline) -> str:
  seeds = f"<br><small>{level.seeds} seeds</small>" if level.seeds > 1 else ""
  return value(level.value, level.std) + seeds


def other_images(record: RunRecord) -> str:
  """Returns a table for each of the other sets of images that a run was evaluated on; empty if there are none."""
  return "".join(f"<h3>On other images: {escape(dataset)}</h3>{evaluations(record, dataset)}" for dataset in record.datasets)


def side_by_side(groups: Sequence[Group]) -> str:
  """Returns the table of the groups' last values: one row per metric and protocol, the best mean in bold.

  Rows that only some of the groups have follow folded.
  """
  full, partial = [], []
  for metric, protocol, cells in compared(groups):
    measured = [cell for cell in cells if cell is not None]
    known = [cell.mean for cell in measured if cell.mean is not None]
    ranked = metric.higher_is_better is not None and len(known) > 1
    best = (max if metric.higher_is_better else min)(known) if ranked else None
    baselines = [cell.baselines for cell in measured]
    levels = {subject: x for subject, x in baselines[0].items() if all(x == other.get(subject) for other in baselines)}
    shared = "".join(f"; {subject.replace('_', ' ')} {value_and_std(x.value, x.std)}" for subject, x in levels.items())
    texts = [MISSING if cell is None else _cell(cell, best) for cell in cells]
    row = (escape(metric.title), texts, _small(metric, protocol_text(protocol) + shared))
    (full if len(measured) == len(cells) else partial).append(row)
  names = [group.name if group.size == "1 run" else f"{group.name} ({group.size})" for group in groups]
  table = _table("values many", names, full)
  if partial:
    folded = _table("values many", names, partial)
    table += f"<details><summary>{len(partial)} more, not of all runs</summary>{folded}</details>"
  return table


def _cell(cell: Cell, best: float | None) -> str:
  chosen = cell.finals[0].chosen if len(cell.finals) == 1 else None
  text = value(cell.mean, cell.std, chosen)
  text = f'<b class="best">{text}</b>' if best is not None and cell.mean == best else text
  return text + (f'<br><small class="bad">{escape(cell.verdict)}</small>' if cell.verdict else "")


def differences(groups: Sequence[Group]) -> str:
  """Returns the table of the fields in which the configs of the groups' first runs differ."""
  fields = [{n: json.dumps(x, ensure_ascii=False) for n, x in flatten(group.records[0].config).items()} for group in groups]
  rows = []
  for name in dict.fromkeys(name for run in fields for name in run):
    values = [run.get(name) for run in fields]
    if len(set(values)) > 1:
      rows.append((f"<code>{escape(name)}</code>", [MISSING if v is None else f"<code>{escape(v)}</code>" for v in values], ""))
  if not rows:
    return "<p>The configs are the same.</p>"
  table = _table("fields many", [group.name for group in groups], rows)
  return table if len(rows) <= SHOWN else f"<details><summary>{len(rows)} fields</summary>{table}</details>"


def alerts(record: RunRecord) -> str:
  """Lists the alerts, and the last warnings of the log; empty if there are none."""
  text = ""
  for line in record.alerts or []:
    step, alert, reason = (escape(str(line.get(name, "?"))) for name in ("step", "alert", "reason"))
    text += f"<p><b>Step {step}: {alert}.</b> {reason}</p>"
  if record.warnings:
    text += f"<p>The last warnings and errors of {record.workdir.log.name}:</p>{_lines(record.warnings[-LOGGED:])}"
  return text


def history(record: RunRecord) -> str:
  """Lists the fields that were changed while the run was trained; empty if there are none."""
  items = ""
  for entry in record.history:
    before, after = (escape(json.dumps(entry.get(name))) for name in ("from", "to"))
    items += f"<li>step {entry['step']}: <code>{escape(str(entry.get('field')))}</code> {before} → {after}</li>"
  return f"<ul>{items}</ul>" if items else ""


def config(record: RunRecord) -> str:
  """Shows all fields, software and hardware."""
  facts = {name: value for name, value in record.results.items() if name not in ("measurements", "metrics")}
  text = ""
  for title, fields in ((record.workdir.config.name, record.config), ("Software, hardware and the like", facts)):
    lines = json.dumps(fields, indent=2, ensure_ascii=False).split("\n")
    text += f"<details><summary>{title}</summary>{_lines(lines)}</details>"
  return text


def _lines(texts: Sequence[str]) -> str:
  return "<pre>" + "\n".join(map(escape, texts)) + "</pre>"


def _small(metric: Metric, text: str) -> str:
  return f"<code>{escape(metric.name)}</code> {escape(text)}"


def _table(kind: str, columns: Sequence[str], rows: Sequence[tuple[str, Sequence[str], str]]) -> str:
  """Renders rows of (heading, cells, small print below, if any)."""
  if not rows:
    return "<p>Nothing has been measured yet.</p>"
  head, body = "".join(f"<th>{escape(name)}</th>" for name in columns), ""
  for heading, cells, small in rows:
    row = "".join(f'<td data-run="{escape(name)}">{cell}</td>' for name, cell in zip(columns, cells, strict=True))
    body += f"<tr><th>{heading}</th>{row}</tr>"
    body += f'<tr class="how"><td colspan="{len(columns) + 1}">{small}</td></tr>' if small else ""
  return f'<table class="{kind}"><thead><tr><th></th>{head}</tr></thead><tbody>{body}</tbody></table>'
