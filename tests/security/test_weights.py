"""Damaged and malicious weights files."""

import functools
import io
import json
import os
import pathlib
import pickle
import struct
import zipfile
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save

from jaxssl.config.schema import ModelConfig
from jaxssl.evals import embedding_file
from jaxssl.models.backbone import backbone
from jaxssl.pretrained.match import find
from jaxssl.pretrained.read import read_tensors
from tests.security.damage import damaged, other
from tests.security.guarded import answer, bounded, examples
from tests.security.test_images import npy

SHAPES = {"conv1.weight": (4, 3, 3, 3), "patch_embed.proj.weight": (4, 3, 4, 4), "pos_embed": (1, 5, 4), "norm.bias": (4,)}
TENSORS = {"teacher." + name: np.ones(shape, np.float32) for name, shape in SHAPES.items()} | {
  "fc.bias": np.ones(3, np.float16)
}

BACKBONE = backbone(ModelConfig(name="vit_ti", position_offset=0.1))


@pytest.fixture(autouse=True)
def memory():
  with bounded():
    yield


def read_weights(path: pathlib.Path) -> None:
  """Reads weights as model.init_from does; each tensor has the requested shape."""
  tensors = answer(lambda: read_tensors(path))
  if tensors is None:
    return
  assert all(x.dtype == np.float32 for x in tensors.values())
  for partial in (False, True):
    matched = answer(lambda partial=partial: find("w", tensors, SHAPES, BACKBONE, partial))
    assert matched is None or all(x.shape == SHAPES[name] for name, x in matched.items())


def header(dtype: str = "F32", shape: Sequence[int] = (16,), end: int = 64) -> dict:
  return {"dtype": dtype, "shape": shape, "data_offsets": [0, end]}


def safe(tree: object, data: bytes = bytes(64)) -> bytes:
  text = tree if isinstance(tree, bytes) else json.dumps(tree).encode()
  return struct.pack("<Q", len(text)) + text + data


HEADER = {"a.weight": header(shape=[4, 4]), "__metadata__": {"format": "pt"}}


@examples(250)
@given(st.one_of(damaged(save(TENSORS)), other(HEADER).map(safe)))
def test_damaged_safetensors_are_read_or_raise_one_line(tmp_path, content):
  (tmp_path / "w").write_bytes(content)
  read_weights(tmp_path / "w")


ODD = [
  *(struct.pack("<Q", 2**63) + b"{}", struct.pack("<Q", 2**40) + b'{"a":1}', safe(b"{" * 100_000)),
  *(safe({"a": header(dtype, shape)}) for dtype, shape in (("F32", (2**40, 2**40)), ("F8_E4M3", (64,)), ("C64", (8,)))),
  *(safe({"a": header(shape=(0, side), end=0)}, b"") for side in (2**62, 2**63 - 1)),
  *(safe({name: header()}) for name in ("x\n\u202e" * 9, "a." * 300_000 + "b")),
  safe({"blocks." + "9" * 5000 + ".cls_token": header(shape=(1, 1, 16))}),
]
ODD_SHAPES = [
  *({"params": (3,), "a.kernel": (3, 3)}, {"kernel": (3,), "": (2,)}, {"conv1.weight": (0, 3, 3, 3)}),
  {"cls_token": (1, 1, 0), "pos_embed": (1, 17, 4)},
  *({"patch_embed.proj.weight": shape} for shape in ((4, 3, 200, 200), (4, 3, 3, 5), (4, 3, 0, 0), (4, 0, 2, 2))),
  *({"pos_embed": shape} for shape in ((1, 0, 4), (1, 1, 4), (2, 17, 4), (1, 17, 5))),
]
ODD += [save({name: np.ones(shape, np.float32) for name, shape in tensors.items()}) for tensors in ODD_SHAPES]


@pytest.mark.parametrize("content", ODD)
def test_safetensors_of_odd_content_are_read_or_raise_one_line(content, tmp_path):
  (tmp_path / "w").write_bytes(content)
  read_weights(tmp_path / "w")


class Touch:
  """Creates a folder when it is unpickled."""

  def __init__(self, path: pathlib.Path):
    self.path = path

  def __reduce__(self):
    return os.mkdir, (str(self.path),)


@functools.cache
def intact_torch_file(new: bool) -> bytes:
  """Writes the file once, since files of the old format contain addresses."""
  torch = pytest.importorskip("torch")
  tree = {name: torch.ones(shape) for name, shape in SHAPES.items()} | {"half": {"a": torch.ones(2).half()}}
  return torch_file({"state_dict": tree, "epoch": 3}, new)


def torch_file(tree: object, new: bool = True) -> bytes:
  torch = pytest.importorskip("torch")
  file = io.BytesIO()
  torch.save(tree, file, _use_new_zipfile_serialization=new)
  return file.getvalue()


@pytest.mark.parametrize("new", [True, False])
@examples(100)
@given(st.data())
def test_damaged_torch_files_are_read_or_raise_one_line(new, tmp_path, data):
  (tmp_path / "w").write_bytes(data.draw(damaged(intact_torch_file(new))))
  read_weights(tmp_path / "w")


@examples(100)
@given(st.data())
def test_damaged_pickles_are_read_or_raise_one_line(tmp_path, data):
  """Damages the pickle inside an otherwise intact torch file."""
  with zipfile.ZipFile(io.BytesIO(intact_torch_file(True))) as intact:
    members = {name: intact.read(name) for name in intact.namelist()}
  tree = next(name for name in members if name.endswith("data.pkl"))
  with zipfile.ZipFile(tmp_path / "w", "w") as archive:
    for name, content in members.items():
      archive.writestr(name, data.draw(damaged(content)) if name == tree else content)
  read_weights(tmp_path / "w")


@pytest.mark.full
@pytest.mark.filterwarnings("ignore:.*quantize")  # a warning of torch about creating one
@pytest.mark.parametrize("kind", ["sparse", "quantized", "meta", "complex", "float8", "expanded", "expanded half"])
def test_tensors_of_odd_kinds_are_read_or_raise_one_line(kind, tmp_path):
  torch = pytest.importorskip("torch")
  made = {
    "sparse": lambda: torch.eye(3).to_sparse(),
    "quantized": lambda: torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8),
    "meta": lambda: torch.ones(3, device="meta"),
    "complex": lambda: torch.ones(3, dtype=torch.complex64),
    "float8": lambda: torch.ones(3).to(torch.float8_e4m3fn),
    "expanded": lambda: torch.ones(1).expand(2**20, 2**20),
    "expanded half": lambda: torch.ones(1).half().expand(2**20, 2**20),
  }[kind]
  (tmp_path / "w").write_bytes(torch_file({"a": made(), "b": torch.ones(2)}))
  read_weights(tmp_path / "w")


def test_a_compressed_archive_raises_one_line(tmp_path):
  """32 MiB of opcodes, compressed to tens of kilobytes."""
  with zipfile.ZipFile(tmp_path / "w", "w", zipfile.ZIP_DEFLATED) as archive:
    archive.writestr("archive/data.pkl", b"\x80\x02" + b"N0" * 2**24 + b"N.")
  assert answer(lambda: read_tensors(tmp_path / "w")) is None


@pytest.mark.parametrize("name", ["w.pth", "w.npz", "w.parquet", "w.safetensors"])
def test_pickles_are_never_run(name, tmp_path):
  flag, path = tmp_path / "ran", tmp_path / name
  hidden = np.empty(1, object)
  hidden[0] = Touch(flag)
  contents = [pickle.dumps(Touch(flag), protocol) for protocol in (0, 2, 5)]
  file = io.BytesIO()
  np.savez(file, features=hidden, path=hidden, index=hidden, jaxssl=hidden)
  for content in (*contents, file.getvalue(), npy(hidden)):
    path.write_bytes(content)
    assert answer(lambda: read_tensors(path)) is None and answer(lambda: embedding_file.load(path)) is None
  pickle.loads(contents[0])
  assert flag.exists()  # the pickle does run code
