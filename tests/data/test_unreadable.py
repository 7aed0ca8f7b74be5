"""Bad images: replaced, named once, counted, and too many are an error."""

import logging
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from jaxssl.core.errors import UserError
from jaxssl.data.unreadable import SubstituteUnreadable
from tests.data.fixtures import Images, coded, flat, noise

TRUNCATED = coded(noise(height=40, width=40))[:-300]


def images(n=300, **bad):
  return Images([bad.get(f"_{k}", flat(k % 256)) for k in range(n)])


@pytest.mark.parametrize("bad", [b"", b"nothing", TRUNCATED, None], ids=["empty", "nothing", "truncated", "vanished"])
def test_the_next_readable_image_stands_in(bad, tmp_path, caplog):
  guard = SubstituteUnreadable(images(_7=bad, _8=bad, _299=bad), tmp_path)
  assert len(guard) == 300
  for _ in range(2):
    assert [guard.read(k)[0, 0, 0] for k in (6, 7, 8, 9, 299)] == [6, 9, 9, 9, 0]
  assert len(guard.bad) == 3
  assert (tmp_path / "bad_files.txt").read_text().splitlines() == ["made 7", "made 8", "made 299"]
  assert [r.getMessage().count("made 7") for r in caplog.records] == [1, 0, 0]
  assert guard.encoded(7) == guard.encoded(9) == flat(9)


def test_a_vanished_image_has_no_bytes_either(tmp_path):
  guard = SubstituteUnreadable(images(_7=None), tmp_path)
  assert guard.encoded(7) == flat(8) and len(guard.bad) == 1
  assert (tmp_path / "bad_files.txt").read_text() == "made 7\n"


def test_a_restart_names_nothing_twice(tmp_path):
  for _ in range(2):
    SubstituteUnreadable(images(_7=None, _9=None), tmp_path / "new").read(7)
  guard = SubstituteUnreadable(images(_7=None, _9=None), tmp_path / "new")
  guard.read(9), guard.read(7)
  assert (tmp_path / "new/bad_files.txt").read_text() == "made 7\nmade 9\n"


def test_nothing_is_written_while_all_is_well(tmp_path):
  guard = SubstituteUnreadable(images(), tmp_path)
  assert guard.read(3)[0, 0, 0] == 3 and len(guard.bad) == 0
  assert not list(tmp_path.iterdir())


def test_without_a_place_to_write(tmp_path, caplog):
  (tmp_path / "file").touch()
  for workdir in (None, tmp_path / "file"):
    assert SubstituteUnreadable(images(_7=None), workdir).read(7)[0, 0, 0] == 8
  assert caplog.text.count("cannot read made 7") == 2 and "cannot write" in caplog.text


@pytest.mark.parametrize("n,allowed", [(300, 3), (20, 1), (250, 2)])
def test_more_than_one_in_a_hundred_is_an_error(n, allowed):
  source = Images([None] * (allowed + 1) + [flat(k % 256) for k in range(n - allowed - 1)])
  guard = SubstituteUnreadable(source)
  for k in reversed(range(1, allowed + 1)):
    guard.read(k)
  with pytest.raises(
    UserError, match=rf"made: {allowed + 1} of {n} images cannot be read, more than 1%: .* first: made {allowed}"
  ):
    guard.read(0)


def test_nothing_readable_at_all():
  with pytest.raises(UserError, match="made: none of its 1 images can be read"):
    SubstituteUnreadable(Images([None])).read(0)


def test_many_threads_name_a_image_once(tmp_path, caplog):
  caplog.set_level(logging.WARNING, "jaxssl")
  barrier = threading.Barrier(8)

  class Together(Images):
    def read(self, index):
      if index == 5:
        barrier.wait()
      return super().read(index)

  guard = SubstituteUnreadable(Together(images(_5=None).files), tmp_path)
  with ThreadPoolExecutor(8) as pool:
    assert {int(image[0, 0, 0]) for image in pool.map(guard.read, [5] * 8)} == {6}
  assert (tmp_path / "bad_files.txt").read_text() == "made 5\n"
  assert len(caplog.records) == 1 and len(guard.bad) == 1


def test_the_label_goes_with_the_image():
  source = images(_7=None, _8=None)
  source.labels = np.arange(300, dtype=np.int32)
  source.classes = tuple(map(str, range(300)))
  guard = SubstituteUnreadable(source)
  assert guard.labels is source.labels and guard.classes == source.classes
  guard.read(7)
  assert guard.labels[[6, 7, 8, 9]].tolist() == [6, 9, 9, 9]
  assert source.labels[7] == 7
