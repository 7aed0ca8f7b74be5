"""Reads folders of images and masks, whose pixels are numbers of classes."""

import io
import os
import pathlib
from collections import defaultdict
from typing import NamedTuple

import numpy as np
from PIL import Image, UnidentifiedImageError

from jaxssl.config.eval_schema import DenseConfig
from jaxssl.config.schema import DataConfig
from jaxssl.core import UserError
from jaxssl.data import image_list
from jaxssl.data.file_kinds import JPEG, PNG, check_size
from jaxssl.data.folder import FolderSource
from jaxssl.data.listing import list_images

EXPECTED = "expected numbers of classes in 8 bits, as a gray or palette PNG"
SHARE = 5  # one image in five is tested, without test images


class SegmentedImages(FolderSource):
  """Images of a folder, each with a mask of the same name, but for its ending, in another folder.

  An image that is read must be as large as its mask, if that was read before.
  """

  def __init__(self, images: str, masks: str, list_path: str, prefix: str, config: DataConfig):
    """Lists the files. `prefix`: begins the fields in messages, `evals.dense.` or `evals.dense.test_`. Raises UserError."""
    self.where = f"{prefix}masks={masks}"
    index, self._masks = list_images(images, f"{prefix}images"), list_images(masks, f"{prefix}masks")
    positions, names = np.arange(len(index)), list(map(index.name, range(len(index))))
    if list_path:
      positions = np.array(sorted(image_list.read(list_path, names, index.folders, index.root, f"{prefix}list_path")))
    super().__init__(index, positions, index.folders, config)
    found = defaultdict[str, list[int]](list)
    for k in range(len(self._masks)):
      found[os.path.splitext(self._masks.name(k))[0]].append(k)
    own = [found.get(os.path.splitext(names[k])[0], []) for k in positions]
    if missing := [names[k] for k, masks_of in zip(positions, own, strict=True) if not masks_of]:
      count = f"{len(missing)} of {len(own)} images have no mask, e.g. {missing[0]}"
      remedy = f"or name the images that have one by {prefix}list_path"
      raise UserError(f"{self.where}: {count}; expected {os.path.splitext(missing[0])[0]}.png there, {remedy}")
    if several := next((masks_of for masks_of in own if len(masks_of) > 1), None):
      raise UserError(f"{self.where}: {' and '.join(map(self._masks.name, several[:2]))} are masks of one image; keep one")
    self._mask_of = [masks_of[0] for masks_of in own]
    self._sizes: dict[int, tuple[int, ...]] = {}

  @property
  def short_name(self) -> str:
    """The last two parts of the folder's name, which do not depend on the machine."""
    return "/".join(pathlib.PurePath(self.name).parts[-2:])

  def mask_name(self, index: int) -> str:
    """Returns the name of the mask of an image, relative to the masks."""
    return self._masks.name(self._mask_of[index])

  def mask(self, index: int) -> np.ndarray:
    """Returns the mask of an image, uint8 [h, w]. Raises UserError for a file that is not one."""
    try:
      data = self._masks.read(self._mask_of[index])
      mask = _decoded(data, self.decoder.max_pixels if self.decoder else 2**28)
    except (UserError, OSError, ValueError, SyntaxError, EOFError) as error:
      raise UserError(f"{self.where}: {self.mask_name(index)}: {error}") from error
    self._sizes[index] = mask.shape
    return mask

  def read(self, index: int) -> np.ndarray:
    """Returns [h, w, channels] of `dtype`. Raises UserError for an image that is not as large as its mask."""
    image = super().read(index)
    size = self._sizes.get(index, image.shape[:2])
    if size != image.shape[:2]:
      (h, w), (height, width) = size, image.shape[:2]
      problem = f"{self.mask_name(index)} is {w} x {h} pixels, but its image {width} x {height}"
      raise UserError(f"{self.where}: {problem}; expected masks as large as their images")
    return image

  def shared_with(self, other: "SegmentedImages") -> set[str]:
    """Returns the names of the images that another set has as well."""
    ours, theirs = ({s.describe(k) for k in range(len(s))} for s in (self, other))
    return ours & theirs


def _decoded(data: bytes, max_pixels: int) -> np.ndarray:
  if data.startswith(JPEG):
    raise ValueError(f"a JPEG, which changes values; {EXPECTED}")
  try:
    image = Image.open(io.BytesIO(data), formats=("PNG", "BMP", "GIF", "TIFF", "PPM"))
  except UnidentifiedImageError as error:
    raise ValueError(f"not a mask; {EXPECTED}") from error
  check_size(image.height, image.width, 1, max_pixels)
  if image.mode not in ("1", "L", "P"):
    kind = "colors" if len(image.getbands()) > 1 else "values of more than 8 bits"
    raise ValueError(f"{kind} ({image.mode}); {EXPECTED}")
  if data.startswith(PNG) and image.mode == "L" and data[24] < 8:  # Pillow would stretch its values to 0..255
    raise ValueError(f"a gray PNG of {data[24]} bits; {EXPECTED}")
  return np.asarray(image).astype(np.uint8)


class Segmented(NamedTuple):
  """Images to learn from, and images to test on, as rows of two sources. `drawn`: how the latter were drawn; "": given."""

  train: SegmentedImages
  train_rows: np.ndarray
  test: SegmentedImages
  test_rows: np.ndarray
  drawn: str


def open_segmented(dense: DenseConfig, data: DataConfig) -> Segmented:
  """Opens the images and masks that `evals.dense` names. Raises UserError for what is missing or tested and learned from."""
  for field in ("images", "masks"):
    if not getattr(dense, field):
      needed = "dense needs evals.dense.images, a folder of images, and evals.dense.masks, one of masks of the same names"
      raise UserError(f"evals.dense.{field} is empty; {needed}")
  if bool(dense.test_images) != bool(dense.test_masks):
    given, other = ("test_images", "test_masks") if dense.test_images else ("test_masks", "test_images")
    raise UserError(f"evals.dense.{given}={getattr(dense, given)}: evals.dense.{other} is empty; set both, or neither")
  train = SegmentedImages(dense.images, dense.masks, dense.list_path, "evals.dense.", data)
  if not dense.test_images and not dense.test_list_path:
    order = np.random.default_rng(0).permutation(len(train))
    count = len(train) // SHARE
    if not count:
      raise UserError(f"evals.dense.images={dense.images}: {len(train)} images; expected {SHARE} or more, or test_images")
    return Segmented(train, np.sort(order[count:]), train, np.sort(order[:count]), "a fifth of the images, drawn by seed 0")
  folders = (dense.test_images or dense.images, dense.test_masks or dense.masks)
  test = SegmentedImages(*folders, dense.test_list_path, "evals.dense.test_", data)
  if both := test.shared_with(train):
    field = "test_list_path" if dense.test_list_path else "test_images"
    count = f"{len(both)} images are learned from as well, e.g. {min(both)}"
    raise UserError(f"evals.dense.{field}={getattr(dense, field)}: {count}; expected other images")
  return Segmented(train, np.arange(len(train)), test, np.arange(len(test)), "")
