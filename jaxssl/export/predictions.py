"""Computes what an exported network returns for images, and classifies them."""

import contextlib
import dataclasses
from collections.abc import Callable, Iterator

import numpy as np

from jaxssl.core import UserError
from jaxssl.data.inputs import as_source
from jaxssl.data.read_ahead import read_ahead
from jaxssl.data.source import DataInput, Source
from jaxssl.data.whole_images import read_resized
from jaxssl.evals.preprocessing import Preprocessing

PART = 256  # images computed at once
Compute = Callable[[np.ndarray], np.ndarray]  # maps images [b, size, size, c], normalized float32 or values, to float32 [b, n]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Predictions:
  """The classes of images."""

  classes: np.ndarray  # int64 [n], the most probable one: a position in class_names
  probabilities: np.ndarray  # float32 [n, c]
  class_names: tuple[str, ...]

  @property
  def names(self) -> list[str]:
    """The name of the most probable class of each image."""
    return [self.class_names[k] for k in self.classes]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Predictor:
  """A network with a classifier, of any format. `compute` returns logits [b, c], with `takes_values` of values of files."""

  compute: Compute
  preprocessing: Preprocessing
  class_names: tuple[str, ...]
  takes_values: bool = False

  def predict(self, images: DataInput) -> Predictions:
    """Classifies images, given as for `jaxssl.train`. Raises UserError for others and for unreadable images."""
    source = as_source(images, "images", self.preprocessing.decoder, labeled=False)
    probabilities = np.concatenate(list(self.probabilities(source)))
    return Predictions(classes=probabilities.argmax(1), probabilities=probabilities, class_names=self.class_names)

  def probabilities(self, source: Source) -> Iterator[np.ndarray]:
    """Yields float32 [b, c] for all images in parts. Raises UserError if a value is not finite."""
    for logits in outputs(self.compute, self.preprocessing, source, self.takes_values):
      if not np.isfinite(logits).all():
        raise UserError("the logits of some images are not finite; the classifier or its network is damaged")
      exponents = np.exp(logits - logits.max(1, keepdims=True))
      yield exponents / exponents.sum(1, keepdims=True)


def outputs(compute: Compute, preprocessing: Preprocessing, source: Source, takes_values: bool = False) -> Iterator[np.ndarray]:
  """Yields the outputs for the images of a source, float32 [b, n], in parts; one of length 0 if there are no images."""
  prepare = preprocessing.values if takes_values else preprocessing.normalized
  for start in range(0, max(len(source), 1), PART):
    rows = range(start, min(start + PART, len(source)))
    resized = np.zeros((len(rows), preprocessing.size, preprocessing.size, source.channels), source.dtype)
    with contextlib.closing(read_ahead(lambda k: read_resized(source, k, preprocessing.resizing), rows, 0, PART)) as images:
      for place, image in enumerate(images):
        resized[place] = image
    yield np.asarray(compute(prepare(resized)))
