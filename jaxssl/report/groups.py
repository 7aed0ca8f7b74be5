"""Groups runs that differ only in seeds, and aggregates their last measurements."""

import collections
import json
import os
import re
import statistics
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from jaxssl.config.roles import role_of
from jaxssl.config.schema import Config
from jaxssl.core.metric import Metric
from jaxssl.core.tree import flatten
from jaxssl.evals.verdict import BEFORE, NAMES, standing
from jaxssl.report.curves import defined
from jaxssl.workdir.records import Baseline, Final, RunRecord
from jaxssl.workdir.results import protocol_key
from jaxssl.workdir.workdir import FROM_IMAGES, Workdir

Seeds = tuple[tuple[str, Any], ...]  # the seed fields of a run with their values, by name


class Group(NamedTuple):
  """Runs that differ only in seeds."""

  name: str
  records: list[RunRecord]

  @property
  def size(self) -> str:
    """How many runs there are, and how many of them are not finished, so that their values are not the last."""
    count, unfinished = len(self.records), sum(not record.finished for record in self.records)
    return f"{count} run{'s' * (count > 1)}" + (f", {unfinished} not finished" if unfinished else "")

  @property
  def by_seeds(self) -> dict[Seeds, RunRecord]:
    """The runs by their seeds; the last one of equal runs."""
    return {seeds(record): record for record in self.records}


class Cell(NamedTuple):
  """One metric of a group of runs, of those that have it."""

  values: list[float | None]  # None: not finite
  finals: list[Final]  # of one run each, as `values`

  @property
  def mean(self) -> float | None:
    """The mean over the runs; None if a value is not finite."""
    known = [value for value in self.values if value is not None]
    return statistics.mean(known) if known and len(known) == len(self.values) else None

  @property
  def std(self) -> float | None:
    """The sample standard deviation over the runs; of a single run, over its draws, if it has several."""
    if len(self.values) == 1:
      return self.finals[0].std
    return None if self.mean is None else statistics.stdev(x for x in self.values if x is not None)

  @property
  def baselines(self) -> dict[str, Baseline]:
    """The mean of each baseline over the runs that have it, by subject.

    Its deviation is the largest over the seeds of a run or, if each run has one, that over the runs.
    """
    means = {}
    for subject in dict.fromkeys(subject for final in self.finals for subject in final.baselines):
      levels = [final.baselines[subject] for final in self.finals if subject in final.baselines]
      if values := [level.value for level in levels if level.value is not None]:
        over_runs = statistics.stdev(values) if len(values) > 1 else None
        std = max((level.std for level in levels if level.std is not None), default=over_runs)
        means[subject] = Baseline(statistics.mean(values), std, max(level.seeds for level in levels))
    return means

  @property
  def verdict(self) -> str:
    """Says that the mean is not clearly better than without training; empty if it is, or without a baseline."""
    for subject in BEFORE:
      if level := self.baselines.get(subject):
        place = standing(self.finals[0].metric, self.mean, level)
        return {1: "", 0: f"no better than {NAMES[subject]}", -1: f"worse than {NAMES[subject]}"}[place]
    return ""


class Row(NamedTuple):
  """One metric by one protocol over several groups; None: no run of that group has it."""

  metric: Metric
  protocol: Mapping[str, Any]
  cells: list[Cell | None]


def named_records(workdirs: Sequence[Workdir]) -> list[RunRecord]:
  """Reads the records of some workdirs; names that are not unique are extended by the folders above. Raises UserError."""
  records = [RunRecord(workdir) for workdir in workdirs]
  if len({record.name for record in records}) < len(records):
    folders = [str(record.workdir.folder.absolute()) for record in records]
    shared = os.path.commonprefix(folders).rpartition("/")[0]
    for record, folder in zip(records, folders, strict=True):
      record.name = folder.removeprefix(f"{shared}/")
  return records


def seeds(record: RunRecord) -> Seeds:
  """Returns the fields named `seed` of a run."""
  return tuple((name, value) for name, value in sorted(flatten(record.config).items()) if is_seed(name))


def grouped(records: Sequence[RunRecord]) -> list[Group]:
  """Returns the groups in the order of their first runs, with names that tell them apart."""
  groups: dict[tuple[str, int], list[RunRecord]] = {}
  repeats = collections.Counter[tuple[str, Seeds]]()  # a run with the same seeds again is another group
  for record in records:
    fields = json.dumps(sorted(_defining(record).items()))
    groups.setdefault((fields, repeats[fields, seeds(record)]), []).append(record)
    repeats[fields, seeds(record)] += 1
  names = [_name(group) for group in groups.values()]
  unique = len(set(names)) == len(names)
  named = zip(names, groups.values(), strict=True)
  return [Group(name if unique else group[0].name, group) for name, group in named]


def compared(groups: Sequence[Group]) -> Iterator[Row]:
  """Yields all metrics with all protocols, in the order of a report."""
  finals = [own_finals(record) for group in groups for record in group.records]
  keys = dict.fromkeys(key for by_key in finals for key in by_key)
  metrics = defined([record for group in groups for record in group.records], [name for name, _ in keys])
  order = [metric.name for metric in metrics]
  for key in sorted(keys, key=lambda key: order.index(key[0])):
    remaining, cells, protocol = iter(finals), [], None
    for group in groups:
      of_group = [by_key[key] for by_key in [next(remaining) for _ in group.records] if key in by_key]
      protocol = protocol or (of_group[0].protocol if of_group else None)
      cells.append(Cell([final.value for final in of_group], of_group) if of_group else None)
    yield Row(metrics[order.index(key[0])], protocol or {}, cells)


def differences(first: Group, second: Group, name: str, key: str) -> list[float]:
  """Returns first - second of a metric by one protocol, for each of the seeds that both groups have."""

  def of(group: Group) -> dict[Seeds, float | None]:
    finals = ((seed, own_finals(record).get((name, key))) for seed, record in group.by_seeds.items())
    return {seed: final.value for seed, final in finals if final}

  ours, theirs = of(first), of(second)
  pairs = ((value, theirs.get(seed)) for seed, value in ours.items())
  return [a - b for a, b in pairs if a is not None and b is not None]


def own_finals(record: RunRecord) -> dict[tuple[str, str], Final]:
  """Returns the last value of each metric by each protocol, by name and `protocol_key`.

  If several networks were measured, it is that of the first: the run's own, before another one that was evaluated later.
  """
  return {(final.name, protocol_key(final.protocol)): final for final in reversed(record.finals())}


def is_seed(name: str) -> bool:
  """Returns whether a field is a seed: runs that differ only there repeat each other."""
  return name.rpartition(".")[2] == "seed"


def _defining(record: RunRecord) -> dict[str, Any]:
  """Returns the fields that runs of one group share."""
  ignored = {f"data.{name}" for name in (*FROM_IMAGES, "workers", "processes")} | {"train.fsdp", "bootstrap.search_chunk"}
  fields = {name: value for name, value in flatten(record.config).items() if name not in ignored and not is_seed(name)}
  return {name: value for name, value in fields.items() if role_of(Config, name) != "observe" or name == "evals.network"}


def _name(records: Sequence[RunRecord]) -> str:
  """Returns what the names of the runs begin with, without what numbers them."""
  if len(records) == 1:
    return records[0].name
  shared = os.path.commonprefix([record.name for record in records])
  name = re.sub(r"([/._ -]*([a-z]+[.])?seed(\d+|[/._ -]*)|[/._ -]+)$", "", shared)  # seed1 of seed10 and seed11
  parents = {record.workdir.folder.resolve().parent.name for record in records}
  return name or (parents.pop() if shared and len(parents) == 1 else records[0].name)
