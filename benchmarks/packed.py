"""Packed images: python -m benchmarks.packed [--images FOLDER_OR_ZIP] [--count N] [--json FILE].

Measures a packed dataset of as many tiny images as ImageNet has: opening, memory of its index, the first step, and reading an
image; with --images also size and decoding of these images as they are and packed. The peer is a limit, or the unpacked images.
"""

import argparse
import os
import pathlib
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Iterator

import numpy as np

from benchmarks.results import Row, Target
from benchmarks.table import Case, main
from jaxssl.config.schema import DataConfig
from jaxssl.data import packed_index, packed_manifest
from jaxssl.data.datasets import open_datasets
from jaxssl.data.packed_manifest import PackedManifest, Shard, Split
from jaxssl.data.source import Source
from jaxssl.pack.pack import pack

IMAGENET, CLASSES, SHARDS = 1_281_167, 1000, 128
TARGETS = [
  Target(key="opening*", number=1, unit="s", source="limit"),
  Target(key="names and sizes*", number=1, unit="s", source="limit"),
  Target(key="memory*", number=150, unit="MB", source="limit"),
  Target(key="index*", number=100, unit="bytes", source="limit"),
  Target(key="first step*", number=20, unit="s", source="limit"),
]
TRAIN = [sys.executable, "-m", "jaxssl.main", "train", "--config=configs/simclr.py:runlocal"] + [
  f"--config.{word}"
  for word in (
    "data.source=packed", "data.limit=0", "data.placement=host", "data.channels=3", "data.mean=0.5", "data.std=0.5",
    "train.log_every=1", "train.batch_size=256", "evals.baselines=false", "evals.periodic=", "evals.report=false",
  )
]  # fmt: skip
OPEN = """
import sys, time
from jaxssl.config.schema import DataConfig
from jaxssl.data import datasets, identity
def resident():
  return next(int(line.split()[1]) / 1e3 for line in open("/proc/self/status") if line.startswith("VmRSS"))
config = DataConfig(source="packed", path=sys.argv[1])
before, start = resident(), time.perf_counter()
opened = datasets.open_datasets(config, 0)
seconds, source = time.perf_counter() - start, opened.train.source
labels, memory = source.labels, resident() - before
start = time.perf_counter()
identity.manifests(opened)
print(seconds, memory, time.perf_counter() - start)
"""


def synthesize(folder: pathlib.Path, count: int) -> None:
  """Writes a packed dataset of `count` JPEGs of 8 x 8 pixels in class folders, as ImageNet's are named."""
  import simplejpeg

  images = [simplejpeg.encode_jpeg(np.full((8, 8, 3), k, np.uint8), 90) for k in range(0, 256, 8)]
  rows = np.arange(count)
  kinds, labels = rows % len(images), rows * CLASSES // count
  lengths, crcs = (np.array([f(image) for image in images], np.int64)[kinds] for f in (len, zlib.crc32))
  bounds = np.linspace(0, count, SHARDS + 1).round().astype(int)
  offsets, shards = np.zeros(count, np.int64), []
  for k, (first, last) in enumerate(zip(bounds[:-1], bounds[1:], strict=True)):
    data = b"".join(images[kind] for kind in kinds[first:last])
    (folder / packed_manifest.shard_name("train", k)).write_bytes(data)
    offsets[first:last] = np.cumsum(lengths[first:last]) - lengths[first:last]
    shards.append(Shard(images=int(last - first), bytes=len(data), sha256="0" * 64))
  names = "".join(f"n{10000000 + label}/n{10000000 + label}_{row}.JPEG\0" for row, label in zip(rows, labels, strict=True))
  columns = {"offset": offsets, "length": lengths, "crc": crcs, "label": labels, "height": np.full(count, 8)}
  path = folder / packed_manifest.index_name("train")
  packed_index.write(path, {**columns, "width": np.full(count, 8)}, names.encode())
  split = Split(images=count, index_bytes=path.stat().st_size, index_sha256="0" * 64, shards=tuple(shards))
  classes = tuple(f"n{10000000 + k}" for k in range(CLASSES))
  manifest = PackedManifest(splits={"train": split}, request="", shorter_side=0, quality=90, classes=classes)
  packed_manifest.write(folder / packed_manifest.NAME, manifest)


def cases(options: argparse.Namespace) -> Iterator[Case]:
  """Measures a synthetic dataset, and with --images these."""
  yield Case(key=f"{options.count:,} images", run=lambda: rows(options.count), cpu=120, gpu=120)
  if options.images:
    yield Case(key=options.images, run=lambda: of_photos(options.images), cpu=60, gpu=60)


def rows(count: int) -> Iterator[Row]:
  """Compares opening and reading with their limits."""
  with tempfile.TemporaryDirectory() as folder:
    synthesize(pathlib.Path(folder), count)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "JAX_PLATFORMS": "cpu"}
    run = subprocess.run([sys.executable, "-c", OPEN, folder], stdout=subprocess.PIPE, text=True, check=True, env=environment)
    seconds, memory, listing = map(float, run.stdout.split())
    size = (pathlib.Path(folder) / "train.index").stat().st_size / count
    what = f"of {count:,} images"
    yield Row(key=f"opening {count:,} images", value=seconds, unit="s")
    yield Row(key=f"names and sizes {what} for the manifest", value=listing, unit="s")
    yield Row(key=f"memory of index and labels {what}", value=memory, unit="MB")
    yield Row(key=f"index {what}, an image", value=size, unit="bytes")
    yield Row(key=f"first step after the command, {what}", value=first_step(folder), unit="s")
    source = open_datasets(DataConfig(source="packed", path=folder), 0).train.source
    reading = 1e6 * seconds_per_image(source)
    yield Row(key="reading an image", value=reading, unit="us", peer="ArrayRecord, measured once", peer_value=2200)


def first_step(folder: str) -> float:
  """Returns the seconds from the command to the first step of a run on the images, when its functions are compiled already."""
  with tempfile.TemporaryDirectory() as workdirs:
    for name in ("compiles", "measured"):
      metrics, start = pathlib.Path(workdirs) / name / "metrics.jsonl", time.perf_counter()
      process = subprocess.Popen(
        [*TRAIN, f"--config.data.path={folder}", f"--workdir={metrics.parent}"], stderr=subprocess.DEVNULL
      )
      while process.poll() is None and not (metrics.exists() and metrics.stat().st_size):
        time.sleep(0.05)
      seconds = time.perf_counter() - start
      process.kill()
      if process.wait() >= 0:
        raise RuntimeError("the run ended before its first step")
  return seconds


def of_photos(images: str) -> Iterator[Row]:
  """Compares images packed at a shorter side of 292 with what they were."""
  with tempfile.TemporaryDirectory() as folder:
    start = time.process_time()
    pack(images, pathlib.Path(folder) / "packed", num_workers=1)
    cost = time.process_time() - start
    before = open_datasets(DataConfig(source="folder", path=images), 0).train.source
    after = open_datasets(DataConfig(source="packed", path=f"{folder}/packed"), 0).train.source
    sizes = [bytes_of(source) * IMAGENET / len(source) / 1e9 for source in (after, before)]
    name = f"{len(after)} photos, 292 pixels"
    yield Row(key=f"{name}: size of an ImageNet", value=sizes[0], unit="GB", peer="as they are", peer_value=sizes[1])
    speed = [1e3 * seconds_per_image(source, decode=True) for source in (after, before)]
    yield Row(key=f"{name}: decoding", value=speed[0], unit="ms", peer="as they are", peer_value=speed[1])
    hours, epoch = (cost * IMAGENET / 3600 for cost in (cost / len(after), speed[1] / 1e3))
    name = f"{name}: packing an ImageNet"
    yield Row(key=name, value=hours, unit="core-hours", peer="decoding it once", peer_value=epoch)


def bytes_of(source: Source) -> int:
  """Returns the bytes of all images."""
  return sum(len(source.encoded(k) or b"") for k in range(len(source)))


def seconds_per_image(source: Source, decode: bool = False, rounds: int = 5) -> float:
  """Returns the median time of reading an image, in random order."""
  order = np.random.default_rng(0).permutation(len(source))[:20_000].tolist()
  read, times = source.read if decode else source.encoded, []
  for _ in range(rounds):
    start = time.perf_counter()
    for k in order:
      read(k)
    times.append((time.perf_counter() - start) / len(order))
  return float(np.median(times))


if __name__ == "__main__":
  parser = argparse.ArgumentParser(prog="python -m benchmarks.packed")
  parser.add_argument("--images", default="", metavar="FOLDER_OR_ZIP")
  parser.add_argument("--count", type=int, default=IMAGENET)
  main("packed", cases, TARGETS, parser)
