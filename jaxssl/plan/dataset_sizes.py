"""How many images a run would have, though none is there."""

from jaxssl.config.schema import Config
from jaxssl.core.errors import UserError, nearest_name
from jaxssl.plan.abstract_step import DatasetSpec

SETS = {  # training images, and their side where all have the same
  "imagenet": (1_281_167, None),
  "imagenet2012": (1_281_167, None),
  "imagenet21k": (14_197_122, None),
  "cifar10": (50_000, 32),
  "cifar100": (50_000, 32),
  "mnist": (60_000, 28),
  "mnist5k": (4_000, 28),
}


def dataset_spec(config: Config, recipe: str, images: str, size: str) -> DatasetSpec:
  """Gives the images that flags ask for, or that the config's source or the recipe's name stands for.

  Raises UserError where none of them says how many there are.
  """
  names = [config.data.source, config.data.path, *recipe.replace("_", ",").split(",")]
  known, own = SETS.get(name := next((name for name in names if name in SETS), ""), (0, None))
  if images in SETS:
    (count, own), said = SETS[images], f"{images}, as --images says"
  elif images[:1].isdecimal():
    count, said = _number(images, "--images"), "as --images says"
  elif images:
    allowed = ", ".join(SETS)
    raise UserError(
      f"--images {images} is not known; nearest: {nearest_name(images, list(SETS))}; allowed: a number, {allowed}"
    )
  elif config.data.limit and (not known or config.data.limit < known):
    count, said = config.data.limit, "data.limit"
  elif known:
    count, said = known, f"known of {name}"
  else:
    raise UserError(f"--images is missing: how many images to train on; a number, or one of {', '.join(SETS)}")
  side = _number(size, "--size") if size else own
  return DatasetSpec(count=count, size=(side, side) if side else None, said=said)


def _number(text: str, flag: str) -> int:
  """A whole number above 0, which may be written as 1e9."""
  try:
    value = float(text)
  except ValueError:
    value = 0.0
  if value < 1 or value != int(value) or value > 2**31 - 8:
    raise UserError(f"{flag} {text} is not allowed; a whole number from 1 to {2**31 - 8}")
  return int(value)
