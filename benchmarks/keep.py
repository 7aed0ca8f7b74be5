"""Keeps what compared runs measured, for docs/results.md: python -m benchmarks.keep NAME WORKDIR.

WORKDIR: the folder of a finished `jaxssl compare`. Writes into docs/results/NAME: compare.csv as it is; runs.csv, with the
seconds and the memory of each run; series.csv, the measurements over the epochs; about.json, with software, hardware and
hours. docs/results.md says by which command the runs were made.
"""

import argparse
import csv
import json
import pathlib
import re
import shutil
import sys
from collections.abc import Iterable, Sequence

from jaxssl.core import json_io
from jaxssl.workdir.records import RunRecord
from jaxssl.workdir.workdir import Workdir

ROOT = pathlib.Path(__file__).parent.parent / "docs" / "results"
# Measurements over the epochs that a figure or a table shows
SERIES = re.compile(r"knn\d+_\w+|linear_\w+|(encoder|embedding)_(silhouette|kmeans_(ari|nmi))\w*|share_\w+|neighbor_\w+|rankme")


def main() -> int:
  """Copies and reads the results; returns the exit code."""
  parser = argparse.ArgumentParser(prog="python -m benchmarks.keep", description=(__doc__ or "").partition("\n\n")[2])
  parser.add_argument("name", metavar="NAME", help="the folder in docs/results")
  parser.add_argument("workdir", metavar="WORKDIR", type=pathlib.Path, help="the folder of the runs")
  options = parser.parse_args()
  keep(options.workdir, ROOT / options.name)
  return 0


def keep(workdir: pathlib.Path, out: pathlib.Path) -> None:
  """Writes the results of the comparison in `workdir` into the folder `out`."""
  compared = json.loads((workdir / "compare.json").read_text())
  if unfinished := [run["name"] for group in compared["groups"] for run in group["runs"] if not run["finished"]]:
    raise SystemExit(f"{workdir}: {len(unfinished)} runs are not finished, such as {unfinished[0]}; rerun the comparison first")
  out.mkdir(parents=True, exist_ok=True)
  shutil.copyfile(workdir / "compare.csv", out / "compare.csv")
  runs, points = [], []
  for group in compared["groups"]:
    for run in group["runs"]:
      record = RunRecord(Workdir(workdir / run["name"]))
      runs.append([group["name"], run["name"], run["seconds_since_start"], run["peak_memory"]])
      points += [[run["name"], *point] for point in series(record)]
  write(out / "runs.csv", ["group", "run", "seconds", "peak_memory"], runs)
  write(out / "series.csv", ["run", "metric", "epoch", "value"], points)
  hours = sum(seconds or 0 for _, _, seconds, _ in runs) / 3600
  about = {"runs": len(runs), "hours": round(hours, 2), "software": compared["software"], "hardware": compared["hardware"]}
  json_io.write(out / "about.json", about)


def series(record: RunRecord) -> Iterable[tuple[str, float, float]]:
  """Yields metric, epoch and value of what was measured over the epochs."""
  for name, (x, y) in record.series().items():
    if SERIES.fullmatch(name):
      yield from ((name, round(float(epoch), 3), round(float(value), 5)) for epoch, value in zip(x, y, strict=True))


def write(path: pathlib.Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
  """Writes a CSV."""
  with path.open("w", newline="") as file:
    csv.writer(file, lineterminator="\n").writerows([header, *rows])


if __name__ == "__main__":
  sys.exit(main())
