"""Files that are not weights or contain code are refused with one line, and no code is executed."""

import argparse
import os
import pathlib
import pickle
import sys
import zipfile

import jax
import ml_dtypes
import numpy as np
import pytest

from jaxssl.core import UserError
from jaxssl.pretrained.read import read_tensors
from tests.pretrained.fixtures import FAMILIES, family, nested, write

ONES = {"a.weight": np.ones((40, 40), np.float32)}


class Touch:
  """Creates a file when it is unpickled."""

  def __init__(self, path: pathlib.Path):
    self.path = path

  def __reduce__(self):
    return os.system, (f"touch {self.path}",)


def refused(path: pathlib.Path, *words: str) -> None:
  with pytest.raises(UserError) as error:
    read_tensors(path)
  message = str(error.value)
  assert "\n" not in message and str(path) in message, message
  for word in words:
    assert word in message


def test_half_precision_is_converted_exactly(tmp_path):
  values = np.array([1.5, -3.25, 1e-3], np.float32)
  half, brain = values.astype(np.float16), values.astype(ml_dtypes.bfloat16)
  tensors = read_tensors(write(tmp_path / "f", {"half": half, "brain": brain, "count": np.arange(3)}))
  assert tensors.keys() == {"half", "brain"} and {x.dtype for x in tensors.values()} == {np.dtype(np.float32)}
  for name, x in (("half", half), ("brain", brain)):
    np.testing.assert_array_equal(tensors[name], x.astype(np.float32))


def test_a_folder_is_read_through_its_weights_file(tmp_path):
  write(tmp_path / "model.safetensors", ONES)
  assert read_tensors(tmp_path).keys() == ONES.keys()


@pytest.mark.parametrize(
  "content, kind",
  [
    (b"", "empty"),
    (b"some words, and no weights", "starts with b'some wor'"),
    (b"\x89PNG\r\n\x1a\n" + bytes(64), "a PNG image"),
    (b"\xff\xd8\xff\xe0" + bytes(64), "a JPEG image"),
    (b"\x89HDF\r\n" + bytes(64), "an HDF5 file"),
    (b"<!DOCTYPE html><html>", "a web page"),
    (b"version https://git-lfs.github.com/spec/v1", "a git-lfs pointer"),
    (bytes(range(1, 64)), r"starts with b'\x01\x02"),
  ],
)
def test_other_kinds_of_files_are_refused(content, kind, tmp_path):
  (tmp_path / "w.pth").write_bytes(content)
  refused(tmp_path / "w.pth", "not a weights file but", kind)


def test_a_missing_file_and_one_without_tensors_are_refused(tmp_path):
  refused(tmp_path / "none.pth", "does not exist")
  refused(write(tmp_path / "numbers", {"count": np.arange(3)}), "no named floating point tensors")


def archive_of(path: pathlib.Path, members: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> pathlib.Path:
  with zipfile.ZipFile(path, "w", compression) as archive:
    for name, content in members.items():
      archive.writestr(f"archive/{name}", content)
  return path


def test_truncated_files_are_refused(tmp_path):
  whole = write(tmp_path / "w", ONES).read_bytes()
  for length in (len(whole) - 1, 20):
    (tmp_path / "cut").write_bytes(whole[:length])
    refused(tmp_path / "cut", "truncated")
  whole = archive_of(tmp_path / "z", {"data.pkl": pickle.dumps({})}).read_bytes()
  (tmp_path / "cut").write_bytes(whole[:-30])
  refused(tmp_path / "cut", "truncated")


def test_other_archives_are_refused(tmp_path):
  refused(archive_of(tmp_path / "s", {"data.pkl": b"", "constants.pkl": b""}), "a TorchScript program; save its state_dict")
  refused(archive_of(tmp_path / "c", {"data.pkl": bytes(999)}, zipfile.ZIP_DEFLATED), "a compressed archive")
  refused(archive_of(tmp_path / "a", {"notes.txt": b"mine"}), "an archive that torch.save did not write")


def test_the_error_without_torch_names_the_alternatives(tmp_path, monkeypatch):
  monkeypatch.setitem(sys.modules, "torch", None)
  path = archive_of(tmp_path / "w", {"data.pkl": pickle.dumps({}, 2)})
  refused(path, "pip install 'jaxssl[torch]'", "convert", "safetensors")


@pytest.mark.full
@pytest.mark.parametrize("protocol", [0, 1, 2, 4, 5])
@pytest.mark.parametrize("zipped", [False, True], ids=["alone", "zipped"])
def test_code_is_named_and_not_run(protocol, zipped, tmp_path):
  pytest.importorskip("torch")
  flag = tmp_path / "ran"
  code = pickle.dumps({"state_dict": {}, "args": Touch(flag)}, protocol)
  code = code if protocol > 1 else b"\x80\x02" + code  # the first bytes of torch's files
  path = tmp_path / "w.pth"
  if zipped:
    archive_of(path, {"data.pkl": code, "version": b"3", "byteorder": b"little"})
  else:
    path.write_bytes(code)
  # torch refuses protocols other than 2 at the first instruction, before it reads the name.
  named = f" ({os.system.__module__}.system)" if protocol in (1, 2) else ""
  refused(path, f"it may contain code, which was not run{named}; save the state_dict alone")
  assert not flag.exists()
  pickle.loads(code)  # the pickle does run code
  assert flag.exists()


@pytest.mark.full
def test_other_pickles_and_whole_modules_are_refused(tmp_path):
  torch = pytest.importorskip("torch")
  (tmp_path / "w").write_bytes(pickle.dumps({"a": [1.0]}, 2))
  refused(tmp_path / "w", "torch cannot read it")
  torch.save(torch.nn.Linear(2, 2), tmp_path / "w.pth")
  refused(tmp_path / "w.pth", "torch.nn.modules.linear.Linear", "state_dict")


@pytest.mark.full
@pytest.mark.parametrize("kind", FAMILIES)
def test_torch_files_of_all_families_are_read_exactly(kind, tmp_path):
  torch = pytest.importorskip("torch")
  kernel = np.arange(54, dtype=np.float32).reshape(2, 3, 3, 3)
  expected = family(kind, {"conv1.weight": kernel, "bn1.bias": np.ones(2, np.float32)})
  tree = nested({name: torch.from_numpy(np.array(x)) for name, x in expected.items()})
  torch.save(tree | {"epoch": 3, "bn1.num_batches_tracked": torch.tensor(1)}, tmp_path / "w.pth")
  tensors = read_tensors(tmp_path / "w.pth")
  jax.tree.map(np.testing.assert_array_equal, tensors, expected)


@pytest.mark.full
@pytest.mark.parametrize("new", [True, False])
def test_torch_files_are_read_and_truncated_ones_refused(new, tmp_path):
  torch = pytest.importorskip("torch")
  tree = {"model": {"a": torch.arange(4.0), "b": torch.ones(3).bfloat16() / 3, "n": torch.tensor(3)}, "epoch": 3}
  tree |= {"args": argparse.Namespace(lr=0.1), "optimizer": {"state": {0: {"m": torch.ones(2)}}, "lr": np.float64(0.1)}}
  path = tmp_path / "w.pth"
  torch.save(tree, path, _use_new_zipfile_serialization=new)
  tensors = read_tensors(path)
  assert tensors.keys() == {"model.a", "model.b", "optimizer.state.0.m"} and tensors["model.b"].dtype == np.float32
  np.testing.assert_array_equal(tensors["model.b"], tree["model"]["b"].float().numpy())
  path.write_bytes(path.read_bytes()[:-40])
  refused(path, "truncated" if new else "EOF")
