"""Renders tables of measurements, differing config fields, alerts, and the config."""

import json
from collections.abc import Mapping, Sequence

from jaxssl.core.metric import Metric, protocol_text
from jaxssl.core.tree import flatten
from jaxssl.report.curves import defined
from jaxssl.report.text import escape, number
from jaxssl.workdir.records import RunRecord
from jaxssl.workdir.results import protocol_key

MISSING = "—"
LOGGED, SHOWN = 10, 25  # lines of the log; differing fields that are shown without unfolding


def value(x: float | None, std: float | None = None, chosen: Mapping | None = None) -> str:
  """Renders a number of results.json, which the markup holds in full, and what its protocol chose."""
  if x is None:
    return number(x)
  text = f'<data value="{x!r}">{number(x)}</data>' + ("" if std is None else f" ± {number(std)}")
  return f"{text}<br><small>{escape(protocol_text(chosen))}</small>" if chosen else text


def evaluations(record: RunRecord) -> str:
  """Returns the table of one run's last values."""
  rows, finals = [], record.finals()
  names = [metric.name for metric in defined([record], [final.name for final in finals])]
  before = "imported" if any("imported" in final.baselines for final in finals) else "untrained"
  for final in sorted(finals, key=lambda final: names.index(final.name)):
    cells = [f"<b>{value(final.value, final.std, final.chosen)}</b>"]
    for subject in (before, "raw_pixels"):
      cells.append(value(final.baselines[subject]) if subject in final.baselines else MISSING)
    network = final.subject.replace("_", " ") + (" network" if final.subject in ("teacher", "student") else "")
    step = f"step {final.step}" if final.step != record.step else ""
    small = ", ".join(filter(None, (protocol_text(final.protocol), network, step)))
    rows.append((escape(final.metric.title), cells, _small(final.metric, small)))
  return _table("values", ["this run", before, "raw pixels"], rows)


def side_by_side(records: Sequence[RunRecord]) -> str:
  """Returns the table of several runs' last values: one row per metric and protocol, the best value in bold."""
  finals = [{(final.name, protocol_key(final.protocol)): final for final in record.finals()} for record in records]
  keys = dict.fromkeys(key for by_key in finals for key in by_key)
  metrics = {metric.name: metric for metric in defined(records, [name for name, _ in keys])}
  rows, order = [], list(metrics)
  for key in sorted(keys, key=lambda key: order.index(key[0])):
    metric, row = metrics[key[0]], [by_key.get(key) for by_key in finals]
    measured = [final for final in row if final is not None]
    known, baselines = [final.value for final in measured if final.value is not None], [final.baselines for final in measured]
    compared = metric.higher_is_better is not None and len(known) > 1
    best = (max if metric.higher_is_better else min)(known) if compared else None
    cells = []
    for final in row:
      text = MISSING if final is None else value(final.value, final.std, final.chosen)
      cells.append(f'<b class="best">{text}</b>' if final and best is not None and final.value == best else text)
    levels = {subject: x for subject, x in baselines[0].items() if all(x == other.get(subject) for other in baselines)}
    shared = "".join(f"; {subject.replace('_', ' ')} {number(x)}" for subject, x in levels.items())
    rows.append((escape(metric.title), cells, _small(metric, protocol_text(measured[0].protocol) + shared)))
  return _table("values many", [record.name for record in records], rows)


def differences(records: Sequence[RunRecord]) -> str:
  """Returns the table of the fields in which the runs' configs differ."""
  fields = [{name: json.dumps(x, ensure_ascii=False) for name, x in flatten(record.config).items()} for record in records]
  rows = []
  for name in dict.fromkeys(name for run in fields for name in run):
    values = [run.get(name) for run in fields]
    if len(set(values)) > 1:
      rows.append((f"<code>{escape(name)}</code>", [MISSING if v is None else f"<code>{escape(v)}</code>" for v in values], ""))
  if not rows:
    return "<p>The configs are the same.</p>"
  table = _table("fields many", [record.name for record in records], rows)
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
