"""Random crops of reference images: as the student's first view but without its color changes, or of any range of areas."""

import dataclasses
import functools
from collections.abc import Iterator, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from jaxssl.augment import pipeline
from jaxssl.config.schema import ViewConfig
from jaxssl.core.metric import Scalar
from jaxssl.core.types import Array, Variables
from jaxssl.data import input_pipeline
from jaxssl.evals import raw_pixels
from jaxssl.evals.features import FeatureExtractor, extract, in_batches
from jaxssl.evals.preprocessing import Preprocessing, first_view
from jaxssl.models.network import Network

GROUP = "weak"  # the view group that holds the crops


def view_of(extractor: FeatureExtractor, count: int) -> ViewConfig:
  """Returns the student's first view group at the size that evaluations use; `finish` leaves out its color changes."""
  view = first_view(extractor.config)
  extra = tuple({**entry, "p": entry["p"][0]} if isinstance(entry.get("p"), Sequence) else entry for entry in view.extra)
  return dataclasses.replace(view, count=count, size=extractor.preprocessing.size, partner=(False,), extra=extra)


def view_for(extractor: FeatureExtractor, crops: str, crop_scale: tuple[float, float]) -> ViewConfig:
  """Returns the view that `crops`, "random" or "view", and `crop_scale` name, see `LinearProtocol`; it has one crop."""
  if crops == "view":
    return view_of(extractor, count=1)
  size = extractor.preprocessing.size
  return ViewConfig(count=1, size=size, partner=(False,), crop_scale=crop_scale, interpolation="bilinear")  # torchvision's


def crop_protocol(extractor: FeatureExtractor) -> dict[str, Scalar]:
  """Returns the part of a protocol that says how `random_crops` cuts."""
  return view_protocol(view_of(extractor, count=1))


def training_protocol(view: ViewConfig) -> dict[str, Scalar]:
  """Returns the part of a protocol that says what a classifier is trained on, in each epoch."""
  return view_protocol(view) | {"crop_interpolation": view.interpolation, "flip": view.flip}


def view_protocol(view: ViewConfig) -> dict[str, Scalar]:
  """Returns the part of a protocol that says how the crops of a view are cut."""
  (low, high), (flat, wide) = view.crop_scale, view.crop_ratio
  protocol: dict[str, Scalar] = {"crop_area": f"{low:g} to {high:g}", "crop_ratio": f"{flat:.3g} to {wide:.3g}"} if high else {}
  return protocol | ({"affine": view.affine} if view.affine else {})


def random_crops(extractor: FeatureExtractor, rows: np.ndarray, count: int) -> np.ndarray:
  """Computes the features, or raw pixels, of random crops of some images of the reference set: float32 [count, n, f]."""
  view, config = view_of(extractor, count=2), extractor.config  # two at a time, so that every count is compiled once
  index = in_batches(extractor.mesh, len(rows), config.evals.batch_size)
  resident = extractor.datasets.reference.resident
  pairs = []
  for draw in range(-(-count // 2)):
    crops = cut(extractor, rows[index].astype(np.int32), view, seed=0, epoch=draw)
    encode = functools.partial(_encode, extractor.network, view, extractor.preprocessing, extractor.variables, resident, draw)
    pairs.append(extract(extractor.mesh, encode, crops, len(rows)).swapaxes(0, 1))
  return np.concatenate(pairs)[:count]


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _encode(
  network: Network,
  view: ViewConfig,
  prep: Preprocessing,
  variables: Variables | None,
  store: Array | None,
  draw: int,
  batch: tuple,
) -> Array:
  index, crops = batch
  prep = raw_pixels.preprocessing(prep, prep.size) if variables is None else prep
  images = finish(view, prep, index, crops, store, jax.random.fold_in(jax.random.key(draw), index[0]))
  if variables is None:
    side = min(view.size, raw_pixels.OF_IMAGE)
    return jax.image.resize(images, (*images.shape[:2], side, side, images.shape[-1]), "cubic").reshape(*images.shape[:2], -1)
  return jnp.stack([network.encode(variables, images[:, i]) for i in range(view.count)], axis=1)


def cut(
  extractor: FeatureExtractor, order: np.ndarray, view: ViewConfig, seed: int, epoch: int
) -> Iterator[tuple[np.ndarray, np.ndarray | None]]:
  """Yields (rows, crops) for each of this process's batches of reference images, int32 [steps, b]."""
  dataset = extractor.datasets.reference
  if dataset.resident is not None:
    yield from ((index, None) for index in order)
    return
  workers = extractor.config.data.workers
  plan = order, order, {GROUP: view}, seed, epoch, 0
  with input_pipeline.training(dataset.source, *plan, workers, dataset.pool) as batches:
    yield from ((index, crops[GROUP]) for index, _, crops in batches)


def finish(
  view: ViewConfig, preprocessing: Preprocessing, index: Array, crops: Array | None, store: Array | None, key: Array
) -> Array:
  """Returns views [b, v, h, w, c], normalized, from crops that the host has cut, or of rows of resident images."""
  cut_key, finish_key = jax.random.split(key)
  if crops is None:
    assert store is not None
    crops = pipeline.crop(cut_key, jnp.stack([store[index]] * 2, axis=1), {GROUP: view})[GROUP]
  mean, std = preprocessing.mean, preprocessing.std
  return pipeline.finish(finish_key, {GROUP: crops}, {GROUP: view}, mean, std, geometric_only=True)[GROUP]
