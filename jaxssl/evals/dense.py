"""Segments images by the features of their patches: votes of the nearest patches, and a linear classifier."""

import contextlib
import functools
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxssl.config.schema import Config
from jaxssl.core import UserError, require
from jaxssl.core.metric import Measurement, Metric, Scalar, accuracy_metric
from jaxssl.core.types import Array
from jaxssl.data import input_pipeline
from jaxssl.data.datasets import Dataset
from jaxssl.data.image_io import center
from jaxssl.data.segmentation import Segmented, SegmentedImages, open_segmented
from jaxssl.data.source import Subset
from jaxssl.evals import knn, logistic
from jaxssl.evals.classifier import logits
from jaxssl.evals.features import FeatureExtractor, evaluation, measurements
from jaxssl.evals.preprocessing import Preprocessing
from jaxssl.evals.raw_pixels import patch_grid
from jaxssl.models.network import Network

IMAGES = 256  # whose patches are in memory at a time
NONE = -1  # the class of what is neither learned nor measured


class Task(NamedTuple):
  """Segmentation as numbers. `classes`: the values of masks, int [c]; other arrays hold positions in it, or NONE."""

  classes: np.ndarray
  patches: np.ndarray  # int16 [n, rows, columns], the most frequent class in each patch of the training images
  masks: np.ndarray  # int16 [m, size, size], of the test images


@evaluation("dense")
def measure(extractor: FeatureExtractor) -> list[Measurement]:
  """Measures mean IoU and accuracy of pixels, at the size of the images that the network sees, on `evals.dense`."""
  config, prep = extractor.config.evals.dense, extractor.preprocessing
  sets = open_segmented(config, extractor.datasets.config)
  task = read_task(sets, prep.resize, prep.size, patch_grid(extractor.network, prep), config.ignore)
  x, y = _sample(extractor, sets, task.patches, config.patches)
  require(config.k <= len(x), "evals.dense.k", config.k, f"1 to {len(x)}, the number of patches to compare with")
  count, temperature = len(task.classes), extractor.config.evals.knn.temperature
  kernel, chosen = logistic.fit_raw(x, y, count, 0)
  kernel = jnp.asarray(kernel)

  confusion = dict[str, np.ndarray]()
  for rows, patches in _patches(extractor, sets.test, sets.test_rows):
    queries = patches.reshape(-1, patches.shape[-1])
    values, ids = knn.neighbors(extractor.mesh, x, queries, config.k)
    votes = knn.class_scores(values, y[ids], count, temperature)
    scores = {f"knn{config.k}": votes / votes.sum(1, keepdims=True), "linear": np.asarray(logits(queries, kernel))}
    for name, of_patches in scores.items():
      guesses = upsampled(of_patches.reshape(*patches.shape[:3], count), prep.size)
      confusion[name] = confusion.get(name, 0) + confusion_matrix(task.masks[rows], guesses, count)

  shared = _protocol(extractor, sets, task, len(x))
  own: Mapping[str, Mapping[str, Scalar]] = {
    f"knn{config.k}": {**knn.PROTOCOLS["cosine"], "k": config.k, "temperature": temperature},
    "linear": logistic.PROTOCOL,
  }
  measured = []
  for name, matrix in confusion.items():
    kept = chosen if name == "linear" else {}
    measured += measurements(extractor, figures(name, matrix), {**own[name], **shared}, **kept)
  return measured


def check(config: Config, network: Network) -> None:
  """Raises UserError if the images or masks are missing, or if the network has no features of patches."""
  open_segmented(config.evals.dense, config.data)
  patch_grid(network, Preprocessing.of(config))


def figures(name: str, confusion: np.ndarray) -> dict[Metric, float]:
  """Computes mean IoU and accuracy of pixels, in percent, from a confusion matrix [c, c]: rows are true classes.

  Classes that are neither there nor guessed have no IoU.
  """
  title = "linear classifier" if name == "linear" else f"{name[3:]} nearest patches"
  right, union = np.diag(confusion), confusion.sum(0) + confusion.sum(1) - np.diag(confusion)
  about = f"Segmentation of images, whose patches a {'vote' if name != 'linear' else 'classifier'} assigns to classes"
  iou = accuracy_metric(f"dense_{name}_miou", f"Mean IoU, {title}", f"{about}: overlap of the areas, mean over classes.")
  pixels = accuracy_metric(f"dense_{name}_pixels", f"Pixel accuracy, {title}", f"{about}: pixels of the right class.")
  return {iou: 100 * (right / np.maximum(union, 1))[union > 0].mean(), pixels: 100 * right.sum() / max(confusion.sum(), 1)}


def confusion_matrix(masks: np.ndarray, guesses: np.ndarray, count: int) -> np.ndarray:
  """Counts pixels by true class (row) and guess (column), int [count, count]; leaves out those of class NONE."""
  known = masks != NONE
  return np.bincount(masks[known].astype(int) * count + guesses[known], minlength=count**2).reshape(count, count)


@functools.partial(jax.jit, static_argnums=1)
def _upsampled(scores: Array, size: int) -> Array:
  return jax.lax.map(lambda one: jax.image.resize(one, (size, size, one.shape[-1]), "linear").argmax(-1), scores)


def upsampled(scores: np.ndarray, size: int) -> np.ndarray:
  """Returns the classes of pixels, int32 [n, size, size], from scores of patches [n, rows, columns, c]: bilinear."""
  return np.asarray(_upsampled(jnp.asarray(scores), size))


def majority(mask: np.ndarray, grid: tuple[int, int], count: int) -> np.ndarray:
  """Returns the most frequent class in each patch, int16 [rows, columns], the smallest of equals; NONE without a class.

  mask: int [h, w] of classes below `count`, or NONE. A pixel belongs to the patch that its corner lies in.
  """
  places = [np.arange(side) * parts // side for side, parts in zip(mask.shape, grid, strict=True)]
  patch = places[0][:, None] * grid[1] + places[1][None, :]
  known = mask != NONE
  votes = np.bincount(patch[known] * count + mask[known], minlength=grid[0] * grid[1] * count).reshape(*grid, count)
  return np.where(votes.any(-1), votes.argmax(-1), NONE).astype(np.int16)


def read_task(sets: Segmented, resize: int, size: int, grid: tuple[int, int], ignore: tuple[int, ...]) -> Task:
  """Reads all masks, resized as the images, without interpolation. Raises UserError for unfit ones."""
  values = np.zeros(256, bool)

  def resized(images: SegmentedImages, row: int) -> tuple[np.ndarray, np.ndarray]:
    mask = images.mask(row)
    return np.unique(mask), center(mask[..., None], resize, size, "nearest")[..., 0]

  def read(images: SegmentedImages, rows: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    load = functools.partial(resized, images)
    with contextlib.closing(input_pipeline.read_ahead(load, rows.tolist(), 0, 64)) as masks:
      yield from masks

  trained = []  # by value, since the classes are known only when all masks have been read, which would fill the memory
  for found, mask in read(sets.train, sets.train_rows):
    values[found] = True
    trained.append(majority(np.where(np.isin(mask, ignore), NONE, mask.astype(np.int16)), grid, 256))
  values[list(ignore)] = False
  classes = np.flatnonzero(values)
  if len(classes) < 2:
    hint = f"; evals.dense.ignore={','.join(map(str, ignore))} leaves values out" if ignore else ""
    raise UserError(f"{sets.train.where}: the masks have {len(classes)} classes{hint}; expected 2 or more")
  position = np.full(256, NONE, np.int16)
  position[classes] = np.arange(len(classes))
  masks = np.empty((len(sets.test_rows), size, size), np.int16)
  for place, (found, mask) in enumerate(read(sets.test, sets.test_rows)):
    if unknown := sorted({*found.tolist()} - {*classes.tolist(), *ignore}):
      problem = f"{sets.test.mask_name(int(sets.test_rows[place]))} has class {unknown[0]}, which no training mask has"
      remedy = f"evals.dense.ignore={','.join(map(str, [*ignore, *unknown]))}"
      raise UserError(f"{sets.test.where}: {problem}; train on such an image, or leave the class out by {remedy}")
    masks[place] = position[mask]
  patches = np.stack(trained)
  return Task(classes, np.where(patches == NONE, NONE, position[patches]).astype(np.int16), masks)


def _patches(extractor: FeatureExtractor, images: SegmentedImages, rows: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
  """Yields parts of `rows` and the features of their patches, float32 [b, rows, columns, f]."""
  for start in range(0, len(rows), IMAGES):
    part = slice(start, start + IMAGES)
    yield part, extractor.features(Dataset(Subset(images, rows[part])), "patches")


def _sample(extractor: FeatureExtractor, sets: Segmented, labels: np.ndarray, most: int) -> tuple[np.ndarray, np.ndarray]:
  """Returns features, float32 [p, f], and classes, int [p], of training patches: at most so many, drawn from all."""
  drawn = np.random.default_rng(0).permutation(np.flatnonzero(labels.ravel() != NONE))[:most]
  drawn.sort()
  image, place = np.divmod(drawn, labels[0].size)
  used, image = np.unique(image, return_inverse=True)
  features = []
  for part, patches in _patches(extractor, sets.train, sets.train_rows[used]):
    own = slice(*np.searchsorted(image, (part.start, part.stop)))
    features.append(patches.reshape(len(patches), labels[0].size, -1)[image[own] - part.start, place[own]])
  return np.concatenate(features), labels.ravel()[drawn].astype(np.int32)


def _protocol(extractor: FeatureExtractor, sets: Segmented, task: Task, sampled: int) -> dict[str, Scalar]:
  config, prep = extractor.config.evals.dense, extractor.preprocessing
  protocol: dict[str, Scalar] = {"reference": sets.train.short_name, "reference_images": len(sets.train_rows)}
  protocol |= {"test": sets.drawn or sets.test.short_name, "test_images": len(sets.test_rows)}
  protocol |= {"patches": sampled, "grid": "{} x {}".format(*task.patches.shape[1:]), "classes": len(task.classes)}
  protocol |= {"ignore": ",".join(map(str, config.ignore))} if config.ignore else {}
  protocol |= {"pixels": "scores upsampled bilinearly to image_size", "image_size": prep.size}
  return protocol | ({"resize": prep.resize} if prep.resize else {})
