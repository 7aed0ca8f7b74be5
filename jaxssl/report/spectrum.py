"""Similarities of images and the spectrum of their features, before training and after."""

import numpy as np

from jaxssl.core.rng import generator
from jaxssl.data.datasets import Dataset
from jaxssl.evals.crops import two_crops
from jaxssl.evals.feature_stats import effective_rank, singular_values, unit
from jaxssl.evals.features import FeatureExtractor
from jaxssl.evals.load_run import LoadedRun
from jaxssl.report import charts

COLORS = {
  "two crops of one image": "#0072B2",
  "same class": "#009E73",
  "different class": "#D55E00",
  "two images": "#D55E00",
}
CROPS, PAIRED = 512, 512  # reference images


def section(key: str, run: LoadedRun, split: Dataset) -> str:
  """Draws the similarities of reference images and the spectrum of a split's features."""
  text = (
    "<p>After successful training two crops of one image are similar and different images are not: the blue histogram lies "
    "to the right of the orange one, and they overlap little. A spectrum that drops steeply means that the features use few "
    "directions: collapse, or close to it.</p>"
  )
  return text + f'<div class="charts">{similarity(key, run)}{spectrum(key, run, split)}</div>'


def similarity(key: str, run: LoadedRun) -> str:
  """Draws the histograms of the network before training and after, on one scale."""
  reference, seed = run.evaluator.datasets.reference, run.config.train.seed
  rows = np.sort(generator(seed, "report/similarities").permutation(len(reference))[: max(CROPS, PAIRED)]).astype(np.int32)
  some = reference.subset(rows[:PAIRED])
  both = ((run.evaluator.untrained, run.untrained), ("now", run.extractor))
  found = {title: samples(extractor, some, rows[:CROPS]) for title, extractor in both}
  low = min(float(np.quantile(values, 0.001)) for groups in found.values() for values in groups.values())
  made = ""
  for title, groups in found.items():
    keys = "".join(charts.key(COLORS[name], name) for name in groups)
    drawn = charts.histograms(f"{key}-alike-{title}", f"Similarity, {title}", groups, COLORS, low)
    made += charts.figure(f"Similarity, {title}", "", keys, drawn, _separation(groups))
  return made


def _separation(groups: dict[str, np.ndarray]) -> str:
  """Returns how often a more related pair is also more similar than an unrelated one."""
  other = next((name for name in ("two images", "different class") if name in groups), None)
  if other is None:
    return ""
  texts = []
  for name, pair in (("two crops of one image", "two crops of one image"), ("same class", "two images of a class")):
    if name in groups:
      share = 100 * probability_above(groups[name], groups[other])
      of = "two other images" if other == "two images" else "two images of different classes"
      texts.append(f"in {share:.1f}% of cases {pair} are more similar than {of}")
  text = "; ".join(texts) + " (50%: by chance)."
  return text[0].upper() + text[1:]


def spectrum(key: str, run: LoadedRun, split: Dataset) -> str:
  """Draws the singular values of a split's features, largest = 1."""
  lines, ranks = [], []
  extractors: list[tuple[str, FeatureExtractor, str]] = [
    (run.evaluator.untrained, run.untrained, "#888888"),
    ("now", run.extractor, charts.COLORS[0]),
  ]
  width = 0
  for label, extractor, color in extractors:
    features = extractor.features(split)
    values, width = singular_values(features), features.shape[1]
    shown = values[values > 0] / max(values[0], 1e-30)
    lines.append(charts.Curve(label, np.arange(1, len(shown) + 1), shown, color))
    ranks.append(f"{label} {effective_rank(values):.1f}")
  keys = "".join(charts.key(line.color, line.label) for line in lines)
  drawn = charts.curves(f"{key}-spectrum", "Spectrum", lines, "direction, strongest first", {}, scale="log")
  text = f"Effective rank of {len(split)} images: {', '.join(ranks)}; the features are {width} numbers."
  return charts.figure("Spectrum", "singular values", keys, drawn, f"Singular values, largest 1. {text}")


def samples(extractor: FeatureExtractor, some: Dataset, rows: np.ndarray) -> dict[str, np.ndarray]:
  """Computes cosines of two crops of each reference image in `rows`, int [m], and of all pairs of a small split's images.

  The pairs are "same class" and "different class" or, without labels, "two images". Empty groups are left out.
  """
  one, other = two_crops(extractor, rows)
  found = {"two crops of one image": (unit(one) * unit(other)).sum(1)}
  x, labels = unit(extractor.features(some)), some.source.labels
  above = np.triu_indices(len(x), 1)
  cosines = (x @ x.T)[above]
  if labels is None:
    found["two images"] = cosines
  else:
    same, known = (labels[above[0]] == labels[above[1]]), (labels[above[0]] >= 0) & (labels[above[1]] >= 0)
    found |= {"same class": cosines[same & known], "different class": cosines[~same & known]}
  return {name: values for name, values in found.items() if len(values)}


def probability_above(higher: np.ndarray, lower: np.ndarray) -> float:
  """Computes how often a value of `higher` exceeds one of `lower`, in 0..1; equal values count half."""
  ordered = np.sort(lower)
  below, up_to = (np.searchsorted(ordered, higher, side=side) for side in ("left", "right"))
  return float((below + up_to).mean() / (2 * len(lower)))
