"""The `inspect` command stops with one line, and with the reasons if no file can be read."""

import numpy as np
import pytest

from jaxssl import main as command
from tests.data import fixtures
from tests.inspect.test_inspect import images

pytestmark = pytest.mark.slow


def test_if_all_files_are_bad_the_reasons_are_listed_before_the_error(tmp_path, capfd):
  files = {f"text{k:02}.jpg": b"hello" for k in range(12)} | {f"empty{k}.png": b"" for k in range(2)}
  files |= {f"short{k}.jpg": images(1)[0][: 300 + 50 * k] for k in range(4)}
  assert command.main(["inspect", f"--data={fixtures.folder(tmp_path, files)}"]) == 2
  result = capfd.readouterr()
  lines, names = result.out.splitlines(), [f"{tmp_path}/{name}" for name in sorted(files)]
  first = lines.index("unreadable: 18")
  assert lines[first + 1] == f"  12 files, e.g. {', '.join(names[6:9])}: not an image of a known format"
  assert lines[first + 2].startswith(f"  4 files, e.g. {', '.join(names[2:5])}: ")
  assert lines[first + 3] == f"  {names[0]}, {names[1]}: the file is empty"
  assert "error: --data=" in result.err and "all 18 images are unreadable" in result.err


def test_the_reasons_are_printed_if_all_images_are_unreadable(tmp_path, capfd):
  files = {f"{k:02}.tif": fixtures.tiff(np.zeros((4, 4, 3), np.float32), photometric="rgb") for k in range(12)}
  assert command.main(["inspect", f"--data={fixtures.folder(tmp_path, files)}"]) == 2
  printed, errors = capfd.readouterr()
  reason = "floating-point pixels; scale them to integers, uint8 or uint16 (TIFF, color, 32 bit)"
  assert "unreadable: 12\n  12 files, e.g. " in printed and f"02.tif: {reason}\n" in printed
  assert f"all 12 images are unreadable, e.g. {tmp_path}/00.tif: {reason}" in errors


@pytest.mark.parametrize(
  "files, words, message",
  [
    ({}, [], "has no images"),
    ({"notes.txt": b"hello"}, [], "has no images"),
    ({"a.jpg": b"hello"}, [], "all 1 images are unreadable, e.g. "),
    ({"a.png": fixtures.flat(3)}, [], "1 usable training images; expected at least 16"),
    ({"a.png": fixtures.flat(3)}, ["--data.sorce=folder"], "data.sorce: unknown field; did you mean data.source?"),
    ({"a.png": fixtures.flat(3)}, ["--data.source=tfds"], "data.source=tfds: inspect reads a folder or a zip"),
    ({"a.png": fixtures.flat(3)}, ["--data.list_path=x"], "data.list_path=x: inspect reads all images"),
    ({"a.png": fixtures.flat(3)}, ["--evals.every=3"], "--evals.every=3: unknown option of jaxssl inspect"),
    ({"a.png": fixtures.flat(3)}, ["--out=mine.txt"], "--out=mine.txt: a config is a local Python file"),
    ({"a.png": fixtures.flat(3)}, [f"--out={__file__}"], ": test_errors.py exists; remove it"),
    ({"a.png": fixtures.flat(3)}, ["--drop-duplicates"], "--drop-duplicates: needs --out=CONFIG.py, beside which the images"),
    ({"a.png": fixtures.flat(3)}, ["--data=/nowhere/at/all"], "--data=/nowhere/at/all: does not exist"),
  ],
)
def test_errors_are_one_line(files, words, message, tmp_path, capfd):
  assert command.main(["inspect", f"--data={fixtures.folder(tmp_path, files)}", *words]) == 2
  errors = [line for line in capfd.readouterr().err.splitlines() if line.startswith("error: ")]
  assert len(errors) == 1 and message in errors[0]


@pytest.mark.parametrize("ending", ["train.txt", "found.txt", "duplicates.png"])
def test_files_beside_the_config_are_not_overwritten(ending, tmp_path, capfd):
  (tmp_path / f"mine.{ending}").write_text("kept")
  data = fixtures.folder(tmp_path / "images", {"a.png": fixtures.flat(3)})
  assert command.main(["inspect", f"--data={data}", f"--out={tmp_path}/mine.py"]) == 2
  assert f"error: --out={tmp_path}/mine.py: mine.{ending} exists; remove it or choose another name" in capfd.readouterr().err
  assert (tmp_path / f"mine.{ending}").read_text() == "kept"
