"""Renders the tables of docs/performance.md from the JSONs: python -m benchmarks.render [DIR ...] [--check].

A table stands between `<!-- NAME on cpu: DIR ... -->` (or gpu; NAME is a benchmark) and `<!-- end -->`. DIR: a folder of
results, relative to benchmarks/results, becomes a numbered column; "2 / 1" is how many times better column 2 is than column 1.
With DIRs, every table for which they have results shows these; without, the tables keep their folders. `<!-- targets -->`
stands before the table of all targets, with the newest results that the page shows for each version of JAX.
"""

import argparse
import importlib
import itertools
import json
import pathlib
import re
import sys
from collections.abc import Sequence
from typing import Any

from benchmarks import results
from benchmarks.all import ORDER
from jaxssl.core import atomic

PAGE = pathlib.Path(__file__).parent.parent / "docs" / "performance.md"
TABLE = re.compile(r"<!-- (?P<name>\w+) on (?P<kind>cpu|gpu):(?P<folders>[^>]*) -->\n.*?<!-- end -->", re.DOTALL)
LEFT_OUT = re.compile("torchvision|tensorflow(-cpu)?|pillow|opencv-python-headless|jax-cuda.*")  # in the JSON only
TARGETS = re.compile(r"<!-- targets -->\n.*?<!-- end -->", re.DOTALL)


def main() -> int:
  """Renders or checks the page and returns the exit code."""
  parser = argparse.ArgumentParser(prog="python -m benchmarks.render", description=(__doc__ or "").partition("\n\n")[2])
  parser.add_argument("folders", metavar="DIR", nargs="*", type=pathlib.Path, help="benchmarks/results/HARDWARE/VERSIONS")
  parser.add_argument("--check", action="store_true", help="fail if the page differs, and write nothing")
  options = parser.parse_args()
  old = PAGE.read_text()
  new = page(old, [str(folder.resolve().relative_to(results.ROOT.resolve())) for folder in options.folders])
  if options.check and new != old:
    print(f"{PAGE} differs from the results: run python -m benchmarks.render")
    return 1
  if new != old:
    atomic.write_text(PAGE, new)
  return 0


def page(text: str, folders: Sequence[str] = (), root: pathlib.Path = results.ROOT) -> str:
  """Returns a page with its tables rendered anew, those that `folders` have results for from these."""
  shown: dict[str, list[dict[str, Any]]] = {}

  def table_of(match: re.Match[str]) -> str:
    name, kind = match["name"], match["kind"]
    chosen = [folder for folder in folders if of_kind(load(root, folder, name), kind)] or match["folders"].split()
    documents = [load(root, folder, name) for folder in chosen]
    missing = [folder for folder, document in zip(chosen, documents, strict=True) if not of_kind(document, kind)]
    if missing:
      raise SystemExit(f"{missing[0]}: has no {name}.json measured on a {kind}; expected in {root}")
    found = [document for document in documents if document]
    shown.setdefault(name, []).extend({document["versions"]["jax"]: document for document in found}.values())
    body = f"\n{table(found)}\n" if found else f"Not measured yet: `python -m benchmarks.{name}`."
    return f"<!-- {' '.join([f'{name} on {kind}:', *chosen])} -->\n{body}\n<!-- end -->"

  text = TABLE.sub(table_of, text)
  return TARGETS.sub(lambda _: f"<!-- targets -->\n\n{targets_table(shown)}\n\n<!-- end -->", text)


def load(root: pathlib.Path, folder: str, name: str) -> dict[str, Any] | None:
  """Reads the results of a benchmark in a folder, if it has any."""
  path = root / folder / f"{name}.json"
  return json.loads(path.read_text()) if path.exists() else None


def of_kind(document: dict[str, Any] | None, kind: str) -> bool:
  """Whether there are results, measured on a cpu or a gpu."""
  return document is not None and (document["machine"]["accelerator"] is None) == (kind == "cpu")


def table(documents: Sequence[dict[str, Any]]) -> str:
  """Returns the lines that say what was measured where, and the table, with one column for each document."""
  labels, last = columns(documents), documents[-1]
  keys = list(dict.fromkeys(row["key"] for document in documents for row in document["rows"]))
  cells = [{row["key"]: row for row in document["rows"]} for document in documents]
  compared = pairs(documents)
  gains = [f"{j + 1} / {i + 1}" for i, j in compared]
  lines = [*dict.fromkeys(map(origin, documents))]
  lines = [*(f"- {line}" if len(lines) > 1 else line for line in lines), ""]
  lines += markdown(["row", *labels, *gains, "peer", "target"])
  for key in keys:
    rows = [column.get(key) for column in cells]
    newest = next(row for row in reversed(rows) if row)
    ratios = [ratio(rows[i], rows[j]) for i, j in compared]
    peer = f"{newest['peer']}: {number(newest['peer_value'])} {newest['unit']}" if newest["peer"] else ""
    lines += markdown([key, *(shown(row) for row in rows), *ratios, peer, verdict(newest)], head=False)
  notes = [f"{row['key']}: {row['note']}." for row in last["rows"] if row["note"]]
  missing = [f"{entry['key']} ({entry['reason']})" for entry in last["skipped"]]
  lines += ["", *notes] if notes else []
  return "\n".join([*lines, *(["", f"Not measured: {'; '.join(missing)}."] if missing else [])])


def columns(documents: Sequence[dict[str, Any]]) -> list[str]:
  """Returns the headings of the columns: what differs between the documents, in the order of `facts`."""

  def facts(document: dict[str, Any]) -> list[str]:
    return [document["commit"] or "no commit", f"jax {document['versions']['jax']}", document["date"]]

  differing = [len(set(values)) > 1 for values in zip(*map(facts, documents), strict=True)]
  if any(differing[:2]):
    differing[2] = False
  labels = [", ".join(itertools.compress(facts(document), differing)) or "ours" for document in documents]
  return [f"{i}: {label}" for i, label in enumerate(labels, 1)] if len(labels) > 1 else labels


def pairs(documents: Sequence[dict[str, Any]]) -> list[tuple[int, int]]:
  """Returns the pairs of columns that are compared: those with the same commit or the same version of JAX."""
  facts = [(document["commit"], document["versions"]["jax"]) for document in documents]
  two = itertools.combinations(range(len(facts)), 2)
  return [(i, j) for i, j in two if any(a == b for a, b in zip(facts[i], facts[j], strict=True))]


def ratio(before: dict[str, Any] | None, now: dict[str, Any] | None) -> str:
  """Returns how many times better a row became, if both columns have it."""
  return f"{results.gain(now['unit'], before['value'], now['value']):.2f}" if before and now else ""


def origin(document: dict[str, Any]) -> str:
  """Returns the line that names machine, versions and commit."""
  machine, versions = document["machine"], document["versions"]
  where = f"{machine['cpu']}, {machine['cores']} cores, {machine['memory_gb']} GB"
  where += f", {machine['accelerator']}" if machine["accelerator"] else ""
  named = ", ".join(f"{name} {version}" for name, version in versions.items() if not LEFT_OUT.fullmatch(name))
  commit = f"commit {document['commit'] or 'unknown'}{' with changes' if document['dirty'] else ''}"
  return f"{where}; {named}; {commit}, {document['date'][:10]}."


def shown(row: dict[str, Any] | None) -> str:
  """Returns a value with its unit, and its ratio to the peer."""
  if row is None:
    return ""
  return f"{number(row['value'])} {row['unit']}" + (f" ({number(row['ratio'], 3)})" if row["ratio"] is not None else "")


def verdict(row: dict[str, Any]) -> str:
  """Returns the targets of a row, and whether it meets them."""
  verdicts = (f"{goal(t['number'], t['unit'], t['at_least'])}: {'met' if t['met'] else 'missed'}" for t in row["targets"])
  return "; ".join(verdicts)


def goal(value: float, unit: str, at_least: bool) -> str:
  """Returns a target in words."""
  return f"at {'least' if at_least else 'most'} {number(value)} {unit}" if unit else f"ratio of at least {number(value)}"


def targets_table(documents: dict[str, list[dict[str, Any]]]) -> str:
  """Returns the table of all targets, and of what `documents`, by benchmark, measured."""
  lines = markdown(["benchmark", "row", "target", "source", "measured"])
  for name in ORDER:
    for target in getattr(importlib.import_module(f"benchmarks.{name}"), "TARGETS", ()):
      measured = [text for document in documents.get(name, ()) if (text := against(target, document))]
      wanted = goal(target.number, target.unit, target.at_least) + (f" (jax {target.jax})" if target.jax else "")
      found = "; ".join(measured) or "not yet"
      lines += markdown([f"`{name}`", f"`{target.key}`", wanted, target.source, found], head=False)
  return "\n".join(lines)


def against(target: results.Target, document: dict[str, Any]) -> str:
  """Says what a benchmark measured of a target: every row, or the worst of more than two; empty if it has none."""
  machine, jax, found = document["machine"], document["versions"]["jax"], []
  for row in (row for row in document["rows"] if target.applies(row["key"], jax)):
    if result := target.result(results.Row(**{field: row[field] for field in ROW})):
      value = row["value"] if target.unit else row["ratio"]
      text = f"{number(value, 4 if target.unit else 3)} {target.unit}".rstrip()
      found.append((value if target.at_least else -value, text, result["met"], row["key"]))
  texts = [f"{text}: {'met' if met else 'missed'}" for _, text, met, _ in found]
  if len(found) > 2:
    _, text, _, key = min(found)
    texts = [f"{sum(met for _, _, met, _ in found)} of {len(found)} met, the worst {text} (`{key}`)"]
  return f"{'; '.join(texts)}, on {machine['accelerator'] or machine['cpu']}, jax {jax}" if texts else ""


ROW = ("key", "value", "unit", "peer", "peer_value", "note")


def markdown(cells: Sequence[str], head: bool = True) -> list[str]:
  """Returns a line of a table, with the rule below it if it is the head."""
  line = f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"
  return [line, f"|{'---|' * len(cells)}"] if head else [line]


def number(value: float, digits: int = 4) -> str:
  """Returns a number with so many significant digits, without an exponent, with commas from 10,000 on."""
  text = f"{float(f'{value:.{digits}g}'):,.10f}".rstrip("0").rstrip(".")
  return text if abs(value) >= 10_000 else text.replace(",", "")


if __name__ == "__main__":
  sys.exit(main())
