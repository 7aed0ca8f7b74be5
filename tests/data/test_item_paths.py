"""The same image has the same pixels as a file, bytes, a path, a PIL image, an array, a tensor, and in a mapping."""

import dataclasses
import io
import shutil

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, UnidentifiedImageError

from jaxssl.config.schema import DataConfig
from jaxssl.data.datasets import open_datasets
from tests.data.fixtures import folder
from tests.data.stand_ins import HuggingFace, Tensor
from tests.data.test_decoding_paths import TURNS, files

WRAPS = {
  "alone": lambda items: items,
  "pairs": lambda items: [(item, k) for k, item in enumerate(items)],
  "mappings": lambda items: [{"image": item, "label": k} for k, item in enumerate(items)],
  "dataset": lambda items: HuggingFace({"img": items, "label": [0] * len(items)}, {"img": None, "label": None}),
}


def by_pil(data):
  try:
    return Image.open(io.BytesIO(data))
  except UnidentifiedImageError:  # arrays, and some TIFFs
    return None


@pytest.mark.slow
@settings(max_examples=150, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(files(), st.sampled_from([1, 3]), st.sampled_from(sorted(WRAPS)))
def test_an_image_has_the_same_pixels_as_an_item_of_every_kind(tmp_path, file, channels, wrap):
  name, data, image, bits, turn = file
  shutil.rmtree(tmp_path / "set", ignore_errors=True)
  where = folder(tmp_path / "set", {name: data})
  config = DataConfig(channels=channels, mean=(), std=())
  opened = open_datasets(dataclasses.replace(config, source="folder", path=where), 0)
  expected, config = opened.train.source.read(0), dataclasses.replace(config, source="array")
  upright = np.ascontiguousarray(TURNS[turn](image))
  flat = upright[..., 0] if upright.shape[-1] == 1 else upright
  kinds = {
    "bytes": data,
    "path": f"{where}/{name}",
    "undecoded": {"bytes": data, "path": name},
    "array": flat,
    "wide array": flat.astype(np.int64),
    "tensor": Tensor(upright.transpose(2, 0, 1)),
    "floats": Tensor((upright / (2**bits - 1)).transpose(2, 0, 1)),
  }
  if (pil := by_pil(data)) and not (bits > 8 and (pil.mode == "RGB" or name.endswith(("ppm", "jp2")))):
    kinds["PIL"] = pil  # which has more than 8 bits in gray only, and scales those of some formats
  for kind, item in kinds.items():
    own = dataclasses.replace(config, bit_depth=bits) if kind == "floats" else config  # which have no range of their own
    items = open_datasets(own, 0, {"train": WRAPS[wrap]([item, item])})
    np.testing.assert_array_equal(items.train.source.read(1), expected, err_msg=f"{kind}, {name}")
    assert items.config.bit_depth == opened.config.bit_depth
