"""Every path from a file to pixels gives the same pixels: generated files over formats, modes, bits and orientations."""

import dataclasses
import functools
import hashlib
import io
import shutil

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from jaxssl.config.schema import DataConfig, ViewConfig
from jaxssl.data.crops import cut, list_crops
from jaxssl.data.datasets import open_datasets
from jaxssl.data.image_io import Decoder, center, match, resize
from jaxssl.data.input_pipeline import inference, resident
from jaxssl.data.inputs import as_source
from jaxssl.data.source import decoder_of
from jaxssl.inspect.scan import image_stats
from tests.data.fixtures import coded, exif, folder, npy, tiff, zipped

DEEP = (10, 12, 14, 16)
TURNS = {  # as EXIF defines them: where the 0th row and column of the stored image are
  **{1: lambda x: x, 2: np.fliplr, 3: lambda x: np.rot90(x, 2), 4: np.flipud, 5: lambda x: x.transpose(1, 0, 2)},
  **{6: lambda x: np.rot90(x, -1), 7: lambda x: np.rot90(x, 2).transpose(1, 0, 2), 8: np.rot90},
}


def smooth(seed, height, width, channels, bits):
  """Returns an image that survives resizing, [h, w, c], with values from 0 to 2**bits - 1."""
  small = np.random.default_rng(seed).integers(0, 2**bits, (3, 3, channels)).astype(np.float32)
  planes = [Image.fromarray(small[..., c]).resize((width, height), Image.Resampling.BILINEAR) for c in range(channels)]
  image = np.rint(np.stack([np.asarray(plane) for plane in planes], -1)).astype(np.uint8 if bits == 8 else np.uint16)
  image[0, 0], image[-1, -1] = 2**bits - 1, 0
  return image


def flat(image):
  return image[..., 0] if image.shape[-1] == 1 else image


def png16(image, turn):
  data = cv2.imencode(".png", image if image.shape[-1] == 1 else np.ascontiguousarray(image[..., ::-1]))[1].tobytes()
  start = coded(np.zeros((1, 1), np.uint8), "PNG", exif=exif(turn))  # its eXIf chunk, with length and checksum
  at = start.index(b"eXIf") - 4
  return data[:33] + start[at : start.index(b"eXIf") + 8 + int.from_bytes(start[at : at + 4], "big")] + data[33:]


def tiffed(image, turn, **options):
  kind = {"photometric": "rgb" if image.shape[-1] == 3 else "minisblack"} | options
  image = image.transpose(2, 0, 1) if "planarconfig" in options and image.shape[-1] == 3 else flat(image)
  kind = {name: value for name, value in kind.items() if name != "planarconfig" or image.ndim == 3}
  return tiff(image, extratags=[(274, 3, 1, turn, True)], **kind)


def pnm(image, turn, bits):
  height, width, channels = image.shape
  header = f"P{5 if channels == 1 else 6} {width} {height}\n# comment\n{2**bits - 1}\n".encode()
  return header + image.astype(">u2" if bits > 8 else np.uint8).tobytes()


def lossless(kind, **options):
  return lambda image, turn, bits: coded(flat(image), kind, **options, **({} if turn == 1 else {"exif": exif(turn)}))


def white_is_zero(image, turn, bits):
  image = image if image.shape[-1] == 1 else image[..., :1]
  return tiffed((2**bits - 1 - image).astype(image.dtype), turn, photometric="miniswhite")


ALL, UPRIGHT = tuple(TURNS), (1,)
KINDS = {  # name: encoder, bits, orientations that the format can hold
  "PNG": (lossless("PNG"), (8,), ALL),
  "PNG 16": (lambda image, turn, bits: png16(image, turn), DEEP, ALL),
  "TIFF": (lambda image, turn, bits: tiffed(image, turn), (8, *DEEP), ALL),
  "TIFF planar": (lambda image, turn, bits: tiffed(image, turn, planarconfig="separate"), (8, *DEEP), ALL),
  "TIFF deflate": (lambda image, turn, bits: tiffed(image, turn, compression="zlib", byteorder=">"), (8, *DEEP), ALL),
  "TIFF 32": (lambda image, turn, bits: tiffed(image.astype(np.uint32), turn), (8, *DEEP), ALL),
  "WEBP": (lossless("WEBP", lossless=True), (8,), ALL),
  "BMP": (lossless("BMP"), (8,), UPRIGHT),
  "PNM": (pnm, (8, *DEEP), UPRIGHT),
  "JPEG2000": (lossless("JPEG2000", irreversible=False), (8,), UPRIGHT),
  "NPY": (lambda image, turn, bits: npy(flat(image)), (8, *DEEP), UPRIGHT),
}
GRAY_KINDS = {  # only of one channel
  "GIF": (lossless("GIF"), (8,), UPRIGHT),
  "TIFF white is zero": (white_is_zero, (8, *DEEP), ALL),
  "JPEG2000": (lossless("JPEG2000", irreversible=False), (16,), UPRIGHT),
}
ENDINGS = {"PNM": "ppm", "JPEG2000": "jp2"}


@st.composite
def files(draw):
  """Returns (name, bytes, stored image, bits, orientation) of a file that is not lossy."""
  channels = draw(st.sampled_from([1, 3]))
  kinds = KINDS | GRAY_KINDS if channels == 1 else KINDS
  kind = draw(st.sampled_from(sorted(kinds)))
  encode, depths, turns = kinds[kind]
  bits, turn = draw(st.sampled_from(depths)), draw(st.sampled_from(turns))
  height, width = draw(st.integers(8, 60)), draw(st.integers(8, 60))
  image = smooth(draw(st.integers(0, 9)), height, width, channels, bits)
  name = kind.split()[0]
  return f"a.{ENDINGS.get(name, name).lower()}", encode(image, turn, bits), image, bits, turn


def close(shown, expected, exact):
  """Compares resized images; large JPEGs are decoded at a reduced size before."""
  return (shown == expected).all() if exact else abs(shown.astype(int) - expected).mean() <= 2


def check(name, data, expected, tmp_path, exact=True, **fields):
  """Compares all paths with `expected`, [h, w, c], of full range. The bound of resampling is six gray levels on average."""
  channels, unit = expected.shape[-1], np.iinfo(expected.dtype).max / 255
  shutil.rmtree(tmp_path / "set", ignore_errors=True)
  for path in (folder(tmp_path / "set", {name: data}), zipped(tmp_path / "set.zip", {name: data})):
    config = DataConfig(source="folder", path=path, channels=channels, mean=(), std=(), **fields)
    opened = open_datasets(config, 0)
    source, decoder = opened.train.source, decoder_of(opened.train.source)
    pixels = source.read(0)
    assert pixels.dtype == expected.dtype and pixels.shape == expected.shape
    assert (pixels == expected).all() if exact else abs(pixels.astype(int) - expected).max() <= unit
    assert (resident(source, 0)[0] == pixels).all() and close(resident(source, 9)[0], center(pixels, 9, 9), exact)
    assert close(next(inference(source, np.array([[0]]), 0, 7))[0], center(pixels, 0, 7), exact)
  stored = decoder.stored(data, name)
  if not stored.zero_is_white and stored.orientation == 1 and stored.pixels.dtype in (np.uint8, np.uint16):
    assert (as_source([flat(stored.pixels)], "items", decoder).read(0) == pixels).all()
  digest = hashlib.blake2b(repr(pixels.shape).encode() + pixels.tobytes(), digest_size=16).digest()
  assert image_stats(data, name, dataclasses.replace(decoder, channels=channels)).digest == digest
  views = {"g": ViewConfig(size=16, count=1, crop_scale=(0, 0), partner=(False,), interpolation="bilinear")}
  shown = {"g": np.zeros((1, 1, 16, 16, channels), expected.dtype)}
  cut(source, list_crops(np.array([0]), np.array([0]), views), views, 0, 0, shown)
  difference = abs(shown["g"][0, 0].astype(float) - resize(expected, 16, 16, "bilinear")) / unit
  assert difference.mean() <= 6
  for spare in (2, 4):
    reduced = decoder.decode(data, name, spare)
    small = resize(expected, *reduced.shape[:2])
    assert np.median(abs(reduced.astype(float) - small)) / unit <= 8


@pytest.mark.slow
@settings(max_examples=150, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(files(), st.sampled_from([1, 3]))
def test_lossless_files_have_the_same_pixels_by_every_path(tmp_path, file, channels):
  name, data, image, bits, turn = file
  full = 255 if bits == 8 else 65535
  scaled = np.floor(image.astype(float) * full / (2**bits - 1) + 0.5).astype(np.uint8 if bits == 8 else np.uint16)
  check(name, data, match(TURNS[turn](scaled), channels, scaled.dtype, name), tmp_path)


@functools.cache
def jpeg(seed, height, width, mode, turn, subsampling, progressive):
  image = Image.fromarray(smooth(seed, height, width, 3, 8)).convert(mode.split()[0])
  options = {"L": {}, "RGB kept": {"keep_rgb": True}}.get(mode, {"subsampling": subsampling})
  return coded(image, "JPEG", exif=exif(turn), progressive=progressive, **options)


def padded(data, count):
  """Inserts fill bytes, which the standard allows before any marker, before all segments of the header."""
  at, out = 2, data[:2]
  while data[at + 1] != 0xDA:
    size = 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    out += b"\xff" * count + data[at : at + size]
    at += size
  return out + b"\xff" * count + data[at:]


@pytest.mark.slow
@settings(max_examples=100, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_jpegs_have_the_same_pixels_by_every_path(tmp_path, data):
  mode, turn = data.draw(st.sampled_from(["L", "RGB", "RGB kept", "CMYK"])), data.draw(st.sampled_from(ALL))
  size = data.draw(st.integers(32, 90)), data.draw(st.integers(32, 90))
  file = jpeg(data.draw(st.integers(0, 9)), *size, mode, turn, data.draw(st.integers(0, 2)), data.draw(st.booleans()))
  file = padded(file, data.draw(st.integers(0, 3)))
  channels, depth = data.draw(st.sampled_from([1, 3])), data.draw(st.sampled_from([0, 16]))
  image = Image.open(io.BytesIO(file))
  if channels == 1 and mode.startswith("RGB"):
    image.draft("L", image.size)
  expected = np.atleast_3d(np.asarray(ImageOps.exif_transpose(image).convert("L" if channels == 1 else "RGB")))
  expected = expected if not depth else expected * np.uint16(257)
  check("a.jpg", file, expected, tmp_path, exact=False, bit_depth=depth)


@pytest.mark.slow
@settings(max_examples=20, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(st.integers(0, 9), st.integers(1, 99), st.booleans(), st.booleans())
def test_jpegs_without_their_last_bytes_have_the_same_pixels_by_every_path(tmp_path, seed, missing, gray, turned):
  file = jpeg(seed, 64, 80, "L" if gray else "RGB", 6 if turned else 1, 0, False)[:-missing]
  expected = Decoder(allow_truncated=True).decode(file, "a.jpg")
  assert expected.shape == ((80, 64, 3) if turned else (64, 80, 3))
  check("a.jpg", file, expected, tmp_path, allow_truncated=True)
