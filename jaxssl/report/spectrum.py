"""The shape of the features: how alike images are, and how many directions are used, before training and after."""

import numpy as np

from jaxssl.core.rng import generator
from jaxssl.data.datasets import Dataset
from jaxssl.evals.feature_stats import effective_rank, singular_values, unit
from jaxssl.evals.features import FeatureExtractor
from jaxssl.evals.finetune import two_crops
from jaxssl.evals.load_run import LoadedRun
from jaxssl.report import charts

COLORS = {
  "two crops of one image": "#0072B2",
  "same class": "#009E73",
  "different class": "#D55E00",
  "two images": "#D55E00",
}
CROPS, PAIRED = 512, 512  # images of the bank


def section(key: str, run: LoadedRun, split: Dataset) -> str:
  """Draws the similarities of the bank's images and the spectrum of a split's features."""
  text = (
    "<p>A network that has learned holds two crops of one image together and keeps different images apart: the blue hill "
    "lies to the right of the orange one, and they overlap little. A spectrum that falls off a cliff says that few directions "
    "are used: collapse, or near it.</p>"
  )
  return text + f'<div class="charts">{similarity(key, run)}{spectrum(key, run, split)}</div>'


def similarity(key: str, run: LoadedRun) -> str:
  """Draws the histograms of the network before training and of this one, on one scale."""
  bank, seed = run.measure.splits.reference, run.measure.config.train.seed
  rows = np.sort(generator(seed, "report/similarities").permutation(len(bank))[: max(CROPS, PAIRED)]).astype(np.int32)
  some = bank.subset(rows[:PAIRED])
  found = {title: samples(of, some, rows[:CROPS]) for title, of in ((run.measure.before, run.before), ("now", run.subject))}
  low = min(float(np.quantile(values, 0.001)) for groups in found.values() for values in groups.values())
  made = ""
  for title, groups in found.items():
    keys = "".join(charts.key(COLORS[name], name) for name in groups)
    drawn = charts.histograms(f"{key}-alike-{title}", f"Similarity, {title}", groups, COLORS, low)
    made += charts.figure(f"Similarity, {title}", "", keys, drawn, _told_apart(groups))
  return made


def _told_apart(groups: dict[str, np.ndarray]) -> str:
  """Says how often a more related pair is also more alike than an unrelated one."""
  other = next((name for name in ("two images", "different class") if name in groups), None)
  if other is None:
    return ""
  said = []
  for name, pair in (("two crops of one image", "two crops of one image"), ("same class", "two images of a class")):
    if name in groups:
      share = 100 * probability_above(groups[name], groups[other])
      of = "two other images" if other == "two images" else "two images of different classes"
      said.append(f"in {share:.1f}% of cases {pair} are more alike than {of}")
  text = "; ".join(said) + " (50%: by chance)."
  return text[0].upper() + text[1:]


def spectrum(key: str, run: LoadedRun, split: Dataset) -> str:
  """Draws the singular values of a split's features, largest = 1."""
  lines, ranks = [], []
  subjects: list[tuple[str, FeatureExtractor, str]] = [
    (run.measure.before, run.before, "#888888"),
    ("now", run.subject, charts.COLORS[0]),
  ]
  for label, subject, color in subjects:
    values = singular_values(subject.features(split))
    shown = values[values > 0] / max(values[0], 1e-30)
    lines.append(charts.Curve(label, np.arange(1, len(shown) + 1), shown, color))
    ranks.append(f"{label} {effective_rank(values):.1f}")
  keys = "".join(charts.key(line.color, line.label) for line in lines)
  drawn = charts.curves(f"{key}-spectrum", "Spectrum", lines, "direction, strongest first", {}, scale="log")
  width = run.subject.features(split).shape[1]
  text = f"Effective rank of {len(split)} images: {', '.join(ranks)}; the features are {width} numbers."
  return charts.figure("Spectrum", "singular values", keys, drawn, f"Singular values, largest 1. {text}")


def samples(subject: FeatureExtractor, some: Dataset, rows: np.ndarray) -> dict[str, np.ndarray]:
  """Gives cosines: of two crops of each image of the bank in `rows` int [m], and of all pairs of a small split's images.

  The pairs are "same class" and "different class", where there are labels, or else "two images". Empty groups are left out.
  """
  one, other = two_crops(subject, rows)
  found = {"two crops of one image": (unit(one) * unit(other)).sum(1)}
  x, labels = unit(subject.features(some)), some.source.labels
  above = np.triu_indices(len(x), 1)
  cosines = (x @ x.T)[above]
  if labels is None:
    found["two images"] = cosines
  else:
    same, known = (labels[above[0]] == labels[above[1]]), (labels[above[0]] >= 0) & (labels[above[1]] >= 0)
    found |= {"same class": cosines[same & known], "different class": cosines[~same & known]}
  return {name: values for name, values in found.items() if len(values)}


def probability_above(higher: np.ndarray, lower: np.ndarray) -> float:
  """Gives how often a value of `higher` exceeds one of `lower`, in 0..1; equal values count half."""
  ordered = np.sort(lower)
  below, up_to = (np.searchsorted(ordered, higher, side=side) for side in ("left", "right"))
  return float((below + up_to).mean() / (2 * len(lower)))
