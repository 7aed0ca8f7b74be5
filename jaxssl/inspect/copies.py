"""Finds duplicates among scanned images, and which of them need not or must not be trained on."""

import collections
import dataclasses
import functools
from collections.abc import Mapping, Sequence

import numpy as np

from jaxssl.core import LOG
from jaxssl.data.file_kinds import DecodeError, UnsupportedImage
from jaxssl.data.folder import FolderSource
from jaxssl.data.image_io import Decoder
from jaxssl.inspect import duplicates, same_photo
from jaxssl.inspect.duplicates import NearPair
from jaxssl.inspect.same_photo import Details
from jaxssl.inspect.scan import ImageStats, read_again

EXACT, NEAR = "are exact duplicates of others", "may be near duplicates of others"
IN_TEST, MAY_BE_IN_TEST = "are in the test split too", "may be in the test split too"


@dataclasses.dataclass(frozen=True)
class Copies:
  """Duplicates, by position. The first image of a group of exact duplicates stands for all of them in `near`."""

  is_test: Sequence[bool]  # of each image
  exact: Sequence[Sequence[int]]  # groups
  near: Sequence[NearPair]

  @functools.cached_property
  def near_groups(self) -> list[list[int]]:
    """Near duplicates, those linked by others, and their exact duplicates."""
    groups = duplicates.linked([pair[:2] for pair in self.near])
    return sorted(sorted(place for first in group for place in self._group(first)) for group in groups)

  @functools.cached_property
  def _exact_of(self) -> dict[int, Sequence[int]]:
    return {group[0]: group for group in self.exact}

  @functools.cached_property
  def _near_of(self) -> dict[int, list[int]]:
    near = collections.defaultdict(list)
    for one, other, _ in self.near:
      near[one].append(other)
      near[other].append(one)
    return near

  def _group(self, first: int) -> Sequence[int]:
    return self._exact_of.get(first, [first])

  def _train(self, *firsts: int) -> list[int]:
    return [k for first in sorted(firsts) for k in self._group(first) if not self.is_test[k]]

  def _test(self, *firsts: int) -> list[int]:
    return [k for first in sorted(firsts) for k in self._group(first) if self.is_test[k]]

  def in_both(self) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    """Returns pairs of a test and a training image: test images that are, and those that may be, in the training split."""
    same, similar = [], []
    for first in sorted({*self._exact_of, *self._near_of}):
      if train := self._train(first):
        same += [(k, train[0]) for k in self._test(first)]
      elif train := self._train(*self._near_of.get(first, ())):
        similar += [(k, train[0]) for k in self._test(first)]
    return same, similar

  def redundant(self) -> dict[int, str]:
    """Returns why training images should be left out, by position; of those that are alike, the first remains.

    A near duplicate is left out only if it is similar to a remaining image or a test image itself, not through others.
    """
    reasons, remaining = {}, set()
    for first in sorted({*self._exact_of, *self._near_of}):
      train, near = self._train(first), self._near_of.get(first, ())
      if self._test(first):
        reason = IN_TEST
      elif self._test(*near):
        reason = MAY_BE_IN_TEST
      elif remaining.intersection(near):
        reason = NEAR
      else:
        remaining.add(first)
        reason, train = EXACT, train[1:]
      reasons |= dict.fromkeys(train, reason)
    return reasons


def find_copies(sources: Mapping[str, FolderSource], images: Sequence[ImageStats], decoder: Decoder) -> Copies:
  """Finds the duplicates; similar images are read again, to be compared by their pixels. `decoder`: of the scan."""

  def details(place: int) -> Details:
    try:
      return same_photo.details(read_again(sources, images[place], decoder, 2 * same_photo.SIDE))
    except (DecodeError, UnsupportedImage) as error:
      LOG.warning("%s; it is not compared with similar images", error)
      return same_photo.details(np.zeros((1, 1, 3), np.uint8))

  exact = duplicates.exact(image.digest for image in images)
  prints = np.frombuffer(b"".join(image.fingerprints for image in images), np.float16).reshape(len(images), 2, -1)
  near = duplicates.near(prints, exact, details)
  return Copies([image.split == "test" for image in images], exact, near)
