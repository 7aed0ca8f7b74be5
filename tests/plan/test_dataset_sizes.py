import pathlib

import pytest

from jaxssl.core import UserError
from jaxssl.plan import dataset_sizes
from tests import flags

CONFIGS = pathlib.Path(__file__).parent.parent.parent / "configs"


def spec(recipe, *words, images=""):
  file, _, name = recipe.partition(":")
  return dataset_sizes.dataset_spec(flags.parse([f"--config={CONFIGS}/{recipe}", *words])[0], name, images)


@pytest.mark.parametrize(
  "recipe, words, flags, count, side",
  [
    ("nnboot.py", (), {}, 4000, 28),
    ("nnboot.py:cifar10", (), {}, 50_000, 32),
    ("resa.py:cifar100", ("--config.data.source=folder", "--config.data.path=IMAGES"), {}, 50_000, 32),
    ("nnboot.py:imagenet", (), {}, 1_281_167, None),
    ("isd.py:imagenet_plus", (), {}, 1_281_167, None),
    ("nnboot.py:imagenet", ("--config.data.limit=1000",), {}, 1000, None),
    ("nnboot.py:cifar10", ("--config.data.limit=60000",), {}, 50_000, 32),
    ("nnboot.py:imagenet", (), {"images": "1e9"}, 10**9, None),
    ("nnboot.py", (), {"images": "imagenet"}, 1_281_167, None),
    ("nnboot.py", (), {"images": "5000"}, 5000, 28),
  ],
)
def test_count_and_size_follow_from_the_config_and_the_flags(recipe, words, flags, count, side):
  images = spec(recipe, *words, **flags)
  assert images[:2] == (count, side)


def test_an_unknown_number_of_images_is_an_error(tmp_path):
  (tmp_path / "mine.py").write_text((CONFIGS / "nnboot.py").read_text())
  config = flags.parse([f"--config={tmp_path}/mine.py", "--config.data.source=folder", "--config.data.path=IMAGES"])[0]
  with pytest.raises(UserError, match="--images: missing; expected the number of training images, or one of imagenet"):
    dataset_sizes.dataset_spec(config, "", "")


@pytest.mark.parametrize("text", ["1.5", "0", "1e10", "4x4"])
def test_invalid_numbers_are_errors(text):
  with pytest.raises(UserError, match=f"--images={text}: out of range; expected an integer from 1 to 2147483640"):
    spec("nnboot.py", images=text)
