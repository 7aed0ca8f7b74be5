"""Draws the figures of docs/results.md from docs/results: python -m benchmarks.figures.

Each figure is docs/results/NAME.svg. Those over epochs have a column of charts per comparison or metric, with a line per
method or policy: the mean over seeds, and thin lines for the single runs.
"""

import pathlib
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib import style
from matplotlib.figure import Figure

from benchmarks import kept
from benchmarks.evidence import CLUSTERS, KNN, LAYERS, LINEAR, title, without_bootstrapping
from benchmarks.kept import Kept
from jaxssl.report.charts import COLORS, STYLE

POLICIES = ("off", "naive", "adaptive")
OVER_EPOCHS = {
  KNN: "k-NN, %",
  "share_bootstrapped": "bootstrapped, share",
  "neighbor_top1_label": "neighbor of the class, share",
}


def methods(found: Sequence[Kept]) -> Figure:
  """Draws the accuracies of every method, the best by k-NN on top, a mark per seed; dotted: raw pixels, dashed: untrained.

  The last comparison has what needs no training.
  """
  *trained, baselines = found
  groups = without_bootstrapping(trained)[::-1]
  figure = Figure(figsize=(7.0, 0.24 * len(groups) + 0.9), layout="constrained")
  axes = figure.subplots(1, 2, sharey=True, squeeze=False)
  for axis, metric, label, color in zip(axes[0], (KNN, LINEAR), ("k-NN, %", "linear, %"), COLORS, strict=False):
    axis.set_xlabel(label)
    for subject, pattern in (("raw_pixels", "dotted"), ("untrained", "dashed")):
      level = np.mean([*baselines.of(baselines.groups[0], metric, subject).values()])
      axis.axvline(level, color="gray", linestyle=pattern, linewidth=1, label=subject.replace("_", " "))
    for row, (comparison, group) in enumerate(groups):
      values = [*comparison.of(group, metric).values()]
      axis.plot(values, [row] * len(values), "o", color=color, markersize=5, alpha=0.8)
  axes[0, 0].set_yticks(range(len(groups)), [title(group) for _, group in groups])
  legend(figure, axes)
  return figure


def policies(starts: Sequence[Kept]) -> Figure:
  """Draws accuracy and neighbors over the epochs after a common start, a column per method."""
  figure, axes = grid(len(OVER_EPOCHS), len(starts))
  for column, start in enumerate(starts):
    axes[0, column].set_title(title(start.groups[0]))
    for row, (metric, label) in enumerate(OVER_EPOCHS.items()):
      axes[row, column].set_ylabel(label if column == 0 else "")
      for policy, color in zip(POLICIES, COLORS, strict=False):
        runs = [run["run"] for run in start.runs if run["group"].endswith(f"/{policy}")]
        lines(axes[row, column], [start.over_epochs(run, metric) for run in runs], color, policy)
  legend(figure, axes)
  return figure


def clusters(comparisons: Sequence[Kept]) -> Figure:
  """Draws how well classes are separated in the encoder's output (solid) and in the embedding (dashed), a line per method."""
  figure, axes = grid(1, len(CLUSTERS))
  for column, (metric, label) in enumerate(CLUSTERS.items()):
    axes[0, column].set_ylabel(label)
    groups = [(comparison, group) for comparison in comparisons for group in comparison.groups]
    for (comparison, group), color in zip(groups, COLORS, strict=False):
      runs = [run["run"] for run in comparison.runs if run["group"] == group]
      for layer, pattern in zip(LAYERS, ("solid", "dashed"), strict=True):
        series = [comparison.over_epochs(run, f"{layer}_{metric}") for run in runs]
        lines(axes[0, column], series, color, title(group) if layer == "encoder" else "", pattern)
  legend(figure, axes)
  return figure


def grid(rows: int, columns: int) -> tuple[Figure, Any]:
  """Returns a figure of charts [rows, columns] that share the epochs."""
  figure = Figure(figsize=(3.2 * columns, 2.1 * rows + 0.4), layout="constrained")
  axes = figure.subplots(rows, columns, sharex=True, squeeze=False)
  for axis in axes[-1]:
    axis.set_xlabel("epochs")
  return figure, axes


def lines(axis: Any, series: Sequence[tuple[list[float], list[float]]], color: str, label: str, pattern: str = "solid") -> None:
  """Draws runs over the same epochs, and their mean."""
  series = [points for points in series if points[0]]
  if not series:
    return
  for x, y in series if len(series) > 1 else []:
    axis.plot(x, y, color=color, linestyle=pattern, linewidth=0.5, alpha=0.5)
  length = min(len(x) for x, _ in series)
  mean = np.mean([y[:length] for _, y in series], axis=0)
  axis.plot(series[0][0][:length], mean, color=color, linestyle=pattern, linewidth=1.6, label=label or None)


def legend(figure: Figure, axes: Any) -> None:
  handles, labels = axes[0, 0].get_legend_handles_labels()
  figure.legend(handles, labels, loc="outside upper center", ncols=len(labels), frameon=False)


FIGURES: Mapping[str, tuple[Callable[[Sequence[Kept]], Figure], tuple[str, ...]]] = {
  "methods": (methods, ("methods", "policies", "baselines")),
  "policies": (policies, ("start-dino", "start-resa", "start-byol")),
  "clusters": (clusters, ("long",)),
}


def main(root: pathlib.Path = kept.ROOT) -> int:
  """Draws the figures whose results are kept; returns the exit code."""
  for name, (draw, folders) in FIGURES.items():
    if all((root / folder).is_dir() for folder in folders):
      with style.context(["seaborn-v0_8-whitegrid", STYLE, {"svg.hashsalt": name}]):  # the same ids each time
        figure = draw([Kept(root / folder) for folder in folders])
        figure.savefig(root / f"{name}.svg", metadata={"Date": None})
  return 0


if __name__ == "__main__":
  sys.exit(main())
