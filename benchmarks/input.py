"""JPEGs to two 224-pixel views per image on the host: python -m benchmarks.input [--images FOLDER_OR_ZIP].

Without --images, reads generated JPEGs of 500 x 375. Uses one worker, so that the figures are images/s per core. The upper
limit is TensorFlow's `decode_and_crop_jpeg` on the same crops, one call per view, without resizing and batching.
"""

import argparse
import io
import pathlib
import sys
import tempfile
import time
from collections.abc import Callable, Iterator

import numpy as np
from PIL import Image

from benchmarks.table import Row, main
from benchmarks.views import pil_view, smooth_image
from jaxssl.augment import presets
from jaxssl.augment.boxes import ATTEMPTS, box_of
from jaxssl.config.schema import DataConfig, ViewConfig
from jaxssl.data.datasets import open_datasets
from jaxssl.data.input_pipeline import tensorflow, training
from jaxssl.data.sampler import epoch_plan

BATCH, STEPS, ROUNDS = 32, 16, 5
VIEW = ViewConfig(**presets.adasim(224)["global"])


def generate_jpegs(count: int = 128) -> str:
  """Writes a folder of JPEGs and returns its path."""
  folder, rng = pathlib.Path(tempfile.mkdtemp()), np.random.default_rng(0)
  for i in range(count):
    image = np.asarray(smooth_image(rng, 500)[:375]).astype(int) + rng.integers(-20, 20, (375, 500, 3))
    Image.fromarray(image.clip(0, 255).astype(np.uint8)).save(folder / f"{i}.jpg", quality=90)
  return str(folder)


def rows(path: str) -> Iterator[Row]:
  """Compares the input pipeline with PIL and the reference's transforms, and with decoding alone."""
  source = open_datasets(DataConfig(source="folder", path=path), 0).train.source
  index = np.resize(epoch_plan(0, 0, len(source), BATCH)[0], (STEPS, BATCH))
  tf, rng = tensorflow(), np.random.default_rng(0)

  def ours() -> None:
    with training(source, index, index, {"global": VIEW}, 0, 0, workers=1) as batches:
      for _ in batches:
        pass

  def encoded(number: int) -> bytes:
    data = source.encoded(int(number))
    assert data is not None
    return data

  def reference() -> None:
    for number in index.flat:
      image = np.asarray(Image.open(io.BytesIO(encoded(number))).convert("RGB"))
      for v in range(2):
        pil_view(image, VIEW, v)

  def decoding() -> None:
    for number in index.flat:
      data = encoded(number)
      width, height = Image.open(io.BytesIO(data)).size
      for _ in range(2):
        box = box_of(rng.random((ATTEMPTS, 4)), height, width, VIEW.crop_scale, VIEW.crop_ratio)
        tf.io.decode_and_crop_jpeg(data, np.array(box, np.int32), channels=3, dct_method="INTEGER_ACCURATE").numpy()

  speeds = {run: [] for run in (ours, reference, decoding)}
  for round_ in range(ROUNDS + 1):  # alternates, so that a slow phase affects all; the first round warms up
    for run, rates in speeds.items():
      rates.extend([index.size / seconds_of(run)] if round_ else [])
      if not round_:
        run()
  mine, theirs, limit = (float(np.median(rates)) for rates in speeds.values())
  yield Row(
    name=f"{len(source)} JPEGs, two views each", value=mine, unit="images/s", peer="PIL, all transforms", peer_value=theirs
  )
  yield Row(name="the same", value=mine, unit="images/s", peer="decode_and_crop_jpeg alone", peer_value=limit)


def seconds_of(run: Callable[[], None]) -> float:
  """Times one call."""
  start = time.perf_counter()
  run()
  return time.perf_counter() - start


if __name__ == "__main__":
  parser = argparse.ArgumentParser()
  parser.add_argument("--images", default="")
  known, sys.argv[1:] = parser.parse_known_args()
  main(lambda: rows(known.images or generate_jpegs()))
