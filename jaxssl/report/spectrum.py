"""Draws the similarities of images and the spectrum of their features, before and after training."""

from typing import Any

import numpy as np

from jaxssl.core.rng import generator
from jaxssl.data.datasets import Dataset
from jaxssl.evals.crops import two_crops
from jaxssl.evals.feature_stats import effective_rank, singular_values, unit
from jaxssl.evals.features import FeatureExtractor
from jaxssl.evals.load_run import LoadedRun
from jaxssl.report import charts

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
  return f'{text}<div class="charts">{_similarity(run, extractors)}{_spectrum(split, extractors)}</div>'


def _similarity(run: LoadedRun, extractors: dict[str, FeatureExtractor]) -> str:
  reference = run.evaluator.datasets.reference
  drawn = generator(run.config.train.seed, "report/similarities").permutation(len(reference))[:SAMPLE]
  rows = np.sort(drawn).astype(np.int32)
  cosines = {title: _cosines(extractor, reference.subset(rows), rows) for title, extractor in extractors.items()}
  low = min(float(np.quantile(values, 0.001)) for groups in cosines.values() for values in groups.values())
  figures = ""
  for title, groups in cosines.items():

    def draw(axes: Any, groups: dict[str, np.ndarray] = groups) -> None:
      for name, values in groups.items():
        height, edges = np.histogram(values, bins=60, range=(low, 1.0), density=True)
        axes.stairs(height, edges, fill=True, color=COLORS[name], alpha=0.25)
        axes.stairs(height, edges, color=COLORS[name], linewidth=1.2)
      axes.set_yticks([])
      axes.set_xlim(low, 1.0)
      axes.set_xlabel("similarity (cosine)", labelpad=1)

    keys = "".join(charts.key(COLORS[name], name) for name in groups)
    figures += charts.figure(f"Similarity, {title}", draw, keys, _separation(groups))
  return figures


def _separation(groups: dict[str, np.ndarray]) -> str:
  """Describes how often a related pair is more similar than an unrelated one."""
  for other in {ANY, DIFFERENT} & groups.keys():
    shares = {name: 100 * probability_above(groups[name], groups[other]) for name in (CROPS, SAME) if name in groups}
    texts = (f"in {share:.1f}% of cases {NAMES[name]} are more similar than {NAMES[other]}" for name, share in shares.items())
    return f"I{'; '.join(texts)[1:]} (50%: by chance)."
  return ""


def _spectrum(split: Dataset, extractors: dict[str, FeatureExtractor]) -> str:
  lines, ranks, width = [], [], 0
  for (label, extractor), color in zip(extractors.items(), ("#888888", charts.COLORS[0]), strict=True):
    features = extractor.features(split)
    values, width = singular_values(features), features.shape[1]
    positive = values[values > 0] / max(values[0], 1e-30)
    lines.append(charts.Curve(label, np.arange(1, len(positive) + 1), positive, color))
    ranks.append(f"{label} {effective_rank(values):.1f}")
  keys = "".join(charts.key(line.color, line.label) for line in lines)
  text = f"Effective rank of {len(split)} images: {', '.join(ranks)}; the features are {width} numbers."
  draw = charts.curves(lines, "direction, strongest first", {}, scale="log")
  return charts.figure("Spectrum", draw, keys, f"Singular values, largest 1. {text}", "singular values")


def _cosines(extractor: FeatureExtractor, split: Dataset, rows: np.ndarray) -> dict[str, np.ndarray]:
  """Computes cosines of two crops of each reference image in `rows`, int [m], and of all pairs of a split's images.

  The pairs are of the same and of different classes or, without labels, any. Empty groups are left out.
  """
  first_crops, second_crops = two_crops(extractor, rows)
  x, labels = unit(extractor.features(split)), split.source.labels
  first, second = np.triu_indices(len(x), 1)
  cosines = (x @ x.T)[first, second]
  groups = {CROPS: (unit(first_crops) * unit(second_crops)).sum(1)}
  if labels is None:
    groups[ANY] = cosines
  else:
    same, known = labels[first] == labels[second], (labels[first] >= 0) & (labels[second] >= 0)
    groups |= {SAME: cosines[same & known], DIFFERENT: cosines[~same & known]}
  return {name: values for name, values in groups.items() if len(values)}


def probability_above(higher: np.ndarray, lower: np.ndarray) -> float:
  """Computes how often a value of `higher` exceeds one of `lower`, in 0..1; equal values count half."""
  ordered = np.sort(lower)
  below, up_to = (np.searchsorted(ordered, higher, side=side) for side in ("left", "right"))
  return float((below + up_to).mean() / (2 * len(lower)))
