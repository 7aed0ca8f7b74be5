"""The map: images of a split in two dimensions, with a thumbnail of each."""

from typing import Any

import numpy as np

from jaxssl.data.datasets import Dataset
from jaxssl.evals.clustering import kmeans
from jaxssl.evals.feature_stats import unit
from jaxssl.evals.load_run import LoadedRun
from jaxssl.report.charts import COLORS
from jaxssl.report.text import escape
from jaxssl.report.thumbnails import Sheet, class_of, thumbnail

SIDE = 40
NAMED = 20  # most classes that get a button each


def section(key: str, run: LoadedRun, split: Dataset, features: np.ndarray) -> tuple[str, str]:
  """Returns the map of a split's images, and their style for the head of the page."""
  seed, labels = run.config.train.seed, split.source.labels
  places = project(features, seed)
  group = cluster(features, seed) if labels is None else labels
  order = np.argsort(group, kind="stable")
  sheet = Sheet(f"{key}-map", {row: thumbnail(split, row, SIDE) for row in order.tolist()})
  dots, legend = "", ""
  numbers = np.unique(group)
  for number in numbers:
    rows = order[group[order] == number]
    name = escape(f"cluster {number + 1}" if labels is None else class_of(split, int(rows[0])) or "no class")
    color = COLORS[int(number) % len(COLORS)]
    circles = "".join(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.8"/>' for x, y in places[rows] * (388, 288) + 6)
    dots += f'<g fill="{color}" data-name="{name}">{circles}</g>'
    legend += f'<button type="button" aria-pressed="false"><i style="background:{color}"></i>{name}</button>'
  which = "test" if run.evaluator.datasets.test else "training"
  colors = "classes, which training never used" if labels is not None else "clusters that k-means finds in the features"
  text = (
    f"<p>{len(order)} {which} images; those with similar features lie close together (t-SNE: only closeness counts, "
    f"neither axes nor sizes). Colors: {colors}. Point at a dot, or touch it.</p>"
  )
  text += f'<div class="map" data-columns="{sheet.columns}" data-rows="{sheet.rows}">'
  text += f'<svg viewBox="0 0 400 300" role="img" aria-label="map of images">{dots}</svg>'
  text += f'<div class="peek" hidden><i class="tile {sheet.key}"></i><small></small></div></div>'
  return text + (f'<p class="legend">{legend}</p>' if len(numbers) <= NAMED else ""), sheet.style


WIDTH = 50  # dimensions of the input of t-SNE
STEPS = 500
CLUSTERS = 10


def project(features: np.ndarray, seed: int) -> np.ndarray:
  """Projects features [n, f], at unit length, to two dimensions by t-SNE from their principal axes: float [n, 2] in 0..1."""
  import threadpoolctl
  from sklearn import manifold

  x = unit(features)
  x = x - x.mean(0)
  x = x @ np.linalg.eigh(x.T @ x)[1][:, ::-1][:, :WIDTH]  # along the principal axes, the strongest first
  axes = np.concatenate([x, np.zeros((len(x), 1))], axis=1)[:, :2]
  if len(x) < 5 or axes[:, 0].std() < 1e-6:  # too few for neighborhoods, or collapsed
    placed = axes
  else:
    start: Any = (axes / axes[:, 0].std() * 1e-4).astype(np.float32)
    perplexity = min(30.0, (len(x) - 1) / 3)
    with threadpoolctl.threadpool_limits(1):  # its threads busy-wait: six times slower on busy cores
      placed = manifold.TSNE(init=start, perplexity=perplexity, max_iter=STEPS, random_state=seed).fit_transform(x)
  low, high = placed.min(0), placed.max(0)
  return (placed - low) / np.maximum(high - low, 1e-9)


def cluster(features: np.ndarray, seed: int) -> np.ndarray:
  """Finds CLUSTERS clusters of features [n, f], at unit length, by k-means: int32 [n]."""
  return kmeans(unit(features), min(CLUSTERS, len(features)), seed)
