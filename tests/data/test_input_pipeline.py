"""Training batches are a function of the plan; `resident` and `inference` read every image once."""

import subprocess
import sys
import time
import weakref

import numpy as np
import pytest

from jaxssl.config.schema import ViewConfig
from jaxssl.core import UserError
from jaxssl.data.arrays import ArraySource
from jaxssl.data.image_io import Decoder, center
from jaxssl.data.input_pipeline import inference, resident, training
from jaxssl.data.sampler import epoch_plan
from jaxssl.data.unreadable import SubstituteUnreadable
from tests.data import fixtures
from tests.data.fixtures import Images, coded, decode, flat, photo

VIEWS = {
  "global": ViewConfig(size=8, count=2),
  "local": ViewConfig(size=4, count=3, partner=(True, False, True), crop_scale=(0.1, 0.4)),
}


def batches(source, index, partner, **options):
  return fixtures.batches(source, index, partner, VIEWS, **options)


def same(a, b):
  assert len(a) == len(b) > 0
  for (i, p, views), (j, q, others) in zip(a, b, strict=True):
    assert (i == j).all() and (p == q).all() and views.keys() == others.keys()
    assert all((views[name] == others[name]).all() for name in views)


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_batches_follow_the_plan(workers):
  source = Images([flat(k, (6 + k % 3, 9)) for k in range(50)])
  partners = np.random.default_rng(0).permutation(50)
  index, partner = epoch_plan(0, 1, 50, 8, partners.__getitem__)
  output = batches(source, index, partner, workers=workers)
  assert len(output) == 6
  for step, (i, p, views) in enumerate(output):
    assert (i == index[step]).all() and (p == partner[step]).all()
    assert views["global"].shape == (8, 2, 8, 8, 3) and views["global"].dtype == np.uint8
    assert views["local"].shape == (8, 3, 4, 4, 3)
    for view, shown in zip(views["global"].transpose(1, 0, 2, 3, 4), (i, p), strict=True):
      assert (view == shown[:, None, None, None]).all()
    for view, shown in zip(views["local"].transpose(1, 0, 2, 3, 4), (p, i, p), strict=True):
      assert (view == shown[:, None, None, None]).all()


def test_batches_repeat_after_a_restart():
  source = Images([coded(photo(k, 120, 160)) for k in range(20)])
  index, partner = epoch_plan(0, 0, 20, 4, np.roll(np.arange(20), 1).__getitem__)
  whole = batches(source, index, partner, workers=3)
  same(batches(source, index, partner, workers=1), whole)
  for first_step in (1, 3):
    same(batches(source, index, partner, first_step=first_step, workers=2), whole[first_step:])
  assert batches(source, index, partner, first_step=5) == []
  other = batches(source, index, partner, epoch=1)
  assert any((a[2]["global"] != b[2]["global"]).any() for a, b in zip(other, whole, strict=True))


def test_slow_images_do_not_change_the_order():
  class Slow(Images):
    def encoded(self, index):
      time.sleep(0.02 * (index % 3 == 0))
      return super().encoded(index)

  files = [flat(k) for k in range(24)]
  index, partner = epoch_plan(0, 0, 24, 6)
  same(batches(Slow(files), index, partner, workers=6), batches(Images(files), index, partner))


def test_arrays_are_cropped():
  images = np.random.default_rng(0).integers(0, 256, (12, 10, 10), dtype=np.uint8)
  index, partner = epoch_plan(0, 0, 12, 4)
  for channels in (1, 3):
    output = batches(ArraySource(images, decoder=Decoder(channels=channels)), index, partner)
    assert output[0][2]["global"].shape == (4, 2, 8, 8, channels)
  whole = {"g": ViewConfig(size=10, count=1, crop_scale=(0, 0), partner=(False,))}
  for i, _, views in fixtures.batches(ArraySource(images), index, partner, whole):
    assert (views["g"][:, 0, :, :, 0] == images[i]).all()


def test_processes_read_their_columns_of_the_plan():
  source = Images([flat(k) for k in range(16)])
  index, partner = epoch_plan(0, 0, 16, 8)
  whole = batches(source, index, partner)
  for rows in (slice(0, 4), slice(4, 8)):
    mine = batches(source, index[:, rows], partner[:, rows])
    same(mine, [(i[rows], p[rows], {name: views[name][rows] for name in views}) for i, p, views in whole])


def test_unreadable_images_do_not_shorten_an_epoch(tmp_path):
  files = [coded(photo(k, 120, 160)) for k in range(20)] * 10
  files[30], files[77] = b"", files[77][:3000]
  index, partner = epoch_plan(0, 0, 200, 8)
  first = batches(SubstituteUnreadable(Images(files), tmp_path), index, partner, workers=2)
  assert len(first) == 25
  assert sorted((tmp_path / "bad_files.txt").read_text().split("\n")) == ["", "made 30", "made 77"]
  same(batches(SubstituteUnreadable(Images(files), tmp_path), index, partner, first_step=10, workers=3), first[10:])
  repaired = Images([*files[:30], files[31], *files[31:77], files[78], *files[78:]])
  same(batches(repaired, index, partner), first)


def test_errors_of_workers_keep_their_type():
  source = SubstituteUnreadable(Images([b""] * 4 + [flat(k) for k in range(196)]))
  index, partner = epoch_plan(0, 0, 200, 8)
  with pytest.raises(UserError, match="made: 3 of 200 images are unreadable"):
    batches(source, index, partner)

  class Broken(Images):
    def encoded(self, index):
      raise KeyError("a defect")

  with training(Broken([flat(1)] * 8), *epoch_plan(0, 0, 8, 4), VIEWS, 0, 0) as stream:
    with pytest.raises(KeyError, match="a defect"):
      next(stream)
    assert list(stream) == []


def test_closing_early_stops_the_workers():
  index, partner = epoch_plan(0, 0, 40, 4)
  source = Images([flat(k) for k in range(40)])
  with training(source, index, partner, VIEWS, 0, 0) as stream:
    next(stream)
  assert list(stream) == []
  reads = source.reads
  time.sleep(0.05)
  assert source.reads == reads

  def open_stream():
    with training(source, index, partner, VIEWS, 0, 0) as stream:
      yield weakref.ref(stream)

  generator = open_stream()
  stream = next(generator)
  assert stream() is not None
  generator = None
  assert stream() is None  # nothing else references it, so a dropped pipeline stops as well


def test_python_can_exit_in_mid_epoch():
  program = """
import time
import weakref
weakref.finalize(time, print, "the first finalizer, from before TensorFlow is imported")
import numpy as np
from jaxssl.config.schema import ViewConfig
from jaxssl.data.arrays import ArraySource
from jaxssl.data.input_pipeline import training
from jaxssl.data.sampler import epoch_plan
class Slow(ArraySource):
  def read(self, index):
    time.sleep(0.003)
    return super().read(index)
source, plan, views = Slow(np.zeros((512, 32, 32, 3), np.uint8)), epoch_plan(0, 0, 512, 16), {"g": ViewConfig(size=32)}
def batches():
  with training(source, *plan, views, 0, 0) as stream:
    yield from stream
generator = batches()
with training(source, *plan, views, 0, 0) as direct:
  next(direct), next(generator)
  raise SystemExit(3)
"""
  ended = subprocess.run([sys.executable, "-c", program], timeout=300, capture_output=True, text=True)
  assert ended.returncode == 3 and "Exception" not in ended.stderr


@pytest.mark.parametrize("channels", [1, 3])
def test_resident_reads_every_image_once(channels):
  source = Images([flat(k % 256) for k in range(1500)], channels)
  images = resident(source, 0, workers=2)
  assert images.shape == (1500, 8, 8, channels) and images.dtype == np.uint8
  assert (images == (np.arange(1500) % 256)[:, None, None, None]).all() and source.reads == 1500


def test_resident_resizes_images_to_one_size():
  source = Images([coded(photo(k, 100 + 20 * k, 160), "PNG") for k in range(4)])
  images = resident(source, 32)
  assert images.shape == (4, 32, 32, 3)
  for k in range(4):
    assert (images[k] == center(source.read(k), 32, 32)).all()


def test_resident_of_several_sizes_is_an_error():
  source = Images([flat(1), flat(2), flat(3, (8, 10)), flat(4, (9, 9))])
  expected = "data.resident_size=0: images differ in size .made 0 is 8 x 8, made 2 is 10 x 8.; resize all by"
  with pytest.raises(UserError, match=expected):
    resident(source, 0)


@pytest.mark.parametrize("resize,size,method", [(0, 16, "bicubic"), (20, 16, "bilinear"), (16, 16, "bicubic")])
def test_inference_reads_every_image_once_in_order(resize, size, method):
  source = Images([coded(photo(k, 60, 80 + 10 * k)) for k in range(7)])
  index = np.array([[0, 1, 2], [3, 4, 5], [6, -1, -1]])
  output = list(inference(source, index, resize, size, method, workers=2))
  assert len(output) == 3 and source.reads == 7
  for numbers, valid, images in zip(index, index >= 0, output, strict=True):
    assert images.shape == (3, size, size, 3) and images.dtype == np.uint8 and not images[~valid].any()
    for number, image in zip(numbers[valid], images[valid], strict=True):
      assert (image == center(decode(source.files[number], 3, ""), resize, size, method)).all()


def test_a_batch_of_padding_only_is_black():
  """As one of several processes gets it if the last images are those of the others."""
  source = Images([flat(7)])
  output = list(inference(source, np.array([[0, -1], [-1, -1], [-1, -1]]), 0, 4))
  assert [images.max() for images in output] == [7, 0, 0] and source.reads == 1


def test_a_crop_cannot_be_larger_than_the_image():
  with pytest.raises(UserError, match=r"evals.resize=16: smaller than evals.size=20; use 0 .* or at least 20"):
    next(inference(Images([flat(1)]), np.zeros((1, 1), np.int32), 16, 20))
