"""Draws the similarities of images and the spectrum of their features, before and after training."""

from typing import Any

import numpy as np

from jaxssl.core.rng import generator
from jaxssl.data.datasets import Dataset
from jaxssl.evals.crops import random_crops
from jaxssl.evals.feature_stats import effective_rank, singular_values, unit
from jaxssl.evals.features import FeatureExtractor
from jaxssl.evals.load_run import LoadedRun
from jaxssl.report import charts
from jaxssl.report.charts import Curve

CROPS, SAME, DIFFERENT, ANY = "two crops of one image", "same class", "different class", "two images"
COLORS = {CROPS: "#0072B2", SAME: "#009E73", DIFFERENT: "#D55E00", ANY: "#D55E00"}
NAMES = {CROPS: CROPS, SAME: "two images of a class", DIFFERENT: "two images of different classes", ANY: "two other images"}
SAMPLE = 512  # reference images


def section(run: LoadedRun, split: Dataset) -> str:
  """Draws the similarities of reference images and the spectrum of a split's features."""
  text = (
    "<p>After successful training two crops of one image are similar and different images are not: the blue histogram lies "
    "to the right of the orange one, and they overlap little. A spectrum that drops steeply means that the features use few "
    "directions: collapse, or close to it.</p>"
  )
  extractors = {run.evaluator.untrained: run.untrained, "now": run.extractor}
  count = len(run.evaluator.datasets.reference)
  rows = np.sort(generator(run.config.train.seed, "report/similarities").permutation(count)[:SAMPLE]).astype(np.int32)
  cosines = {title: _cosines(extractor, rows) for title, extractor in extractors.items()}
  low = min(float(np.quantile(values, 0.001)) for groups in cosines.values() for values in groups.values())
  figures = "".join(_similarity(f"Similarity, {title}", groups, low) for title, groups in cosines.items())
  return f'{text}<div class="charts">{figures}{_spectrum(split, extractors)}</div>'


def _cosines(extractor: FeatureExtractor, rows: np.ndarray) -> dict[str, np.ndarray]:
  """Computes cosines of two crops of each reference image in `rows`, int [m], and of all pairs of these images.

  The pairs are of the same and of different classes or, without labels, any. Empty groups are left out.
  """
  images, (first_crops, second_crops) = extractor.datasets.reference.subset(rows), random_crops(extractor, rows, 2)
  x, labels = unit(extractor.features(images)), images.source.labels
  first, second = np.triu_indices(len(x), 1)
  cosines = (x @ x.T)[first, second]
  groups = {CROPS: (unit(first_crops) * unit(second_crops)).sum(1)}
  if labels is None:
    groups[ANY] = cosines
  else:
    same, known = labels[first] == labels[second], (labels[first] >= 0) & (labels[second] >= 0)
    groups |= {SAME: cosines[same & known], DIFFERENT: cosines[~same & known]}
  return {name: values for name, values in groups.items() if len(values)}


def _similarity(title: str, groups: dict[str, np.ndarray], low: float) -> str:
  """Draws histograms, and describes how often a related pair is more similar than an unrelated one."""
  from scipy import stats

  curves, shares = [], []
  for name, values in groups.items():
    height, edges = np.histogram(values, bins=60, range=(low, 1.0), density=True)
    curves.append(Curve(name, edges, height, COLORS[name]))
    for other in {ANY, DIFFERENT} & groups.keys() - {name}:
      share = 100 * stats.mannwhitneyu(values, groups[other]).statistic / (len(values) * len(groups[other]))
      shares.append(f"in {share:.1f}% of cases {NAMES[name]} are more similar than {NAMES[other]}")

  def draw(axes: Any) -> None:
    for curve in curves:
      axes.stairs(curve.y, curve.x, fill=True, color=curve.color, alpha=0.25)
      axes.stairs(curve.y, curve.x, color=curve.color, linewidth=1.2)
    axes.set_yticks([])
    axes.set_xlim(low, 1.0)
    axes.set_xlabel("similarity (cosine)", labelpad=1)

  return charts.figure(title, draw, curves, f"I{'; '.join(shares)[1:]} (50%: by chance)." if shares else "")


def _spectrum(split: Dataset, extractors: dict[str, FeatureExtractor]) -> str:
  curves, rank, width = [], 0.0, 0
  for (label, extractor), color in zip(extractors.items(), ("#888888", charts.COLORS[0]), strict=True):
    features = extractor.features(split)
    values, width = singular_values(features), features.shape[1]
    positive = values[values > 0] / max(values[0], 1e-30)
    curves.append(Curve(label, np.arange(1, len(positive) + 1), positive, color))
    rank = effective_rank(values)  # of the last one, the trained network
  text = f"Effective rank of {len(split)} images now: {rank:.1f}; the features are {width} numbers."
  draw = charts.lines(curves, "direction, strongest first", scale="log")
  return charts.figure("Spectrum", draw, curves, f"Singular values, largest 1. {text}", "singular values")
