"""JPEGs to two 224-pixel views on the host: python -m benchmarks.input [--images FOLDER_OR_ZIP].

Without --images, reads generated JPEGs of 500 x 375. Uses one worker, so that the figures are images/s per core. Also as AdaSim
needs them, with the second view from another image, from the files and from the same images packed by `jaxssl pack`. The upper
limit is TensorFlow's `decode_and_crop_jpeg` on the same crops, one call per view, without resizing and batching.
"""

import argparse
import io
import pathlib
import tempfile
from collections.abc import Callable, Iterator

import numpy as np
from PIL import Image

from benchmarks.results import Row
from benchmarks.table import Case, alternate, main
from benchmarks.views import pil_view, smooth_image
from jaxssl import pack
from jaxssl.augment import presets
from jaxssl.augment.boxes import ATTEMPTS, box_of
from jaxssl.config.schema import DataConfig, ViewConfig
from jaxssl.data.datasets import open_datasets
from jaxssl.data.input_pipeline import tensorflow, training
from jaxssl.data.sampler import epoch_plan
from jaxssl.data.source import Source

BATCH, STEPS, ROUNDS = 32, 16, 5
VIEW = ViewConfig(**presets.adasim(224)["global"])


def generate_jpegs(count: int = 128) -> str:
  """Writes a folder of JPEGs and returns its path."""
  folder, rng = pathlib.Path(tempfile.mkdtemp()), np.random.default_rng(0)
  for i in range(count):
    image = np.asarray(smooth_image(rng, 500)[:375]).astype(int) + rng.integers(-20, 20, (375, 500, 3))
    Image.fromarray(image.clip(0, 255).astype(np.uint8)).save(folder / f"{i}.jpg", quality=90)
  return str(folder)


def cases(options: argparse.Namespace) -> Iterator[Case]:
  """Measures everything in turns."""
  yield Case(key=options.images or "generated", run=lambda: rows(options.images or generate_jpegs()), cpu=120, gpu=120)


def rows(path: str) -> Iterator[Row]:
  """Compares the input pipeline with PIL and the reference's transforms, with decoding alone, and with packed images."""
  packed = tempfile.mkdtemp()
  pack(path, out=pathlib.Path(packed))
  kinds = ("folder", path), ("packed", packed)
  files, smaller = (open_datasets(DataConfig(source=kind, path=p), 0).train.source for kind, p in kinds)
  index = np.resize(epoch_plan(0, 0, len(files), BATCH)[0], (STEPS, BATCH))
  partner = (index + 1) % len(files)
  tf, rng = tensorflow(), np.random.default_rng(0)

  def ours(source: Source, second: np.ndarray) -> None:
    with training(source, index, second, {"global": VIEW}, 0, 0, workers=1) as batches:
      for _ in batches:
        pass

  def encoded(number: int) -> bytes:
    data = files.encoded(int(number))
    assert data is not None
    return data

  def reference(second: np.ndarray) -> None:
    for pair in zip(index.flat, second.flat, strict=True):
      images = {number: np.asarray(Image.open(io.BytesIO(encoded(number))).convert("RGB")) for number in pair}
      for v, number in enumerate(pair):
        pil_view(images[number], VIEW, v)

  def decoding(second: np.ndarray) -> None:
    for number in np.stack([index, second]).flat:
      data = encoded(number)
      width, height = Image.open(io.BytesIO(data)).size
      box = box_of(rng.random((ATTEMPTS, 4)), height, width, VIEW.crop_scale, VIEW.crop_ratio)
      tf.io.decode_and_crop_jpeg(data, np.array(box, np.int32), channels=3, dct_method="INTEGER_ACCURATE").numpy()

  runs: dict[str, Callable[[], None]] = {
    "one": lambda: ours(files, index),
    "one, PIL": lambda: reference(index),
    "decoding": lambda: decoding(index),
    "two": lambda: ours(files, partner),
    "two, PIL": lambda: reference(partner),
    "two, packed": lambda: ours(smaller, partner),
  }
  rates = {name: index.size / seconds for name, seconds in alternate(runs, ROUNDS).items()}

  def row(key: str, value: str, peer: str, peer_value: str) -> Row:
    return Row(key=key, value=rates[value], unit="images/s", peer=peer, peer_value=rates[peer_value])

  yield row(f"{len(files)} JPEGs, two views each", "one", "PIL, all transforms", "one, PIL")
  yield row("the same, beside decoding alone", "one", "decode_and_crop_jpeg alone", "decoding")
  yield row("the second view from another image", "two", "PIL, all transforms", "two, PIL")
  yield row("the second view from another image, packed", "two, packed", "from the files", "two")


if __name__ == "__main__":
  parser = argparse.ArgumentParser(prog="python -m benchmarks.input")
  parser.add_argument("--images", default="", metavar="FOLDER_OR_ZIP")
  main("input", cases, parser=parser)
