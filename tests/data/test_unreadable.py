"""Unreadable images are substituted, logged once and counted; too many are an error."""

import logging
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from jaxssl.core import UserError
from jaxssl.data.file_kinds import UnsupportedImage
from jaxssl.data.unreadable import SkipUnreadable, SubstituteUnreadable
from tests.data.fixtures import Images, coded, flat, noise, tiff

TRUNCATED = coded(noise(height=40, width=40))[:-300]


def images(n=300, **bad):
  return Images([bad.get(f"_{k}", flat(k % 256)) for k in range(n)])


@pytest.mark.parametrize("bad", [b"", b"nothing", TRUNCATED, None], ids=["empty", "nothing", "truncated", "vanished"])
def test_the_next_readable_image_is_substituted(bad, tmp_path, caplog):
  source = SubstituteUnreadable(images(_7=bad, _8=bad, _299=bad), tmp_path)
  assert len(source) == 300
  for _ in range(2):
    assert [source.read(k)[0, 0, 0] for k in (6, 7, 8, 9, 299)] == [6, 9, 9, 9, 0]
  assert len(source.unreadable) == 3
  assert (tmp_path / "bad_files.txt").read_text().splitlines() == ["made 7", "made 8", "made 299"]
  assert [r.getMessage().count("made 7") for r in caplog.records] == [1, 0, 0]
  assert source.encoded(7) == source.encoded(9) == flat(9)


def test_a_restart_appends_no_name_twice(tmp_path):
  assert SubstituteUnreadable(images(_7=None, _9=None), tmp_path / "new").read(3)[0, 0, 0] == 3
  assert not list(tmp_path.iterdir())
  for _ in range(2):
    assert SubstituteUnreadable(images(_7=None, _9=None), tmp_path / "new").encoded(7) == flat(8)
  source = SubstituteUnreadable(images(_7=None, _9=None), tmp_path / "new")
  source.read(9), source.read(7)
  assert (tmp_path / "new/bad_files.txt").read_text() == "made 7\nmade 9\n"


def test_images_are_substituted_without_a_writable_workdir(tmp_path, caplog):
  (tmp_path / "file").touch()
  for workdir in (None, tmp_path / "file"):
    assert SubstituteUnreadable(images(_7=None), workdir).read(7)[0, 0, 0] == 8
  assert caplog.text.count("cannot read made 7") == 2 and "cannot write" in caplog.text


@pytest.mark.parametrize("n,allowed", [(300, 3), (20, 1), (250, 2)])
def test_more_than_one_percent_is_an_error(n, allowed):
  files = [None] * (allowed + 1) + [flat(k % 256) for k in range(n - allowed - 1)]
  source = SubstituteUnreadable(Images(files))
  for k in reversed(range(1, allowed + 1)):
    source.read(k)
  count = f"{allowed + 1} of {n} images are unreadable"
  with pytest.raises(UserError, match=rf"made: {count} \(limit: 1%\), e.g. made {allowed}.*\. Fix"):
    source.read(0)
  with pytest.raises(UserError, match="made: all 1 images are unreadable"):
    SubstituteUnreadable(Images([None])).read(0)


def test_threads_log_an_image_once(tmp_path, caplog):
  caplog.set_level(logging.WARNING, "jaxssl")
  barrier = threading.Barrier(8)

  class Together(Images):
    def read(self, index):
      if index == 5:
        barrier.wait()
      return super().read(index)

  source = SubstituteUnreadable(Together(images(_5=None).files), tmp_path)
  with ThreadPoolExecutor(8) as pool:
    assert {int(image[0, 0, 0]) for image in pool.map(source.read, [5] * 8)} == {6}
  assert (tmp_path / "bad_files.txt").read_text() == "made 5\n"
  assert len(caplog.records) == 1 and len(source.unreadable) == 1


def test_labels_do_not_depend_on_reads():
  files = images(_7=None, _8=None)
  files.labels = np.arange(300, dtype=np.int32)
  files.classes = tuple(map(str, range(300)))
  first, second = SubstituteUnreadable(files), SubstituteUnreadable(files)  # as in two processes
  first.read(7)
  assert first.read(7)[0, 0, 0] == 9 and first.unreadable and not second.unreadable
  assert (first.labels == second.labels).all() and (first.labels == np.arange(300)).all() and first.classes == files.classes


@pytest.mark.parametrize("wrapped", [SubstituteUnreadable, lambda source: SkipUnreadable(source, np.arange(len(source)), 0)])
def test_unsupported_images_stop_and_are_never_counted(wrapped):
  files = [flat(1), tiff(np.zeros((4, 4, 3), np.float32), photometric="rgb"), *[flat(2)] * 200]
  source = wrapped(Images(files))
  assert source.read(0).mean() == 1
  with pytest.raises(UnsupportedImage, match="made 1: floating-point pixels; scale them to integers, uint8 or uint16"):
    source.read(1)
  assert not source.unreadable
