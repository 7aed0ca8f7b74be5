"""Damaged files are not confused with images of a kind that cannot be read."""

import numpy as np
import pytest

from jaxssl.data.file_kinds import DecodeError, UnsupportedImage
from jaxssl.data.image_io import Decoder
from tests.data.fixtures import coded, noise, quarters, tiff


def read(data, **fields):
  return Decoder(**fields).decode(data, "a.tif").squeeze().tolist()


def test_known_formats_without_a_reader_are_unsupported():
  deep = bytearray(coded(quarters()))
  deep[deep.index(b"\xff\xc0") + 4] = 12
  frames = {0xC3: "lossless JPEG", 0xC7: "hierarchical JPEG", 0xF7: "JPEG-LS"}
  files = {kind: coded(quarters()).replace(b"\xff\xc0", bytes((0xFF, frame))) for frame, kind in frames.items()}
  files |= {"12-bit JPEG": bytes(deep), "HEIC": b"\0\0\0\x18ftypheic" + bytes(30), "Photoshop": b"8BPS" + bytes(40)}
  files |= {"JPEG XL": b"\0\0\0\x0cJXL \r\n\x87\n" + bytes(30), "DICOM": bytes(128) + b"DICM" + bytes(30)}
  for name, data in files.items():
    with pytest.raises(UnsupportedImage, match=f"a.tif: {name} images are not supported; convert them to PNG or JPEG"):
      read(data)


@pytest.mark.parametrize(
  "data, message",
  [
    (b"not found", "not an image of a known format"),
    (b"\n<!DOCTYPE html><html>not found</html>", "a web page"),
    (b"version https://git-lfs.github.com/spec/v1\noid", "a pointer of Git LFS, not the file itself: run git lfs pull"),
    (b"PK\3\4", "a zip"),
  ],
)
def test_files_that_are_no_images_are_described(data, message):
  with pytest.raises(DecodeError, match=f"a.tif: {message}"):
    read(data)


@pytest.mark.parametrize("kind, options", [("AVIF", {}), ("TIFF", {"compression": "tiff_lzw"})])
def test_truncated_files_are_damaged_and_not_of_another_kind(kind, options):
  data = coded(noise(0, 64, 64), kind, **options)
  for end in (-1, len(data) // 2):
    with pytest.raises(DecodeError):
      read(data[:end])


def test_a_codec_that_python_lacks_is_not_damage(monkeypatch):
  monkeypatch.setattr("tifffile.TiffPage.asarray", lambda self: __import__("a_module_that_nobody_has"))
  assert read(tiff(np.array([[0, 1, 4095]], np.uint16)), channels=1, bit_depth=12) == [0, 16, 65535]
