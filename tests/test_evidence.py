"""The tables of docs/results.md show what docs/results holds."""

import re

import numpy as np
import pytest

from benchmarks import evidence, figures, keep, kept, selection
from benchmarks.kept import Kept
from benchmarks.runs import CONFIGS
from jaxssl.config.schema import Config
from jaxssl.core import json_io
from jaxssl.workdir.workdir import Workdir

SOFTWARE = {"commit": "f78d3321c485", "python": "3.11", "jax": "0.10"}
HARDWARE = {"cores": 2, "device": "cpu"}


def folder(path, groups, raw_pixels=0.0, **series):
  """Writes a kept comparison. groups: name -> metric -> a value for each seed; series: metric -> values of every run."""
  path.mkdir()
  finals, runs, points = [], [], []
  for group, metrics in groups.items():
    for metric, values in metrics.items():
      for seed, value in enumerate(values):
        finals.append([group, f"{group}/seed{seed}", seed, metric, "k 20", value, 10 + seed, raw_pixels])
    for seed in range(len(next(iter(metrics.values())))):
      runs.append([group, f"{group}/seed{seed}", 60, 1.5e9])
      points += [[f"{group}/seed{seed}", metric, i, value] for metric, all in series.items() for i, value in enumerate(all)]
  header = ("group", "run", "train.seed", "metric", "protocol", "value", "untrained", "raw_pixels")
  keep.add(path / "compare.csv", [dict(zip(header, row, strict=True)) for row in finals])
  keep.add(path / "runs.csv", [dict(zip(("group", "run", "seconds", "peak_memory"), row, strict=True)) for row in runs])
  keep.add(path / "series.csv", [dict(zip(("run", "metric", "epoch", "value"), row, strict=True)) for row in points])
  return Kept(path)


def compared(path, run, finished=True, software=SOFTWARE):
  """Writes the folder of a comparison of one run."""
  values = {"finished": finished, "seconds_since_start": 60.0, "peak_memory": 1e9, "software": software, "hardware": HARDWARE}
  (path / run).mkdir(parents=True)
  Workdir(path / run).write_config(Config())
  json_io.write(path / run / "results.json", values)
  json_io.append_line(path / run / "metrics.jsonl", {"step": 2, "epoch": 0, "knn20_cosine": 40.0, "loss": 1.0})
  json_io.write(path / "compare.json", {"groups": [{"name": run, "runs": [{"name": run}]}]})
  keep.add(path / "compare.csv", [{"group": run, "run": run, "metric": "knn20_cosine", "protocol": "k 20", "value": 40.0}])
  return path


def test_values_are_paired_by_seed(tmp_path):
  comparison = folder(
    tmp_path / "kept", {"byol/off": {"knn20_cosine": [1.0, 2.0, 3.0]}, "byol/naive": {"knn20_cosine": [2.0, 1.0]}}
  )
  off, naive = (comparison.of(f"byol/{policy}", "knn20_cosine") for policy in ("off", "naive"))
  assert kept.paired(naive, off) == [1.0, -1.0]
  assert comparison.of("byol/off", "knn20_cosine", "untrained") == {"train.seed=0": 10, "train.seed=1": 11, "train.seed=2": 12}
  assert (
    kept.mean_and_std([*off.values()]) == "2.00 ± 1.00" and kept.mean_and_std([2.0]) == "2.00" and kept.mean_and_std([]) == "—"
  )


@pytest.mark.parametrize("seed", ["seed0", "imbalance.seed4"])
def test_a_group_of_one_run_is_named_without_its_seed(tmp_path, seed):
  comparison = folder(tmp_path / "kept", {f"byol/{policy}/{seed}": {"knn20_cosine": [1.0]} for policy in ("off", "naive")})
  assert comparison.groups == ["byol/off", "byol/naive"] and len(comparison.of("byol/naive", "knn20_cosine")) == 1


def test_a_metric_by_two_protocols_is_not_mixed(tmp_path):
  comparison = folder(tmp_path / "kept", {"byol": {"knn20_cosine": [1.0]}})
  comparison.finals.append({**comparison.finals[0], "protocol": "another"})
  with pytest.raises(ValueError, match="several protocols"):
    comparison.of("byol", "knn20_cosine")


def test_the_better_of_two_runs():
  assert selection.choice([1, 2, 3], [10, 20, 30]) == (1.0, 1.0, 3)
  assert selection.choice([3, 2, 1], [10, 20, 30]) == (-1.0, 0.0, 3)
  assert selection.choice([1, 1, 2], [10, 20, 30]).better == pytest.approx(2.5 / 3)  # equal numbers choose by chance
  assert selection.choice([1, 2, 3], [10, 10, 30]).pairs == 2  # equally accurate runs have no better one


def test_the_sign_test_is_exact():
  assert selection.sign_test([1.0] * 10) == pytest.approx(2 / 2**10)
  assert selection.sign_test([1.0, -1.0, 0.0]) == 1.0 == selection.sign_test([])


def test_policies_are_compared_with_off_of_the_same_seed(tmp_path):
  metrics = {
    policy: {"knn20_cosine": values, "linear_lbfgs": values} for policy, values in (("off", [1, 2]), ("naive", [3, 1]))
  }
  comparison = folder(tmp_path / "kept", {f"byol-cpu/{p}": m for p, m in metrics.items()}, share_bootstrapped=[0.0, 0.25])
  lines = evidence.policies([comparison])
  assert (
    lines[2].startswith("| BYOL | off | 1.50 ± 0.71 |  |")
    and "+0.50 ± 2.12, higher in 1 of 2" in lines[3]
    and "25.0%" in lines[3]
  )


def test_changed_fields_are_compared_with_off_of_the_common_start(tmp_path):
  metrics = {
    policy: {"knn20_cosine": values, "linear_lbfgs": values} for policy, values in (("off", [1, 2]), ("adaptive", [3, 2]))
  }
  start = folder(tmp_path / "start", {f"byol-cpu/{p}": m for p, m in metrics.items()})
  changed = {"knn20_cosine": [5], "linear_lbfgs": [5]}
  of_k = folder(tmp_path / "sweep", {"byol-cpu/bootstrap.k=5": changed}, share_bootstrapped=[0.0, 0.25])
  lines = evidence.sweep([start, of_k])
  assert [line.split(" | ")[0] for line in lines[2:]] == ["| off", "| adaptive", "| k=5"]
  assert "+1.00 ± 1.41, higher in 1 of 2" in lines[3] and "+4.00, higher in 1 of 1 | 5.00 | 25.0%" in lines[4]


def test_methods_are_ordered_and_end_with_baselines_of_another_comparison(tmp_path):
  metrics = {
    name: dict.fromkeys(("knn20_cosine", "knn5_euclidean", "linear_lbfgs", "rankme"), [value])
    for name, value in (("byol", 1), ("resa", 2))
  }
  trained = folder(tmp_path / "trained", {**metrics, "byol/naive": metrics["byol"]})
  with pytest.raises(KeyError):
    evidence.methods([trained, folder(tmp_path / "unknown", {"unknown": metrics["byol"]}), trained])
  lines = evidence.methods([trained, folder(tmp_path / "baselines", {"simclr": metrics["byol"]}, raw_pixels=7.0)])
  assert [line.split(" | ")[0] for line in lines[2:]] == ["| ReSA", "| BYOL", "| untrained", "| raw pixels"]
  assert "| 10.00 | 10.00 | 10.00 |" in lines[4] and "| 7.00 | 7.00 | 7.00 |" in lines[5]


def test_a_number_that_falls_with_the_accuracy_is_read_as_lower(tmp_path):
  metrics = {"knn20_cosine": [1, 2, 3], "rankme": [1, 2, 3], "alignment": [3, 2, 1]}
  lines = {
    line.split(" | ")[0].strip("| "): line for line in evidence.selected([folder(tmp_path / "kept", {"simclr": metrics})])
  }
  assert "| 3 | 1.00 | 100% of 3 |" in lines["rankme"] and "| 3 | 1.00 | 100% of 3 |" in lines["alignment, lower"]


def test_unbalanced_draws_are_compared_in_pairs(tmp_path):
  names = ("knn1_cosine", "knn1_cosine_head", "knn1_cosine_tail")
  groups = {"unbalanced-isd": dict.fromkeys(names, [2.0, 3.0]), "unbalanced-moco": dict.fromkeys(names, [1.0, 4.0])}
  lines = evidence.unbalanced([folder(tmp_path / "kept", groups)])
  assert [line.split(" | ")[0] for line in lines[2:]] == ["| all", "| head", "| tail"]
  assert "| ISD+ | MoCo v2 |" in lines[0] and "higher in 1 of 2 | 1.000 |" in lines[2]


def test_clusters_have_a_line_for_each_method_and_columns_for_both_layers(tmp_path):
  figures_of = {f"{layer}_{name}": [x] for layer, x in (("encoder", 0.1), ("embedding", 0.2)) for name in evidence.CLUSTERS}
  accuracies = {evidence.KNN: [50.0], evidence.EUCLIDEAN: [49.0], evidence.LINEAR: [55.0]}
  better = {"resa-cpu": accuracies | {evidence.KNN: [51.0]} | figures_of}
  lines = evidence.clusters([folder(tmp_path / "kept", {"byol-cpu": accuracies | figures_of} | better)])
  assert lines[2] == "| ReSA | 51.00 | 49.00 | 55.00 | 0.100 | 0.100 | 0.100 | 0.200 | 0.200 | 0.200 |"
  assert lines[3].startswith("| BYOL | 50.00 |") and len(lines) == 4


def test_few_images_have_a_line_for_each_number_of_images_and_epochs(tmp_path):
  of = {n: {f"simclr-cpu/data.limit={n}/train.epochs={e}": {evidence.KNN: [n, n + 2.0]} for e in (50, 9)} for n in (2000, 500)}
  trained = [folder(tmp_path / f"{n}", groups) for n, groups in of.items()]
  other = folder(tmp_path / "other", {"moco-cpu/data.limit=500/train.epochs=9": {evidence.KNN: [7.0]}})
  groups = {f"data.limit={n}": {evidence.KNN: [1.0]} for n in of}
  lines = evidence.few([*trained, other, folder(tmp_path / "baselines", groups, raw_pixels=8.0)])
  assert [line.split(" | ")[:2] for line in lines[2:]] == [["| 500", "9"], ["| 500", "50"], ["| 2,000", "9"], ["| 2,000", "50"]]
  assert lines[2] == "| 500 | 9 | 501.00 ± 1.41 | 7.00 | 10.00 | 8.00 |" and "| 501.00 ± 1.41 |  | 10.00" in lines[3]
  with pytest.raises(ValueError, match=r"simclr-cpu/data.limit=2: expected a value of train.epochs"):
    evidence.few([folder(tmp_path / "bad", {"simclr-cpu/data.limit=2": {evidence.KNN: [1.0]}}), other])


def test_the_page_shows_what_is_kept():
  text = evidence.PAGE.read_text()
  assert evidence.page(text) == text


def test_every_kept_comparison_is_shown():
  shown = {name for match in evidence.TABLE.finditer(evidence.PAGE.read_text()) for name in match["folders"].split()}
  kept_folders = {path.name for path in kept.ROOT.iterdir() if path.is_dir()} if kept.ROOT.exists() else set()
  assert shown == kept_folders


def test_config_headers_quote_the_measured_accuracy():
  comparisons = [Kept(kept.ROOT / name) for name in ("methods", "policies")]
  quoted = [(k, group) for k in comparisons for group in k.groups if not group.startswith("nnboot") and "/naive" not in group]
  quoted.append((comparisons[1], "nnboot-cifar10-cpu/adaptive"))  # as the recipe is
  assert len(quoted) == 11 + 3 * 2 + 1
  for k, group in quoted:
    header = (CONFIGS / f"{re.split('[-/]', group)[0]}.py").read_text().split('"""')[1]
    values = [*k.of(group, evidence.KNN).values()]
    seeds = "one seed" if len(values) == 1 else f"{len(values)} seeds"
    text = " ".join(header.split())
    assert f'",cpu", {seeds}: k-NN {kept.mean_and_std(values, digits=1)}' in text, group


def test_every_method_has_a_title():
  assert [evidence.title(group) for group in ("isd-plus-cpu", "isd-cpu", "moco-v3_nnboot-cpu/off")] == [
    "ISD+",
    "ISD",
    "MoCo v3",
  ]
  with pytest.raises(KeyError, match="unknown"):
    evidence.title("unknown-cpu")


def test_values_survive_the_csv_and_rows_may_have_other_columns(tmp_path):
  for row in ({"run": "a, b", "value": 0.1}, {"run": "c", "seed": 1}):
    keep.add(tmp_path / "a.csv", [row])
  assert kept.lines(tmp_path / "a.csv") == [
    {"run": "a, b", "value": "0.1", "seed": ""},
    {"run": "c", "value": "", "seed": "1"},
  ]


def test_runs_of_another_machine_are_added_and_each_once(tmp_path):
  for seed, jax in enumerate(("0.10", "0.12")):
    keep.keep(compared(tmp_path / jax, f"byol-cpu/seed{seed}", software=SOFTWARE | {"jax": jax}), tmp_path / "kept")
  both = Kept(tmp_path / "kept")
  assert both.groups == ["byol-cpu"] and [run["run"] for run in both.runs] == ["byol-cpu/seed0", "byol-cpu/seed1"]
  assert len(both.finals) == 2 and both.over_epochs("byol-cpu/seed1", "knn20_cosine")[1] == [40.0]
  assert {row["metric"] for row in both.series} == {"knn20_cosine"}
  line = evidence.about(both)
  assert "2 runs in 0.03 hours" in line and line.count("commit f78d3321c4") == 2 and "jax 0.10" in line and "jax 0.12" in line
  with pytest.raises(SystemExit, match="byol-cpu/seed1 already"):
    keep.keep(tmp_path / "0.12", tmp_path / "kept")
  with pytest.raises(SystemExit, match="not finished, such as resa"):
    keep.keep(compared(tmp_path / "unfinished", "resa", finished=False), tmp_path / "kept")
  without = compared(tmp_path / "without", "resa")
  (without / "compare.csv").unlink()
  with pytest.raises(SystemExit, match="has no results of resa"):
    keep.keep(without, tmp_path / "kept")
  assert len(Kept(tmp_path / "kept").runs) == 2


def test_figures_have_a_line_for_the_mean_of_the_runs_and_one_for_each(tmp_path):
  groups = {f"byol-cpu/{policy}": {"knn20_cosine": [1.0, 2.0]} for policy in figures.POLICIES}
  start = folder(tmp_path / "start", groups, knn20_cosine=[1.0, 2.0], share_bootstrapped=[0.0, 0.5])
  axes = figures.policies([start, start]).axes
  assert len(axes) == 2 * len(figures.OVER_EPOCHS) and [len(axis.lines) for axis in axes] == [9, 9, 9, 9, 0, 0]
  assert axes[0].get_title() == "BYOL"


def test_the_figure_of_the_methods_has_a_mark_for_each_seed(tmp_path):
  trained = folder(
    tmp_path / "methods",
    {
      "byol-cpu": {metric: [1.0, 2.0, 3.0] for metric in (evidence.KNN, evidence.LINEAR)},
      "simclr-cpu": {metric: [4.0, 5.0, 6.0] for metric in (evidence.KNN, evidence.LINEAR)},
    },
  )
  baselines = folder(tmp_path / "baselines", {"simclr-cpu": {evidence.KNN: [0.0], evidence.LINEAR: [0.0]}}, raw_pixels=7.0)
  axes = figures.methods([trained, baselines]).axes
  assert [label.get_text() for label in axes[0].get_yticklabels()] == ["BYOL", "SimCLR"]  # from the bottom
  for axis in axes:
    places = [np.unique(line.get_xdata()).tolist() for line in axis.lines]
    assert places == [[7], [10], [1, 2, 3], [4, 5, 6]]  # raw pixels, untrained, then a mark per seed


def test_only_figures_of_kept_results_are_drawn(tmp_path):
  folder(tmp_path / "long", {"simclr-cpu": {"knn20_cosine": [1.0]}}, encoder_silhouette=[0.1, 0.2])
  assert figures.main(tmp_path) == 0
  assert [path.name for path in tmp_path.glob("*.svg")] == ["clusters.svg"]
