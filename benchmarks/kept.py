"""Reads the results of comparisons that are kept in docs/results, see keep.py."""

import csv
import pathlib
import re
import statistics
from collections.abc import Mapping, Sequence

ROOT = pathlib.Path(__file__).parent.parent / "docs" / "results"
Values = dict[str, float]  # by seeds


class Kept:
  """One comparison. `finals`, `runs` and `series` are the lines of its CSVs."""

  def __init__(self, folder: pathlib.Path):
    self.name = folder.name
    self.finals, self.runs, self.series = (lines(folder / f"{name}.csv") for name in ("compare", "runs", "series"))
    for row in (*self.finals, *self.runs):  # the name of a group of one run ends in its seed
      row["group"] = re.sub(r"/([\w.]+\.)?seed\d+$", "", row["group"])

  @property
  def groups(self) -> list[str]:
    """The names of the groups, in the order of the comparison."""
    return list(dict.fromkeys(run["group"] for run in self.runs))

  def of(self, group: str, metric: str, column: str = "value") -> Values:
    """Returns the last values of a metric in a group, or of a baseline (`column`: untrained, raw_pixels), by seeds."""
    rows = [row for row in self.finals if (row["group"], row["metric"]) == (group, metric) and row[column]]
    values = {seeds(row): float(row[column]) for row in rows}
    if len(values) < len(rows):
      raise ValueError(f"{self.name}: {group} has {metric} by several protocols; expected one")
    return values

  def of_run(self, run: str) -> dict[str, float]:
    """Returns the last values of a run, by metric."""
    return {row["metric"]: float(row["value"]) for row in self.finals if row["run"] == run and row["value"]}

  def over_epochs(self, run: str, metric: str) -> tuple[list[float], list[float]]:
    """Returns epochs and values of a metric in a run."""
    points = [(float(row["epoch"]), float(row["value"])) for row in self.series if (row["run"], row["metric"]) == (run, metric)]
    return [epoch for epoch, _ in points], [value for _, value in points]

  def cost(self, group: str) -> tuple[float, float]:
    """Returns the mean seconds and the mean peak memory, in bytes, of a group's runs."""
    runs = [run for run in self.runs if run["group"] == group]
    return statistics.mean(float(run["seconds"]) for run in runs), statistics.mean(float(run["peak_memory"]) for run in runs)


def lines(path: pathlib.Path) -> list[dict[str, str]]:
  """Returns the lines of a CSV, by the names of its columns; none if the file does not exist."""
  if not path.exists():
    return []
  with path.open(newline="") as file:
    return list(csv.DictReader(file))


def seeds(row: Mapping[str, str]) -> str:
  """Returns the seeds of a run as text: those of draws and of the training, which pair runs of several groups."""
  return " ".join(f"{name}={value}" for name, value in row.items() if name.rpartition(".")[2] == "seed")


def mean_and_std(values: Sequence[float], digits: int = 2) -> str:
  """Returns 43.50 ± 6.00; without the deviation if there is one value."""
  deviation = f" ± {statistics.stdev(values):.{digits}f}" if len(values) > 1 else ""
  return f"{statistics.mean(values):.{digits}f}{deviation}" if values else "—"


def paired(first: Values, second: Values) -> list[float]:
  """Returns first - second for the seeds that both have."""
  return [first[seed] - second[seed] for seed in first if seed in second]
