"""Tables: what was measured, in which fields runs differ, warnings, and the config."""

import html
import json
from collections.abc import Sequence

from jaxssl.report.record import Final, Record, flat
from jaxssl.report.words import meaning, number

MISSING = "—"


def value(of: float | None, deviation: float | None = None) -> str:
  """Shows a number of results.json, which it holds in full."""
  if of is None:
    return number(of)
  spread = "" if deviation is None else f" ± {number(deviation)}"
  return f'<data value="{of!r}">{number(of)}</data>{spread}'


def evaluations(record: Record) -> str:
  """Makes the table of one run's last values."""
  finals = record.finals()
  if not finals:
    return "<p>Nothing has been measured yet.</p>"
  body = ""
  for final in finals:
    beside = "".join(f"<td>{value(final.beside[of]) if of in final.beside else MISSING}</td>" for of in ("untrained", "raw_pixels"))
    at = f", step {final.step}" if final.step != record.step else ""
    body += f"<tr><th>{_named(final)}</th><td><b>{value(final.value, final.deviation)}</b></td>{beside}</tr>"
    body += f'<tr class="how"><td colspan="4">{html.escape(", ".join(filter(None, (final.how, final.whose))) + at)}</td></tr>'
  head = "<tr><th></th><th>this run</th><th>un&shy;trained</th><th>raw pixels</th></tr>"
  return f'<table class="values"><thead>{head}</thead><tbody>{body}</tbody></table>'


def side_by_side(records: Sequence[Record]) -> str:
  """Makes the table of several runs' last values: those measured by the same protocol share a row, the best is bold."""
  finals = [{(final.name, final.how): final for final in record.finals()} for record in records]
  keys = list(dict.fromkeys(key for of in finals for key in of))
  body = ""
  for name, how in keys:
    row = [of.get((name, how)) for of in finals]
    known = [final.value for final in row if final is not None and final.value is not None]
    better = meaning(name).better
    best = max(known, key=lambda x: better * x) if known and better and len(known) > 1 else None
    cells = "".join(_cell(final, best) for final in row)
    first = next(final for final in row if final is not None)
    body += f'<tr><th>{_named(first)}</th>{cells}</tr><tr class="how"><td colspan="{len(row) + 1}">{html.escape(how)}</td></tr>'
  head = "".join(f"<th>{html.escape(record.name)}</th>" for record in records)
  if not body:
    return "<p>Nothing has been measured yet.</p>"
  return f'<table class="values"><thead><tr><th></th>{head}</tr></thead><tbody>{body}</tbody></table>'


def differing(records: Sequence[Record]) -> dict[str, list[str | None]]:
  """Gives the fields in which configs differ: name -> each run's value as JSON; None where a run has no such field."""
  fields = [flat(record.config) for record in records]
  names = list(dict.fromkeys(name for of in fields for name in of))
  shown = {name: [json.dumps(of[name], ensure_ascii=False) if name in of else None for of in fields] for name in names}
  return {name: values for name, values in shown.items() if len(set(values)) > 1}


def differences(records: Sequence[Record]) -> str:
  """Makes the table of the fields in which the runs differ."""
  found = differing(records)
  if not found:
    return "<p>The configs are the same.</p>"
  head = "".join(f"<th>{html.escape(record.name)}</th>" for record in records)
  body = "".join(
    f"<tr><th><code>{html.escape(name)}</code></th>{''.join(f'<td>{_setting(v)}</td>' for v in values)}</tr>"
    for name, values in found.items()
  )
  return f'<table class="fields"><thead><tr><th></th>{head}</tr></thead><tbody>{body}</tbody></table>'


def health(record: Record) -> str:
  """Lists the warnings."""
  if record.health is None:
    return "<p>This run wrote no health.jsonl.</p>"
  if not record.health:
    return "<p>No warnings.</p>"
  items = "".join(
    f"<li><b>Step {html.escape(str(line.get('step', '?')))}: {html.escape(str(line.get('verdict', '')))}</b> "
    f"{html.escape(str(line.get('reason', '')))}</li>"
    for line in record.health
  )
  return f"<ul>{items}</ul>"


def config(record: Record) -> str:
  """Shows every field, and what the run was made with."""
  facts = {name: of for name, of in record.results.items() if name != "measurements"}
  text = json.dumps(record.config, indent=2, ensure_ascii=False)
  made = json.dumps(facts, indent=2, ensure_ascii=False)
  return (
    f"<details><summary>config.json</summary><pre>{html.escape(text)}</pre></details>"
    f"<details><summary>Software, hardware and the like</summary><pre>{html.escape(made)}</pre></details>"
  )


def _named(final: Final) -> str:
  return f"{html.escape(meaning(final.name).title)}<code>{html.escape(final.name)}</code>"


def _cell(final: Final | None, best: float | None) -> str:
  if final is None:
    return f"<td>{MISSING}</td>"
  shown = value(final.value, final.deviation)
  return f'<td><b class="best">{shown}</b></td>' if best is not None and final.value == best else f"<td>{shown}</td>"


def _setting(text: str | None) -> str:
  return MISSING if text is None else f"<code>{html.escape(text)}</code>"
