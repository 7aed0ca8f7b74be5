"""Host crops contain the right part of the right image, and match PIL in alignment and antialiasing."""

import numpy as np
import pytest
from PIL import Image

from jaxssl.augment.boxes import ATTEMPTS, box_of
from jaxssl.config.schema import ViewConfig
from jaxssl.core.rng import generator
from jaxssl.data.crops import IMAGE, cut, divide, list_crops, resample
from jaxssl.data.image_io import Decoder, resize
from jaxssl.data.unreadable import SubstituteUnreadable, read_tolerantly
from tests.data.fixtures import Images, coded, decode, exif, flat, jpeg_size, noise, photo


def row(source, index=0, partner=0, seed=0, epoch=0, **views):
  shown = {name: np.zeros((1, group.count, group.size, group.size, source.channels), np.uint8) for name, group in views.items()}
  crops = list_crops(np.array([index]), np.array([partner]), views)

  def read(origin, images):
    cut(origin, np.concatenate([images[:, None], crops[:, 1:]], 1), views, seed, epoch, shown)

  read_tolerantly(source, crops[:, IMAGE], read)
  return tuple(group[0] for group in shown.values())


def box(height, width, seed, epoch, index, name, v, group):
  draws = generator(seed, f"crops/{name}", epoch, index).random((group.count, ATTEMPTS, 4))
  return box_of(draws[v], height, width, group.crop_scale, group.crop_ratio)


def expected(pixels, seed, epoch, index, name, v, group):
  """Computes the same crop with PIL."""
  top, left, height, width = box(*pixels.shape[:2], seed, epoch, index, name, v, group)
  image = Image.fromarray(pixels).crop((left, top, left + width, top + height))
  method = Image.Resampling.BICUBIC if group.interpolation == "bicubic" else Image.Resampling.BILINEAR
  return np.asarray(image.resize((group.size, group.size), method)).astype(int)


@pytest.mark.parametrize("method", ["bicubic", "bilinear"])
@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_crops_equal_resized_boxes(kind, method):
  source = Images([coded(photo(k), kind) for k in range(3)])
  assert kind != "JPEG" or jpeg_size(source.files[0], 3, np.uint8) == (300, 400)
  groups = {
    "global": ViewConfig(size=96, count=2, interpolation=method),
    "local": ViewConfig(size=64, count=3, crop_scale=(0.05, 0.2)),
  }
  for index in range(3):
    pixels = decode(source.files[index], 3, "")
    for name, group, views in zip(groups, groups.values(), row(source, index, index, 4, 5, **groups), strict=True):
      assert views.shape == (group.count, group.size, group.size, 3) and views.dtype == np.uint8
      for v, view in enumerate(views):
        difference = abs(view - expected(pixels, 4, 5, index, name, v, group))
        assert difference.max() <= 10 and difference.mean() <= 1


@pytest.mark.parametrize("shrink", [1, 2, 4, 8])
def test_reduced_decoding_crops_the_same_part(shrink, monkeypatch):
  ramp = np.zeros((400, 480, 3), np.uint8)
  ramp[..., 0] = np.linspace(0, 255, 400)[:, None]
  ramp[..., 1] = np.linspace(0, 255, 480)
  source = Images([coded(ramp, subsampling=0)])
  sizes = []

  whole = Decoder.decode

  def reduced(decoder, data, name, spare, size):
    assert 5 < spare < 8  # the shorter sides of the boxes have 208 to 310 pixels
    sizes.append(whole(decoder, data, name, shrink).shape)
    return whole(decoder, data, name, shrink)

  monkeypatch.setattr(Decoder, "decode", reduced)
  group = ViewConfig(size=40, count=1, crop_scale=(0.3, 0.5), partner=(False,))
  for epoch in range(20):
    (view,) = row(source, epoch=epoch, g=group)
    top, left, height, width = box(400, 480, 0, epoch, 0, "g", 0, group)
    rows = (top + (np.arange(40) + 0.5) * height / 40 - 0.5) * 255 / 399
    columns = (left + (np.arange(40) + 0.5) * width / 40 - 0.5) * 255 / 479
    inner = slice(2, -2)  # at the border the filter has fewer pixels
    tolerance = 2.2 + shrink / 2 * 255 / 400  # the box is rounded to pixels of the reduced image
    assert abs(view[0, ..., 0] - rows[:, None])[inner, inner].max() < tolerance
    assert abs(view[0, ..., 1] - columns)[inner, inner].max() < tolerance
  assert set(sizes) == {(-(-400 // shrink), 480 // shrink, 3)}


def test_views_of_the_partner_show_the_partner():
  source = Images([flat(k, (20, 30)) for k in (10, 20, 30)])
  shown = (2, (False, True)), (3, (True,)), (1, (False,))
  groups = {f"g{count}": ViewConfig(size=8, count=count, partner=partner) for count, partner in shown}
  first, second, third = row(source, 1, 2, **groups)
  assert [view.mean() for view in first] == [20, 30]
  assert [view.mean() for view in second] == [30, 30, 30] and third.mean() == 20
  assert source.reads == 2  # one per image
  source.reads = 0
  assert row(source, 1, 1, a=ViewConfig(size=8))[0].mean() == 20 and source.reads == 1


def test_an_image_is_read_once_per_batch():
  views = {"a": ViewConfig(size=8, count=2), "b": ViewConfig(size=4, count=1, partner=(True,))}
  index, partner = np.array([4, 1, 2, 0]), np.array([1, 1, 4, 4])
  crops = list_crops(index, partner, views)
  assert sorted(map(tuple, crops.tolist())) == sorted(
    [(i, r, i, 0, 0) for r, i in enumerate(index)]
    + [(p, r, index[r], 0, 1) for r, p in enumerate(partner)]
    + [(p, r, index[r], 1, 0) for r, p in enumerate(partner)]
  )
  for parts in (1, 2, 3, 9):
    divided = divide(crops, parts)
    assert len(divided) == parts and (np.concatenate(divided) == crops).all()
    images = [set(part[:, IMAGE]) for part in divided]
    assert sum(map(len, images)) == len(set().union(*images)) == 4  # none is in two parts
  source = Images([flat(10 * k) for k in range(5)])
  out = {name: np.zeros((4, group.count, group.size, group.size, 3), np.uint8) for name, group in views.items()}
  cut(source, crops, views, 0, 0, out)
  assert source.reads == 4
  assert (out["a"][:, 0] == 10 * index[:, None, None, None]).all()
  assert (out["a"][:, 1] == 10 * partner[:, None, None, None]).all()
  assert (out["b"][:, 0] == 10 * partner[:, None, None, None]).all()


def test_crops_are_a_function_of_the_key():
  source = Images([coded(photo(k), "PNG") for k in range(2)])
  group = ViewConfig(size=24, count=2)
  base = row(source, g=group)[0]
  same_images = Images([source.files[0]] * 3)
  assert (row(same_images, 0, 2, g=group)[0] == base).all()  # the image of the crop has no influence
  assert (row(same_images, 2, 0, g=group)[0] != base).any()
  assert (row(source, g=group, other=ViewConfig(size=8))[0] == base).all()  # other groups change nothing
  assert (row(source, other=ViewConfig(size=8), g=group)[1] == base).all()
  assert (base[0] != base[1]).any()
  for different in ({"seed": 1}, {"epoch": 1}):
    assert (row(source, g=group, **different)[0] != base).any()
  assert (row(source, h=group)[0] != base).any()


def test_gray_small_and_rotated_images_match_pil():
  whole = ViewConfig(size=64, count=1, crop_scale=(0, 0))
  shown = photo(), photo()[..., 0], photo()[:16, :16], Image.fromarray(photo()).convert("CMYK")
  for file in (coded(photo(), exif=exif(6)), *map(coded, shown)):
    for channels in (1, 3):
      (view,) = row(Images([file], channels), g=whole)
      pixels = decode(file, channels, "")
      image = Image.fromarray(pixels if channels == 3 else pixels[..., 0]).resize((64, 64), Image.Resampling.BICUBIC)
      assert abs(view[0].astype(int) - np.asarray(image).reshape(64, 64, channels)).mean() <= 2


@pytest.mark.parametrize("length", [0, 100, 20_000, -3])
def test_a_truncated_jpeg_is_substituted(length):
  """Even if the box lies in the part that decodes."""
  files = [coded(noise(0)), coded(noise(1)), coded(noise(2))]
  top = {"g": ViewConfig(size=16, count=2, crop_scale=(0.08, 0.1))}
  for index in range(8):
    source = SubstituteUnreadable(Images([files[0], files[1][:length], files[2]] * 40 + files[:1] * 280))
    (first,) = row(source, 1, 1, epoch=index, **top)
    (again,) = row(source, 1, 1, epoch=index, **top)
    (substitute,) = row(Images([b"", files[2]]), 1, 1, epoch=index, **top)
    assert len(source.unreadable) == 1 and (first == again).all() and (first == substitute).all()


SIDES = [(20, 20), (40, 40), (44, 56), (60, 50), (79, 80), (80, 33), (100, 130), (300, 400)]


def resampled(part, method, channels=3):
  out = np.zeros((40, 40, channels), np.uint8)
  resample(part, out, method)
  return out.astype(float)


@pytest.mark.parametrize("method", ["bicubic", "bilinear"])
@pytest.mark.parametrize("height,width", SIDES)
def test_resampling_is_close_to_pil(method, height, width):
  part = photo()[:height, :width]
  assert abs(resampled(part, method) - resize(part, 40, 40, method)).mean() < (1 if max(height, width) < 300 else 3)
  gray = resampled(np.ascontiguousarray(part[..., :1]), method, 1)
  assert (gray[..., 0] == resampled(part, method)[..., 0]).all()


@pytest.mark.parametrize("method", ["bicubic", "bilinear"])
@pytest.mark.parametrize("side", [56, 60, 70, 80, 100])
def test_downsampling_is_antialiased(method, side):
  """Without a filter, noise would keep its deviation of 74 gray levels."""
  part = noise(0, side, side)
  ours, theirs = resampled(part, method).std(), resize(part, 40, 40, method).std()
  assert ours < 1.2 * theirs and ours < 60


@pytest.mark.parametrize("method", ["bicubic", "bilinear"])
@pytest.mark.parametrize("side", [25, 40, 64, 100])
def test_resampling_is_aligned(method, side):
  ramp = np.repeat(np.linspace(0, 255, side).round().astype(np.uint8)[None, :, None], side, 0).repeat(3, 2)
  places = ((np.arange(40) + 0.5) * side / 40 - 0.5) * 255 / (side - 1)
  assert abs(resampled(ramp, method) - places[None, :, None])[:, 3:-3].max() < 1.5
