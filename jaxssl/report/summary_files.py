"""The measurements of several runs as CSV, one line per run, and their table as Markdown, one column per group of runs."""

import csv
import io
import pathlib
from collections.abc import Sequence

from jaxssl.core import atomic, paths
from jaxssl.core.metric import BASELINES, protocol_text
from jaxssl.report.groups import Cell, Group, compared, grouped, named_records, own_finals, seeds
from jaxssl.report.text import value_and_std
from jaxssl.workdir.records import Baseline
from jaxssl.workdir.workdir import Workdir


def csv_text(groups: Sequence[Group]) -> str:
  """Returns one line per run, metric and protocol: group, run, seeds, value, baselines with their deviation over seeds, step.

  Empty: not measured, or not comparable.
  """
  names = list(dict.fromkeys(name for group in groups for record in group.records for name, _ in seeds(record)))
  columns = [column for subject in BASELINES for column in (subject, f"{subject}_std")]
  file = io.StringIO()
  writer = csv.writer(file, lineterminator="\n")
  writer.writerow(["group", "run", *names, "metric", "protocol", "value", *columns, "step", "finished"])
  for group in groups:
    for record in group.records:
      own = dict(seeds(record))
      for final in reversed(own_finals(record).values()):  # in the order of results.json
        levels = [final.baselines.get(subject, Baseline(None)) for subject in BASELINES]
        values = [final.value, *(x for level in levels for x in (level.value, level.std))]
        cells = [group.name, record.name, *(own.get(name, "") for name in names), final.name, protocol_text(final.protocol)]
        writer.writerow([*cells, *("" if x is None else repr(x) for x in values), final.step, record.finished])
  return file.getvalue()


def markdown(groups: Sequence[Group]) -> str:
  """Returns a table of the metrics, mean ± sample standard deviation over the runs of each group, and their protocols."""
  lines = [["metric", *(f"{group.name} ({group.size})" for group in groups)], ["---"] * (len(groups) + 1)]
  rows = list(compared(groups))
  protocols = {}
  for row in rows:
    number = sum(other.metric.name == row.metric.name for other in rows[: rows.index(row) + 1])  # several protocols
    name = f"{row.metric.name} [{number}]" if number > 1 else row.metric.name
    protocols[name] = protocol_text(row.protocol)
    lines.append([name, *("" if cell is None else text(cell) for cell in row.cells)])
  table = [f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines]
  return "\n".join([*table, "", *(f"- {name}: {protocol}" for name, protocol in protocols.items() if protocol)]) + "\n"


def text(cell: Cell) -> str:
  """Returns mean ± standard deviation; without the latter if there is one run."""
  return value_and_std(cell.mean, cell.std).replace("\u00a0", " ")


def write(workdirs: Sequence[Workdir], out: pathlib.Path) -> None:
  """Writes both beside the page `out` of these runs, with its name."""
  groups = grouped(named_records(workdirs))
  for suffix, content in ((".csv", csv_text(groups)), (".md", markdown(groups))):
    with paths.uploaded(out.with_suffix(suffix)) as file:
      atomic.write_text(file, content.encode(errors="backslashreplace").decode())  # names may not be Unicode
