"""What a comparison found: groups over seeds, differences seed by seed, time, memory, failures; as JSON, CSV and Markdown."""

import itertools
import pathlib
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from jaxssl.core import atomic, json_io
from jaxssl.report import summary_files
from jaxssl.report.groups import Group, compared, differences, seeds
from jaxssl.report.text import number
from jaxssl.workdir.results import environment, protocol_key

MISSING = "—"
ALL_PAIRS = 6  # groups up to which the tables show every pair; of more, they show those with the first


def document(groups: Sequence[Group], failures: Mapping[str, str], unfinished: Sequence[str]) -> dict[str, Any]:
  """Returns everything as JSON: groups with their runs and metrics, differences, failures, software and hardware.

  `failures`: why runs failed, by name; `unfinished`: the names of others that are left out.
  """
  described = []
  rows = list(compared(groups))
  for place, group in enumerate(groups):
    cells = [(row, cell) for row in rows if (cell := row.cells[place])]
    metrics = [
      {"metric": row.metric.name, "protocol": dict(row.protocol), "mean": cell.mean, "std": cell.std, "values": cell.values}
      | {"baselines": {subject: level._asdict() for subject, level in cell.baselines.items()}}
      for row, cell in cells
    ]
    described.append({"name": group.name, "runs": [_run(record) for record in group.records], "metrics": metrics})
  left_out = {"failures": dict(failures), "unfinished": [*unfinished]}
  return {"groups": described, "differences": paired(groups), **left_out, **environment()}


def paired(groups: Sequence[Group]) -> list[dict[str, Any]]:
  """Returns first - second of each pair of groups for every accuracy and the like, over the seeds that both have."""
  found = []
  for row in compared(groups):
    for first, second in itertools.combinations(groups, 2) if row.metric.higher_is_better is not None else []:
      if values := differences(first, second, row.metric.name, protocol_key(row.protocol)):
        std = statistics.stdev(values) if len(values) > 1 else None
        signs = {"positive": sum(x > 0 for x in values), "negative": sum(x < 0 for x in values)}
        names = {"first": first.name, "second": second.name, "metric": row.metric.name, "protocol": dict(row.protocol)}
        found.append(names | {"mean": statistics.mean(values), "std": std, "values": values} | signs)
  return found


def markdown(groups: Sequence[Group], failures: Mapping[str, str], unfinished: Sequence[str]) -> str:
  """Returns the tables for a reader, and which runs are left out of them."""
  text = f"Mean ± sample standard deviation over seeds.\n\n{summary_files.markdown(groups)}"
  lines = ["| | time per run | peak memory |", "|---|---|---|"]
  for group in groups:
    runs = [_run(record) for record in group.records]
    time, memory = (_mean([run[name] for run in runs]) for name in ("seconds_since_start", "peak_memory"))
    cells = (MISSING if time is None else f"{time:.0f} s", MISSING if memory is None else f"{memory / 1e9:.1f} GB")
    lines.append(f"| {group.name} | {' | '.join(cells)} |")
  text += "\n" + "\n".join(lines) + "\n"
  shown = [pair for pair in paired(groups) if len(groups) <= ALL_PAIRS or pair["first"] == groups[0].name]
  if shown:
    lines = ["| difference, seed by seed | metric | mean ± std | higher, lower |", "|---|---|---|---|"]
    for pair in shown:
      spread = "" if pair["std"] is None else f" ± {number(pair['std'])}"
      counts = f"{pair['positive']}, {pair['negative']} of {len(pair['values'])}"
      lines.append(f"| {pair['first']} - {pair['second']} | {pair['metric']} | {number(pair['mean'])}{spread} | {counts} |")
    text += "\n" + "\n".join(lines) + "\n"
  text += "".join(f"\n{name} failed: {reason}\n" for name, reason in failures.items())
  return text + "".join(f"\n{name} is not finished, and left out\n" for name in unfinished)


def write(folder: pathlib.Path, groups: Sequence[Group], failures: Mapping[str, str], unfinished: Sequence[str]) -> None:
  """Writes compare.csv, compare.md and compare.json."""
  json_io.write(folder / "compare.json", document(groups, failures, unfinished))
  texts = {"compare.csv": summary_files.csv_text(groups), "compare.md": markdown(groups, failures, unfinished)}
  for name, text in texts.items():
    atomic.write_text(folder / name, text.encode(errors="backslashreplace").decode())  # names may not be Unicode


def _run(record: Any) -> dict[str, Any]:
  facts = {"name": record.name, "seeds": dict(seeds(record)), "finished": record.finished}
  return facts | {name: json_io.finite(record.results.get(name)) for name in ("seconds_since_start", "peak_memory")}


def _mean(values: Sequence[float | None]) -> float | None:
  known = [value for value in values if value is not None]
  return statistics.mean(known) if known else None
