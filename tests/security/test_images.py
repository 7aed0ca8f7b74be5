"""Damaged and malicious images and zips."""

import contextlib
import os
import pathlib
import struct
import zipfile
import zlib

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from jaxssl.core import UserError
from jaxssl.data.datasets import DataConfig, open_datasets
from jaxssl.data.file_kinds import DecodeError, UnsupportedImage, WrongChannels
from jaxssl.data.image_io import Decoder, center
from jaxssl.data.listing import list_images
from jaxssl.inspect.scan import image_stats, read_header
from tests.data.fixtures import coded, flat, folder, npy, quarters, tiff, zipped
from tests.security.damage import damaged
from tests.security.guarded import answer, bounded, examples

DEEP = quarters()[..., 0].astype(np.uint16) * 257
WHOLE = {
  **{kind: coded(quarters(), kind) for kind in ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "PPM", "JPEG2000")},
  "exif": coded(quarters(), "JPEG", exif=b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0"),
  "palette": coded(Image.fromarray(quarters()).convert("P"), "PNG", transparency=3),
  "deep png": coded(DEEP, "PNG"),
  "deep tiff": coded(DEEP, "TIFF"),
  "packed tiff": tiff(quarters(), compression="zlib", photometric="rgb"),
  "many": tiff(np.zeros((5, 16, 16), np.uint8)),
  "npy": npy(quarters()),
  "deep npy": npy(DEEP),
  "avif": coded(quarters(4, 4), "AVIF"),
  "deep jp2": coded(DEEP, "JPEG2000"),
  "deep pgm": coded(DEEP, "PPM"),
  "plain pgm": b"P2 # comment\n3 2 4095\n0 1 2 3 4 4095\n",
  "deep color png": cv2.imencode(".png", DEEP[:8, :8, None].repeat(4, 2))[1].tobytes(),
  "lzw tiff": cv2.imencode(".tiff", DEEP[..., None].repeat(3, 2))[1].tobytes(),
  "lab": tiff(quarters(), photometric="cielab"),
  "wide": tiff(DEEP.astype(np.int32), extratags=[(341, 3, 1, 4095, True), (274, 3, 1, 6, True)]),
}


@pytest.fixture(autouse=True)
def memory():
  with bounded():
    yield


def read(data: bytes, channels: int, depth: int) -> None:
  """Decodes as training and `inspect` do, and checks that the result is an image."""
  dtype = np.dtype(np.uint8 if depth == 8 else np.uint16)
  decoder = Decoder(channels=channels, bit_depth=depth, allow_truncated=depth == 16)
  image = answer(lambda: decoder.decode(data, "a.png"))
  if image is not None:
    assert image.dtype == dtype and image.ndim == 3 and image.shape[2] == channels and image.size
    if image.nbytes < 2**24:
      center(image, 4, 4)
  read_header(data)
  answer(lambda: image_stats(data, "a.png", Decoder(channels=0, bit_depth=depth)))


STARTS = [b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"II*\0", b"MM\0*", b"\x93NUMPY", b"BM", b"GIF89a", b"P5 ", b"P6\n"]
STARTS += [b"\xff\x4f\xff\x51", b"\0\0\0\x0cjP  \r\n\x87\n", b"\0\0\0\x18ftypavif"]
FILES = st.one_of(
  st.sampled_from(sorted(WHOLE)).flatmap(lambda kind: damaged(WHOLE[kind])),
  st.builds(lambda start, rest: start + rest, st.sampled_from(STARTS), st.binary()),
)


@pytest.mark.filterwarnings("ignore")  # warnings of PIL and numpy about damaged files
@examples(500)
@given(FILES, st.sampled_from([1, 3, 5]), st.sampled_from([8, 12, 16]))
def test_damaged_files_and_arbitrary_bytes_are_decoded_or_raise_one_line(data, channels, depth):
  read(data, channels, depth)


def chunk(name: bytes, data: bytes) -> bytes:
  return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def huge_png(side: int, depth: int, color: int, data: bytes = bytes(2**16)) -> bytes:
  start = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, depth, color, 0, 0, 0))
  return b"\x89PNG\r\n\x1a\n" + start + chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b"")


def huge_npy(shape: tuple, kind: str = "|u1") -> bytes:
  text = repr({"descr": kind, "fortran_order": False, "shape": shape}).encode()
  return b"\x93NUMPY\1\0" + struct.pack("<H", len(text)) + text + bytes(100)


def huge_tiff(side: int, samples: int) -> bytes:
  return tiff(np.zeros((16, 16, samples), np.uint8), planarconfig="contig").replace(
    struct.pack("<HHII", 256, 3, 1, 16), struct.pack("<HHII", 256, 4, 1, side)
  ).replace(struct.pack("<HHII", 257, 3, 1, 16), struct.pack("<HHII", 257, 4, 1, side))  # fmt: skip


PNGS = [(side, *kind) for side in (10_000, 60_000, 2**31 - 1) for kind in ((8, 2), (16, 0), (16, 2))]
SHAPES = [(2**20, 2**20), (2**62, 2), (10**30, 1), (0, 4), (4, 0, 3), (-1, 5), (30_000, 40_000), (4, 4, 0)]
BOMBS = {
  **{f"png {kind}": huge_png(*kind) for kind in PNGS},
  "bmp": b"BM" + struct.pack("<IHHI", 2**31 - 1, 0, 0, 54) + struct.pack("<IiiHHI", 40, 50_000, 50_000, 1, 24, 0) + bytes(36),
  "jpeg": WHOLE["JPEG"].replace(struct.pack(">HH", 24, 32), struct.pack(">HH", 65500, 65500)),
  "webp": b"RIFF" + struct.pack("<I", 30) + b"WEBPVP8X" + struct.pack("<I", 10) + b"\x02\0\0\0" + b"\xff\x3f\0" * 2,
  **{f"tiff {side} {samples}": huge_tiff(side, samples) for side, samples in ((60_000, 3), (60_000, 5), (9_000, 5))},
  **{f"npy {shape}": huge_npy(shape) for shape in SHAPES},
  **{f"pnm {side}": b"P5 %d %d 65535\n" % (side, side) + bytes(100) for side in (16_000, 60_000, 10**8)},
  "plain pnm": b"P2 16000 16000 4095\n" + b"1 " * 100,
  "spaces": b"P5" + b" " * 10**5 + b"x",
  "npy of objects": huge_npy((4, 4), "|O"),
  "npy of nothing": huge_npy((2**40, 2**20), "|V0"),
  "text": WHOLE["PNG"][:33] + chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(2**26))) + WHOLE["PNG"][33:],
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", BOMBS)
def test_huge_images_stay_within_the_limits(name):
  for channels, depth in ((1, 8), (3, 8), (3, 16), (5, 8)):
    read(BOMBS[name], channels, depth)


@examples(150)
@given(st.data())
def test_damaged_zips_are_listed_or_raise_one_line(tmp_path, data):
  method = data.draw(st.sampled_from([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED]))
  evil = ["../../evil.png", "/etc/evil.png", "c:\\evil.png", "a/../../evil.png", "a\nb.png", "\x1b[2J.png"]
  name = data.draw(st.sampled_from(["a.png", *evil]))
  path = pathlib.Path(zipped(tmp_path / "set.zip", {name: flat(1), "b/c.png": flat(2)}, method))
  whole = path.read_bytes()
  end = whole.rindex(b"PK\1\2")  # the directory is read first
  damaged_end = damaged(whole[end:]).map(lambda rest: whole[:end] + rest)
  path.write_bytes(data.draw(st.one_of(damaged(whole), damaged_end, st.just(whole))))
  index = answer(lambda: list_images(str(path), "data.path"))
  for k in range(len(index) if index else 0):
    assert not {"..", "", "."} & set(index.name(k).split("/"))
    with contextlib.suppress(OSError, ValueError):  # FolderSource.encoded raises DecodeError for these
      answer(lambda k=k: index.read(k))
  assert [p.name for p in tmp_path.iterdir()] == ["set.zip"]


def test_a_huge_image_in_a_zip_is_rejected(tmp_path):
  """Two gigabytes in two megabytes, as the directory states or not, and a directory entry that exceeds the file."""
  packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
  once = packer.compress(bytes(2**24)) + packer.flush(zlib.Z_FULL_FLUSH)  # after which the same bytes may repeat
  packed = once * 2**7 + packer.flush()
  name = b"a.png"
  local = struct.pack("<4s5H3I2H", b"PK\3\4", 20, 0, 8, 0, 0, 0, len(packed), 2**31, len(name), 0) + name + packed
  stored = len(packed)
  for size, whole, message in ((stored, 2**31, "larger than"), (stored, 99, "damaged"), (2**32 - 2, 2**20, "larger than")):
    entry = struct.pack("<4s6H3I5H2I", b"PK\1\2", 20, 20, 0, 8, 0, 0, 0, size, whole, len(name), 0, 0, 0, 0, 0, 0) + name
    tail = struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, 1, 1, len(entry), len(local), 0)
    (tmp_path / "set.zip").write_bytes(local + entry + tail)
    sources = open_datasets(DataConfig(source="folder", path=str(tmp_path / "set.zip"), bit_depth=8), 0)
    with pytest.raises((DecodeError, UnsupportedImage), match=message):
      sources.train.source.source.read(0)


def test_only_regular_files_are_read_and_links_in_a_zip_are_not_followed(tmp_path):
  path = folder(tmp_path / "set", {"a.png": flat(1)})
  os.mkfifo(tmp_path / "set/b.png")
  (tmp_path / "set/c.png").symlink_to("/dev/zero")
  (tmp_path / "set/d.png").symlink_to(tmp_path / "gone")
  with (tmp_path / "set/e.png").open("wb") as file:
    file.truncate(2**40)
  source = open_datasets(DataConfig(source="folder", path=path, bit_depth=8), 0).train.source.source
  assert len(source) == 5
  for k in range(1, 5):
    assert answer(lambda k=k: source.read(k)) is None
  assert answer(lambda: source.read(0)) is not None
  with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
    link = zipfile.ZipInfo("link.png")
    link.external_attr = 0o120777 << 16
    archive.writestr(link, "set/a.png")
  source = open_datasets(DataConfig(source="folder", path=str(tmp_path / "set.zip"), bit_depth=8), 0).train.source.source
  with pytest.raises(DecodeError, match="not an image"):
    source.read(0)


@pytest.mark.parametrize("name", ["huggingface:mnist", "kaggle:a", "a:b/c:1.0.0", "my_code:mnist"])
def test_no_dataset_code_is_downloaded(name):
  with pytest.raises(UserError, match="a dataset outside of TFDS"):
    open_datasets(DataConfig(source="tfds", path=name), 0)


def test_messages_are_one_line():
  for kind in (DecodeError, UserError, UnsupportedImage, WrongChannels):
    assert str(kind("a\nb\x1b[2J\u202e\ud800")).isprintable()
