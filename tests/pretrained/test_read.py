"""What is no weights file, or holds code, is told in one line; nothing of it is run."""

import argparse
import os
import pathlib
import pickle
import zipfile

import ml_dtypes
import numpy as np
import pytest

from jaxssl.core.errors import UserError
from jaxssl.pretrained.read import pickles, read_tensors
from tests.pretrained.fixtures import written

ONES = {"a.weight": np.ones((40, 40), np.float32)}


class Touch:
  """Unpickled, it makes a file."""

  def __init__(self, path: pathlib.Path):
    self.path = path

  def __reduce__(self):
    return os.system, (f"touch {self.path}",)


def refused(path: pathlib.Path, *words: str) -> None:
  with pytest.raises(UserError) as error:
    read_tensors(path)
  told = str(error.value)
  assert "\n" not in told and str(path) in told, told
  for word in words:
    assert word in told


def test_half_precision_comes_exactly(tmp_path):
  given = np.array([1.5, -3.25, 1e-3], np.float32)
  found = read_tensors(
    written(
      tmp_path / "f", {"half": given.astype(np.float16), "brain": given.astype(ml_dtypes.bfloat16), "count": np.arange(3)}
    )
  )
  assert found.keys() == {"half", "brain"} and {x.dtype for x in found.values()} == {np.dtype(np.float32)}
  for name, dtype in (("half", np.float16), ("brain", ml_dtypes.bfloat16)):
    np.testing.assert_array_equal(found[name], given.astype(dtype).astype(np.float32))


def test_a_folder_stands_for_its_weights(tmp_path):
  written(tmp_path / "model.safetensors", ONES)
  assert read_tensors(tmp_path).keys() == ONES.keys()


@pytest.mark.parametrize(
  "content, said",
  [
    (b"", "empty"),
    (b"some words, and no weights", "text"),
    (b"\x89PNG\r\n\x1a\n" + bytes(64), "a PNG image"),
    (b"<!DOCTYPE html><html>", "a web page"),
    (b"version https://git-lfs.github.com/spec/v1", "a git-lfs pointer"),
    (bytes(range(1, 64)), "starts with 01 02"),
  ],
)
def test_what_is_no_weights_file(content, said, tmp_path):
  (tmp_path / "w.pth").write_bytes(content)
  refused(tmp_path / "w.pth", "is no weights file but", said)


def test_none_there_and_none_in_it(tmp_path):
  refused(tmp_path / "none.pth", "No such file")
  refused(written(tmp_path / "numbers", {"count": np.arange(3)}), "holds no tensors")


def test_cut_off(tmp_path):
  whole = written(tmp_path / "w", ONES).read_bytes()
  for length in (len(whole) - 1, 20):
    (tmp_path / "cut").write_bytes(whole[:length])
    refused(tmp_path / "cut", "is cut off")
  with zipfile.ZipFile(tmp_path / "z", "w") as archive:
    archive.writestr("archive/data.pkl", pickle.dumps({}))
  (tmp_path / "cut").write_bytes((tmp_path / "z").read_bytes()[:-30])
  refused(tmp_path / "cut", "is cut off")


@pytest.mark.parametrize("protocol", [0, 1, 2, 4, 5])
@pytest.mark.parametrize("packed", [False, True], ids=["alone", "in an archive"])
def test_code_is_named_and_not_run(protocol, packed, tmp_path):
  flag = tmp_path / "ran"
  code = pickle.dumps({"state_dict": {}, "args": Touch(flag)}, protocol)
  code = code if protocol > 1 else b"\x80\x02" + code  # torch's files begin so
  path = tmp_path / "w.pth"
  if packed:
    with zipfile.ZipFile(path, "w") as archive:
      archive.writestr("archive/data.pkl", code)
  else:
    path.write_bytes(code)
  refused(path, "a pickle with code in it", f"it would call {os.system.__module__}.system")
  assert not flag.exists()
  pickle.loads(code)  # it would have
  assert flag.exists()


def test_other_pickles(tmp_path):
  (tmp_path / "w").write_bytes(pickle.dumps({"a": [1.0]}))
  refused(tmp_path / "w", "pickle that torch.save did not write")


def test_without_torch(tmp_path, monkeypatch):
  monkeypatch.setitem(__import__("sys").modules, "torch", None)
  with zipfile.ZipFile(tmp_path / "w", "w") as archive:
    archive.writestr("archive/data.pkl", pickle.dumps({}, 2))
  refused(tmp_path / "w", "pip install 'jaxssl[torch]'", "safetensors")


@pytest.mark.parametrize("new", [True, False])
def test_torch_files(new, tmp_path):
  torch = pytest.importorskip("torch")
  tree = {"model": {"a": torch.arange(4.0), "b": torch.ones(3).bfloat16() / 3, "n": torch.tensor(3)}, "epoch": 3}
  tree |= {"args": argparse.Namespace(lr=0.1), "optimizer": {"state": {0: {"m": torch.ones(2)}}, "lr": np.float64(0.1)}}
  path = tmp_path / "w.pth"
  torch.save(tree, path, _use_new_zipfile_serialization=new)
  found = read_tensors(path)
  assert found.keys() == {"model.a", "model.b"} and found["model.b"].dtype == np.float32
  np.testing.assert_array_equal(found["model.b"], tree["model"]["b"].float().numpy())
  path.write_bytes(path.read_bytes()[:-40])
  refused(path, "cut off" if new else "EOF")


def test_torch_refuses_too(tmp_path, monkeypatch):
  """Were our look at a pickle to miss something, torch's reader would still not call it."""
  torch = pytest.importorskip("torch")
  flag = tmp_path / "ran"
  torch.save({"a": torch.ones(2), "args": Touch(flag)}, tmp_path / "w.pth")
  monkeypatch.setattr(pickles, "refuse_code", lambda path: None)
  refused(tmp_path / "w.pth", f"it would call {os.system.__module__}.system")
  assert not flag.exists()


def test_a_whole_module_is_refused(tmp_path):
  torch = pytest.importorskip("torch")
  torch.save(torch.nn.Linear(2, 2), tmp_path / "w.pth")
  refused(tmp_path / "w.pth", "torch.nn.modules.linear.Linear", "state_dict")
