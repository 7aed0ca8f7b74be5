"""Determines the number and size of the images of a run without opening the dataset."""

from typing import NamedTuple

from jaxssl.config.schema import Config
from jaxssl.core import UserError, unknown_name

DATASETS = {  # name -> training images, and their side in pixels if it is the same for all
  "imagenet": (1_281_167, None),
  "imagenet2012": (1_281_167, None),
  "imagenet21k": (14_197_122, None),
  "cifar10": (50_000, 32),
  "cifar100": (50_000, 32),
  "mnist": (60_000, 28),
  "mnist5k": (4_000, 28),
}
MAX_NUMBER = 2**31 - 8  # image numbers are int32


class DatasetSpec(NamedTuple):
  """Number and size of the training images."""

  count: int
  side: int | None = None  # of square images as stored, in pixels; needed for data.placement=device
  origin: str = ""  # where the count comes from, for the user


def dataset_spec(config: Config, recipe: str, images: str) -> DatasetSpec:
  """Returns the images that --images names, or else the config's source or recipe. Raises UserError for none."""
  names = [images, config.data.source, config.data.path, *recipe.replace("_", ",").split(",")]
  name = next((name for name in names if name in DATASETS), "")
  (count, side), limit = DATASETS.get(name, (0, None)), config.data.limit
  origin = f"the size of {name}"
  if images[:1].isdecimal():
    count, origin = _number(images), "from --images"
  elif images and images != name:
    raise unknown_name(f"--images={images}: neither a number nor a known dataset", images, DATASETS)
  elif not images and limit and (not count or limit < count):
    count, origin = limit, "from data.limit"
  elif not count:
    raise UserError(f"--images: missing; expected the number of training images, or one of {', '.join(DATASETS)}")
  return DatasetSpec(count, side, origin)


def _number(text: str) -> int:
  try:
    value = float(text)
  except ValueError:
    value = 0.0
  if value < 1 or value != int(value) or value > MAX_NUMBER:
    raise UserError(f"--images={text}: out of range; expected an integer from 1 to {MAX_NUMBER}")
  return int(value)
