"""Several runs: groups by config, mean and deviation over seeds, CSV and Markdown."""

import csv
import dataclasses
import io

import pytest

from jaxssl.config import parse
from jaxssl.config.schema import Config, DataConfig, EvalsConfig, TrainConfig
from jaxssl.core.metric import Measurement, accuracy_metric
from jaxssl.report import summary, summary_files, tables
from jaxssl.report.groups import compared, differences, grouped, named_records
from jaxssl.workdir import results
from jaxssl.workdir.results import protocol_key
from jaxssl.workdir.workdir import Workdir

KNN = accuracy_metric("knn20_cosine", "k-NN", "")
LINEAR = accuracy_metric("linear_lbfgs", "Linear classifier", "")
PROTOCOL = {"k": 20}


def run(folder, method: str, seed: int, value: float, untrained: float, linear: float | None = None) -> Workdir:
  """Writes a run with one or two measurements."""
  workdir = Workdir(folder / method / f"seed{seed}")
  workdir.stored()
  data = DataConfig(mean=(0.5 + seed / 100,), workers=seed)  # measured on the images; how it is read
  config = Config(data=data, method={"name": method}, train=TrainConfig(seed=seed), evals=EvalsConfig(every=1 + seed))
  workdir.write_config(config)
  measured = [Measurement(metric=KNN, value=value, subject="teacher", protocol=PROTOCOL, evaluation="knn")]
  if linear is not None:
    measured.append(Measurement(metric=LINEAR, value=linear, subject="teacher", protocol={}))
  results.add(workdir.results, 8, measured, finished=True)
  results.add(workdir.results, 0, [Measurement(metric=KNN, value=untrained, subject="untrained", protocol=PROTOCOL)])
  return workdir


@pytest.fixture
def groups(tmp_path):
  values = {("dino", 0): 50.0, ("dino", 1): 54.0, ("byol", 0): 47.0, ("byol", 1): 49.0, ("byol", 2): 90.0}
  workdirs = [run(tmp_path, name, seed, value, 49.0 + seed) for (name, seed), value in values.items()]
  workdirs.append(run(tmp_path, "simclr", 0, 60.0, 49.0, linear=70.0))
  return grouped(named_records(workdirs))


def test_runs_that_differ_in_seeds_are_one_group(groups):
  assert [(group.name, len(group.records)) for group in groups] == [("dino", 2), ("byol", 3), ("simclr/seed0", 1)]
  knn, linear = compared(groups)
  dino, byol, simclr = knn.cells
  assert dino and byol and simclr and linear.cells[:2] == [None, None]
  assert (dino.mean, byol.mean, simclr.mean, simclr.std) == (52.0, 62.0, 60.0, None)
  assert dino.std == pytest.approx(8**0.5) and dino.baselines == {"untrained": (49.5, pytest.approx(0.5**0.5), 1)}
  assert not dino.verdict
  assert differences(groups[0], groups[1], KNN.name, protocol_key(PROTOCOL)) == [3.0, 5.0]  # seeds 0 and 1


def test_another_network_that_was_evaluated_later_replaces_no_value(groups):
  workdir = groups[0].records[1].workdir
  results.add(workdir.results, 6, [Measurement(metric=KNN, value=10.0, subject="student", protocol=PROTOCOL)])
  again = grouped(named_records([record.workdir for group in groups for record in group.records]))
  assert next(compared(again)).cells[0].values == [50.0, 54.0]
  assert differences(again[0], again[1], KNN.name, protocol_key(PROTOCOL)) == [3.0, 5.0]
  lines = csv.DictReader(io.StringIO(summary_files.csv_text(again)))
  assert [row["value"] for row in lines if row["group"] == "dino"] == ["50.0", "54.0"]


@pytest.mark.parametrize("numbers", [(0, 1), (10, 11)])
def test_a_group_is_not_named_after_a_seed(numbers, tmp_path):
  workdirs = [run(tmp_path, "dino", seed, 50.0, 49.0) for seed in numbers]
  records = named_records(workdirs)
  assert [group.name for group in grouped(records)] == ["dino"]  # named seed0 and seed1, by their folders
  for record in records:
    record.name = f"dino/{record.name}"
  assert [group.name for group in grouped(records)] == ["dino"]


def test_unfinished_runs_are_counted(groups):
  results.add(groups[0].records[1].workdir.results, 8, [], finished=False)
  again = grouped(named_records([record.workdir for group in groups for record in group.records]))
  assert [group.size for group in again] == ["2 runs, 1 not finished", "3 runs", "1 run"]
  assert "dino (2 runs, 1 not finished)" in tables.side_by_side(again)
  assert "| dino (2 runs, 1 not finished) |" in summary_files.markdown(again)


def test_runs_that_evaluate_different_networks_are_different_groups(tmp_path):
  workdirs = [run(tmp_path, "dino", seed, 50.0, 49.0) for seed in (0, 1, 2)]
  for workdir, network in zip(workdirs, ("teacher", "student", "student"), strict=True):
    config = parse.read(Config, workdir.read_config())
    workdir.write_config(dataclasses.replace(config, evals=dataclasses.replace(config.evals, network=network)))
  assert [len(group.records) for group in grouped(named_records(workdirs))] == [1, 2]


def test_the_table_has_a_column_per_group_and_folds_what_only_some_have(groups):
  html = tables.side_by_side(groups)
  assert "byol (3 runs)" in html and '<b class="best"><data value="62.0">' in html
  assert html.index("1 more, not of all runs") < html.index("linear_lbfgs")
  assert "worse than" not in html


def test_a_run_below_its_untrained_network_is_marked(tmp_path):
  group = grouped(named_records([run(tmp_path, "dino", 0, 48.0, 49.0), run(tmp_path, "byol", 0, 50.0, 49.0)]))
  html = tables.side_by_side(group)
  assert html.count("worse than the untrained network") == 1 and "no better than" not in html
  assert html.index('data value="48.0"') < html.index("worse than") < html.index('data value="50.0"')


def test_a_difference_within_the_deviation_of_the_untrained_network_is_none(tmp_path):
  workdirs = [run(tmp_path, "dino", 0, 50.0, 45.0), run(tmp_path, "byol", 0, 52.0, 45.0)]
  for workdir in workdirs:
    level = Measurement(metric=KNN, value=45.0, std=6.0, seeds=3, subject="untrained", protocol=PROTOCOL)
    results.add(workdir.results, 0, [level])
  html = tables.side_by_side(grouped(named_records(workdirs)))
  assert html.index('data value="50.0"') < html.index("no better than the untrained network") < html.index('data value="52.0"')
  assert html.count("untrained network") == 1 and "untrained 45.00\u00a0±\u00a06.00" in html


def test_the_list_of_several_runs_answers_whether_each_learned(tmp_path):
  records = named_records([run(tmp_path, "dino", 0, 48.0, 49.0), run(tmp_path, "byol", 0, 60.0, 49.0)])
  assert "<b>Did it learn?</b> Not yet: its nearest neighbors" in summary.short(records[0])
  assert "<b>Did it learn?</b> Yes: its nearest neighbors" in summary.short(records[1])


def test_csv_and_markdown_hold_the_same_numbers(groups):
  table = list(csv.DictReader(io.StringIO(summary_files.csv_text(groups))))
  assert len(table) == 7 and [row["value"] for row in table][:2] == ["50.0", "54.0"]
  expected = {
    "group": "dino",
    "run": "dino/seed1",
    "train.seed": "1",
    "untrained": "50.0",
    "untrained_std": "",
    "raw_pixels": "",
  }
  assert expected.items() <= table[1].items()
  text = summary_files.markdown(groups).splitlines()
  assert text[0] == "| metric | dino (2 runs) | byol (3 runs) | simclr/seed0 (1 run) |"
  assert text[2] == "| knn20_cosine | 52.00 ± 2.83 | 62.00 ± 24.27 | 60.00 |"
  assert text[3] == "| linear_lbfgs |  |  | 70.00 |"
  assert text[4:] == ["", "- knn20_cosine: k 20"]
