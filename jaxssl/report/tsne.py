"""Draws the map: the images of a split as thumbnails in two dimensions (t-SNE)."""

import numpy as np

from jaxssl.data.datasets import Dataset
from jaxssl.evals.clustering import kmeans
from jaxssl.evals.feature_stats import unit
from jaxssl.evals.load_run import LoadedRun
from jaxssl.report.charts import COLORS
from jaxssl.report.text import escape
from jaxssl.report.thumbnails import Gallery, source

SIDE = 40
NAMED = 20  # maximum number of classes with a button each
WIDTH = 50  # dimensions of the input of t-SNE
STEPS = 500
ANGLE = 0.8  # of scikit-learn's approximation; its default, 0.5, takes longer and keeps no more neighbors
CLUSTERS = 10


def section(run: LoadedRun, split: Dataset) -> str:
  """Returns the map of a split's images."""
  seed, labels, gallery = run.config.train.seed, split.source.labels, Gallery(split, SIDE)
  features = run.extractor.features(split)
  places = project(features, seed) * (388, 288) + 6
  group = kmeans(unit(features), min(CLUSTERS, len(features)), seed) if labels is None else labels
  dots, legend = "", ""
  numbers = np.unique(group)
  for number in numbers.tolist():
    rows = np.flatnonzero(group == number).tolist()
    name = escape(f"cluster {number + 1}" if labels is None else gallery.name(rows[0]) or "no class")
    color = COLORS[number % len(COLORS)]
    dots += f'<g fill="{color}" data-name="{name}">'
    for row in rows:
      x, y = places[row]
      dots += f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.8" data-image="{source(gallery.read(row))}"/>'
    dots += "</g>"
    legend += f'<button type="button" aria-pressed="false"><i style="background:{color}"></i>{name}</button>'
  which = "test" if run.evaluator.datasets.test else "training"
  colors = "classes, which training never used" if labels is not None else "clusters that k-means finds in the features"
  text = (
    f"<p>{len(group)} {which} images; those with similar features lie close together (t-SNE: only closeness counts, "
    f"neither axes nor sizes). Colors: {colors}. Point at a dot, or touch it.</p>"
    f'<div class="map"><svg viewBox="0 0 400 300" role="img" aria-label="map of images">{dots}</svg>'
    '<div class="peek" hidden><img class="tile" alt=""><small></small></div></div>'
  )
  return text + (f'<p class="legend">{legend}</p>' if len(numbers) <= NAMED else "")


def project(features: np.ndarray, seed: int) -> np.ndarray:
  """Projects features [n, f], at unit length, to two dimensions by t-SNE from their principal axes: float [n, 2] in 0..1."""
  import threadpoolctl
  from sklearn import manifold

  x = unit(features)
  x = x - x.mean(0)
  x = x @ np.linalg.eigh(x.T @ x)[1][:, ::-1][:, :WIDTH]  # along the principal axes, the strongest first
  placed = x[:, :2]
  if len(x) >= 5 and placed[:, 0].std() >= 1e-6:  # otherwise too few for neighborhoods, or collapsed
    perplexity = min(30.0, (len(x) - 1) / 3)
    with threadpoolctl.threadpool_limits(1):  # its threads busy-wait: six times slower on busy cores
      tsne = manifold.TSNE(init="pca", perplexity=perplexity, max_iter=STEPS, angle=ANGLE, random_state=seed)
      placed = tsne.fit_transform(x)
  low, high = placed.min(0), placed.max(0)
  return (placed - low) / np.maximum(high - low, 1e-9)
