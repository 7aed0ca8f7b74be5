"""Tables: what was measured, in which fields runs differ, warnings, and the config."""

import json
from collections.abc import Sequence

from jaxssl.core.tree import flatten
from jaxssl.report.descriptions import escape, meaning, number, rank
from jaxssl.workdir.records import Final, RunRecord

MISSING = "—"
LOGGED, SHOWN = 10, 25  # lines of the log, and differing fields that are not folded away


def value(of: float | None, deviation: float | None = None) -> str:
  """Shows a number of results.json, which it holds in full."""
  if of is None:
    return number(of)
  spread = "" if deviation is None else f" ± {number(deviation)}"
  return f'<data value="{of!r}">{number(of)}</data>{spread}'


def evaluations(record: RunRecord) -> str:
  """Makes the table of one run's last values."""
  body, finals = "", record.finals()
  before = "imported" if any("imported" in final.beside for final in finals) else "untrained"
  for final in sorted(finals, key=lambda final: rank(final.name)):
    at = f"step {final.step}" if final.step != record.step else ""
    cells = f"<td><b>{value(final.value, final.deviation)}</b></td>"
    cells += "".join(f"<td>{value(final.beside[of]) if of in final.beside else MISSING}</td>" for of in (before, "raw_pixels"))
    body += _rows(final.name, cells, 3, ", ".join(filter(None, (final.how, final.whose, at))))
  return _table("values", ["this run", before, "raw pixels"], body)


def side_by_side(records: Sequence[RunRecord]) -> str:
  """Makes the table of several runs' last values: those measured by the same protocol share a row, the best is bold."""
  finals = [{(final.name, final.how): final for final in record.finals()} for record in records]
  body = ""
  for name, how in sorted(dict.fromkeys(key for of in finals for key in of), key=lambda key: rank(key[0])):
    row, better = [of.get((name, how)) for of in finals], meaning(name).better
    known = [final.value for final in row if final is not None and final.value is not None]
    best = max(known, key=lambda x: better * x) if better and len(known) > 1 else None
    cells = "".join(_cell(record, _measured(final, best)) for record, final in zip(records, row, strict=True))
    levels = [final.beside for final in row if final is not None]
    shared = "".join(
      f"; {of.replace('_', ' ')} {number(x)}" for of, x in levels[0].items() if all(x == b.get(of) for b in levels)
    )
    body += _rows(name, cells, len(records), how + shared)
  return _table("values many", [record.name for record in records], body)


def differing(records: Sequence[RunRecord]) -> dict[str, list[str | None]]:
  """Gives the fields in which configs differ: name -> each run's value as JSON; None where a run has no such field."""
  fields = [flatten(record.config) for record in records]
  names = list(dict.fromkeys(name for of in fields for name in of))
  shown = {name: [json.dumps(of[name], ensure_ascii=False) if name in of else None for of in fields] for name in names}
  return {name: values for name, values in shown.items() if len(set(values)) > 1}


def differences(records: Sequence[RunRecord]) -> str:
  """Makes the table of the fields in which the runs differ."""
  body = ""
  for name, values in differing(records).items():
    settings = (MISSING if v is None else f"<code>{escape(v)}</code>" for v in values)
    cells = "".join(_cell(record, setting) for record, setting in zip(records, settings, strict=True))
    body += f"<tr><th><code>{escape(name)}</code></th>{cells}</tr>"
  if not body:
    return "<p>The configs are the same.</p>"
  table, count = _table("fields many", [record.name for record in records], body), body.count("<tr>")
  return table if count <= SHOWN else f"<details><summary>{count} fields</summary>{table}</details>"


def health(record: RunRecord) -> str:
  """Lists the warnings."""
  text = "<p>This run wrote no health.jsonl.</p>" if record.health is None else "" if record.health else "<p>No warnings.</p>"
  for line in record.health or []:
    step, verdict, reason = (escape(str(line.get(name, "?"))) for name in ("step", "verdict", "reason"))
    text += f"<p><b>Step {step}: {verdict}.</b> {reason}</p>"
  if record.trouble:
    text += f"<p>The last warnings and errors of train.log:</p><pre>{lines(record.trouble[-LOGGED:])}</pre>"
  return text


def config(record: RunRecord) -> str:
  """Shows every field, and what the run was made with."""
  facts = {name: of for name, of in record.results.items() if name != "measurements"}
  text = json.dumps(record.config, indent=2, ensure_ascii=False)
  made = json.dumps(facts, indent=2, ensure_ascii=False)
  return (
    f"<details><summary>config.json</summary><pre>{lines(text.split(chr(10)))}</pre></details>"
    f"<details><summary>Software, hardware and the like</summary><pre>{lines(made.split(chr(10)))}</pre></details>"
  )


def lines(of: Sequence[str]) -> str:
  """Shows lines of text."""
  return "\n".join(map(escape, of))


def _table(kind: str, columns: Sequence[str], body: str) -> str:
  head = "".join(f"<th>{escape(name)}</th>" for name in columns)
  if not body:
    return "<p>Nothing has been measured yet.</p>"
  return f'<table class="{kind}"><thead><tr><th></th>{head}</tr></thead><tbody>{body}</tbody></table>'


def _rows(name: str, cells: str, columns: int, protocol: str) -> str:
  """A measurement, and in small print its name and protocol."""
  how = f"<code>{escape(name)}</code> {escape(protocol)}"
  return f'<tr><th>{escape(meaning(name).title)}</th>{cells}</tr><tr class="how"><td colspan="{columns + 1}">{how}</td></tr>'


def _cell(record: RunRecord, shown: str) -> str:
  """A cell of a table with a column for each run; a narrow screen shows the run's name beside it."""
  return f'<td data-run="{escape(record.name)}">{shown}</td>'


def _measured(final: Final | None, best: float | None) -> str:
  if final is None:
    return MISSING
  shown = value(final.value, final.deviation)
  return f'<b class="best">{shown}</b>' if best is not None and final.value == best else shown
