"""Determines the number and size of the images of a run without opening the dataset."""

from jaxssl.config.schema import Config
from jaxssl.core.errors import UserError, nearest_name
from jaxssl.plan.abstract_step import DatasetSpec

DATASETS = {  # name -> training images, and their side in pixels if it is the same for all
  "imagenet": (1_281_167, None),
  "imagenet2012": (1_281_167, None),
  "imagenet21k": (14_197_122, None),
  "cifar10": (50_000, 32),
  "cifar100": (50_000, 32),
  "mnist": (60_000, 28),
  "mnist5k": (4_000, 28),
}
EXPECTED = f"a number or one of {', '.join(DATASETS)}"
MAX_NUMBER = 2**31 - 8  # image numbers are int32


def dataset_spec(config: Config, recipe: str, images: str, size: str) -> DatasetSpec:
  """Returns the images named by --images and --size, or else by the config's data source or the name of the recipe.

  Raises UserError if the number of images is unknown.
  """
  candidates = [config.data.source, config.data.path, *recipe.replace("_", ",").split(",")]
  name = next((name for name in candidates if name in DATASETS), "")
  known, side = DATASETS.get(name, (0, None))
  if images in DATASETS:
    (count, side), origin = DATASETS[images], f"{images}, from --images"
  elif images[:1].isdecimal():
    count, origin = _number(images, "--images"), "from --images"
  elif images:
    raise UserError(f"--images={images}: unknown; expected {EXPECTED}; did you mean {nearest_name(images, DATASETS)}?")
  elif config.data.limit and (not known or config.data.limit < known):
    count, origin = config.data.limit, "from data.limit"
  elif known:
    count, origin = known, f"the size of {name}"
  else:
    raise UserError(f"--images: missing; expected the number of training images: {EXPECTED}")
  side = _number(size, "--size") if size else side
  return DatasetSpec(count=count, size=(side, side) if side else None, origin=origin)


def _number(text: str, flag: str) -> int:
  try:
    value = float(text)
  except ValueError:
    value = 0.0
  if value < 1 or value != int(value) or value > MAX_NUMBER:
    raise UserError(f"{flag}={text}: out of range; expected an integer from 1 to {MAX_NUMBER}")
  return int(value)
