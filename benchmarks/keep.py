"""Keeps what compared runs measured, for docs/results.md: python -m benchmarks.keep NAME WORKDIR.

WORKDIR: the folder of a finished `jaxssl compare`. Writes into docs/results/NAME, or adds to what is there, so that seeds may
be run on several machines: compare.csv; runs.csv, with seconds, memory, software and hardware of each run; series.csv, the
measurements over the epochs. docs/results.md says by which command the runs were made.
"""

import argparse
import csv
import pathlib
import re
import sys
from collections.abc import Iterable, Mapping, Sequence

from benchmarks import kept
from jaxssl.core import json_io
from jaxssl.workdir.records import RunRecord
from jaxssl.workdir.workdir import Workdir

# Measurements over the epochs that a figure or a table shows
SERIES = re.compile(r"knn\d+_\w+|linear_\w+|(encoder|embedding)_(silhouette|kmeans_(ari|nmi))\w*|share_\w+|neighbor_\w+|rankme")


def main() -> int:
  """Copies and reads the results; returns the exit code."""
  parser = argparse.ArgumentParser(prog="python -m benchmarks.keep", description=(__doc__ or "").partition("\n\n")[2])
  parser.add_argument("name", metavar="NAME", help="the folder in docs/results")
  parser.add_argument("workdir", metavar="WORKDIR", type=pathlib.Path, help="the folder of the runs")
  options = parser.parse_args()
  keep(options.workdir, kept.ROOT / options.name)
  return 0


def keep(workdir: pathlib.Path, out: pathlib.Path) -> None:
  """Adds the results of a comparison to the folder `out`.

  Raises SystemExit, and writes nothing, if a run is not finished, has no results, or is there already.
  """
  compared = json_io.read(workdir / "compare.json")
  groups, left_out = compared["groups"], [*compared.get("failures", {}), *compared.get("unfinished", [])]
  names = {run["name"]: group["name"] for group in groups for run in group["runs"]}
  records = {name: RunRecord(Workdir(workdir / name)) for name in names}
  if unfinished := left_out + [name for name, record in records.items() if not record.finished]:
    raise SystemExit(f"{workdir}: {len(unfinished)} runs are not finished, such as {unfinished[0]}; rerun the comparison first")
  if again := records.keys() & {row["run"] for row in kept.lines(out / "runs.csv")}:
    raise SystemExit(f"{out} has results of {min(again)} already; remove the folder to replace them")
  finals = kept.lines(workdir / "compare.csv")
  if without := names.keys() - {row["run"] for row in finals}:
    raise SystemExit(f"{workdir}/compare.csv has no results of {min(without)}; rerun the comparison first")
  out.mkdir(parents=True, exist_ok=True)
  add(out / "compare.csv", finals)
  add(out / "runs.csv", [{"group": names[name], "run": name, **of_run(record)} for name, record in records.items()])
  add(out / "series.csv", [{"run": name, **point} for name, record in records.items() for point in series(record)])


def of_run(record: RunRecord) -> dict[str, object]:
  """Returns seconds, peak memory (bytes), software and hardware of a run."""
  results = record.results
  cost = {"seconds": results["seconds_since_start"], "peak_memory": results["peak_memory"]}
  return cost | results["software"] | results["hardware"]


def series(record: RunRecord) -> Iterable[dict[str, object]]:
  """Yields metric, epoch and value of what was measured over the epochs."""
  for name, (x, y) in record.series().items():
    if SERIES.fullmatch(name):
      for epoch, value in zip(x, y, strict=True):
        yield {"metric": name, "epoch": round(float(epoch), 3), "value": round(float(value), 5)}


def add(path: pathlib.Path, rows: Sequence[Mapping[str, object]]) -> None:
  """Adds rows to a CSV, which is created if need be; cells of columns that only some rows have are empty."""
  rows = [*kept.lines(path), *rows]
  columns = list(dict.fromkeys(column for row in rows for column in row))
  with path.open("w", newline="") as file:
    writer = csv.DictWriter(file, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)


if __name__ == "__main__":
  sys.exit(main())
