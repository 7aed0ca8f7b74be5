"""Manifests of training images on disk, and what differs between two of them."""

import numpy as np
import pytest

from jaxssl.core import UserError, json_io
from jaxssl.workdir import manifest
from jaxssl.workdir.image_changes import changes_since, compare
from jaxssl.workdir.manifest import Manifest
from jaxssl.workdir.workdir import Workdir


def images(**sizes: int) -> Manifest:
  names = "".join(f"{name}\0" for name in sizes).encode("utf-8", "surrogateescape")
  return Manifest(count=len(sizes), names=names, fingerprints=np.array(list(sizes.values()), np.int64))


def nameless(hashes: list[int], kind: str = "k") -> Manifest:
  return Manifest(count=len(hashes), kind=kind, fingerprints=np.array(hashes, np.int64))


OLD = images(**{"a.png": 10, "b.png": 20, "c.png": 30})


@pytest.mark.parametrize(
  "new, before, text",
  [
    ({"a.png": 10, "b.png": 20, "c.png": 30, "d.png": 40}, [0, 1, 2, -1], "1 added (first: d.png)"),
    ({"0.png": 7, "00.png": 7, "a.png": 10, "b.png": 20, "c.png": 30}, [-1, -1, 0, 1, 2], "2 added (first: 0.png)"),
    ({"a.png": 10, "c.png": 30}, [0, 2], "1 removed (first: b.png)"),
    ({"a.png": 10, "c.png": 30, "z.png": 20}, [0, 2, -1], "1 renamed (first: b.png, now z.png)"),
    ({"a.png": 10, "b.png": 21, "c.png": 30}, [0, -1, 2], "1 of other content (first: b.png)"),
    ({"c.png": 30, "b.png": 20, "a.png": 10}, [2, 1, 0], "3 images are the same, but in another order"),
    (
      {"a.png": 10, "b.png": 9, "x.png": 30, "y.png": 50},
      [0, -1, -1, -1],
      "1 added (first: y.png), 1 renamed (first: c.png, now x.png), 1 of other content (first: b.png)",
    ),
    ({"d/a.png": 10, "d/b.png": 20, "d/c.png": 30}, [-1, -1, -1], "3 renamed (first: a.png, now d/a.png)"),
    ({"x.png": 20, "y.png": 20, "z.png": 20}, [-1, -1, -1], "3 added (first: x.png), 3 removed (first: a.png)"),  # ambiguous
  ],
)
def test_changes_are_counted_named_and_mapped(new, before, text):
  changes = compare(OLD, images(**new))
  assert changes and changes.before.dtype == np.int32 and changes.before.tolist() == before and str(changes) == text
  assert OLD.digest != images(**new).digest


def test_a_renamed_folder_is_recognized_by_sizes_that_are_not_unique():
  old = images(**{"a/1.bmp": 10, "a/2.bmp": 10, "b/1.bmp": 10, "b/2.bmp": 20})
  changes = compare(old, images(**{"c/1.bmp": 10, "c/2.bmp": 10, "b/1.bmp": 10, "b/2.bmp": 20}))
  assert str(changes) == "2 renamed (first: a/1.bmp, now c/1.bmp)"


def test_a_renaming_in_case_only_is_recognized():
  old = images(**{f"{c}/{k}.BMP": 10 for c in "A" for k in range(3)})
  assert str(compare(old, images(**{f"a/{k}.bmp": 10 for k in range(3)}))) == "3 renamed (first: A/0.BMP, now a/0.bmp)"


def test_the_same_images_have_no_changes_and_unknown_sizes_match():
  assert not compare(OLD, images(**{"a.png": 10, "b.png": 20, "c.png": 30}))
  remote = images(**{"a.png": -1, "b.png": -1, "c.png": -1})
  assert not compare(OLD, remote) and OLD.digest != remote.digest


def test_images_without_names_are_compared_by_number_and_kind():
  old = nameless([-1] * 3, "1 channels of uint8")
  assert not compare(old, nameless([-1] * 3, "1 channels of uint8"))
  changes = compare(old, nameless([-1] * 4, "3 channels of uint8"))
  assert str(changes) == "4 images of 3 channels of uint8 instead of 3 of 1 channels of uint8" and (changes.before == -1).all()


@pytest.mark.parametrize(
  "new, before, text",
  [
    ([5, 6, 7, 7, 9], [0, 1, 2, 3, -1], "1 added (first: image 4)"),
    ([5, 7, 7], [0, 2, 3], "1 removed (first: image 1)"),
    ([5, 6, 7], [0, 1, 2], "1 removed (first: image 3)"),  # one of two equal ones
    ([7, 6, 5, 7], [2, 1, 0, 3], "4 images are the same, but in another order"),
    ([5, 6, 7, 8], [0, 1, 2, -1], "1 of other content (first: image 3)"),
    ([5, -1, -1, 8], [-1] * 4, "1 of other content (first: image 3)"),  # a sample
    ([5, -1, -1, 7], None, ""),
    ([5, -1, 7], [-1] * 3, "3 images of k instead of 4 of k"),
  ],
)
def test_images_without_names_are_compared_by_hashes(new, before, text):
  changes = compare(nameless([5, 6, 7, 7]), nameless(new))
  assert bool(changes) == bool(text) and changes.are_matched == (-1 not in new)
  if text:
    assert str(changes) == text and changes.before.tolist() == before


NAMED = images(**{"a\nb.png": 1, "\udcff.png": 2, "ä/ .png": -1})


@pytest.mark.parametrize("stored", [NAMED, nameless([-1, -1]), nameless([7, -1]), nameless([7, 8])])
def test_a_manifest_is_written_and_read(stored, tmp_path):
  workdir = Workdir(tmp_path)
  assert manifest.read(workdir) == []
  version = manifest.version(stored, {"test": OLD}, 7, 2, added=1)
  manifest.write(workdir, [manifest.version(OLD, {}, 0, 0), version], stored)
  assert manifest.read(workdir)[1] == version and version.other_sets == {"test": OLD.digest}
  loaded = manifest.load(workdir, version)
  assert loaded.digest == stored.digest and [loaded.name(k) for k in range(2)] == [stored.name(k) for k in range(2)]
  assert changes_since(workdir, version, stored) is None
  if stored.names is not None:
    assert stored.name(0) == "a\nb.png" and stored.name(1) == "\udcff.png"


def test_the_version_of_a_checkpoint_is_the_last_that_began_before_it():
  versions = [manifest.version(OLD, {}, step, 0) for step in (0, 8, 12)]
  assert [manifest.at(versions, step).step for step in (4, 8, 9, 12, 13)] == [0, 0, 8, 8, 12]


def test_a_million_names_take_few_bytes(tmp_path):
  count = 100_000
  names = "".join(f"n{k % 1000:08}/n{k % 1000:08}_{k}.JPEG\0" for k in range(count)).encode()
  large = Manifest(count=count, names=names, fingerprints=np.arange(count))
  manifest.write(Workdir(tmp_path), [manifest.version(large, {}, 0, 0)], large)
  assert sum(path.stat().st_size for path in tmp_path.iterdir()) < 12 * count and sum(map(len, large.packed())) < 50 * count


def test_lists_that_no_version_needs_are_deleted(tmp_path):
  workdir = Workdir(tmp_path)
  one, two, held_out = images(**{"a.png": 1}), images(**{"b.png": 2}), images(**{"c.png": 3})
  versions = [manifest.version(one, {"test": held_out}, 0, 0, held_out=1), manifest.version(two, {}, 5, 1)]
  manifest.write(workdir, versions[:1], one, held_out)
  manifest.write(workdir, versions, two)
  kept = {workdir.image_names(m.digest) for m in (one, two, held_out)}
  (tmp_path / "images-of-mine.zlib").touch()
  assert workdir.all_image_names() == kept and manifest.load(workdir, versions[0], held_out=True).digest == held_out.digest
  manifest.write(workdir, versions[:1], one, held_out)  # resumes before the change
  assert workdir.all_image_names() == kept - {workdir.image_names(two.digest)} and (tmp_path / "images-of-mine.zlib").exists()


@pytest.mark.parametrize("damage", [b"", b"no zlib", None])
def test_damaged_names_are_one_line(damage, tmp_path):
  workdir = Workdir(tmp_path)
  version = manifest.version(OLD, {}, 0, 0)
  manifest.write(workdir, [version], OLD)
  path = workdir.image_names(OLD.digest)
  path.unlink() if damage is None else path.write_bytes(damage)
  with pytest.raises(UserError, match="the list of the training images, cannot be read"):
    changes_since(workdir, version, images(**{"a.png": 1}))


@pytest.mark.parametrize("field, value", [("sha256", "../../etc"), ("step", -1), ("images", "3"), ("epoch", 2**70)])
def test_a_damaged_list_of_versions_is_one_line(field, value, tmp_path):
  workdir = Workdir(tmp_path)
  manifest.write(workdir, [manifest.version(OLD, {}, 0, 0)], OLD)
  document = json_io.read(workdir.images)
  document["versions"][0][field] = value
  json_io.write(workdir.images, document)
  with pytest.raises(UserError, match=r"images\.json cannot be read: "):
    manifest.read(workdir)
