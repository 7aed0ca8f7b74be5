"""Damaged manifests of training images."""

import hashlib
import json
import pathlib
import tracemalloc
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxssl.workdir import manifest
from jaxssl.workdir.image_changes import changes_since
from jaxssl.workdir.manifest import Manifest
from jaxssl.workdir.workdir import Workdir
from tests.security.damage import damaged, text_of
from tests.security.guarded import answer, bounded, examples


def images(start: int) -> Manifest:
  names = "".join(f"cat/{k}.png\0" for k in range(start, start + 20)).encode()
  return Manifest(count=20, names=names, fingerprints=np.arange(20) + 1)


TRAINED, OTHER = images(0), images(1)


def stored(folder: pathlib.Path) -> Workdir:
  workdir = Workdir(folder)
  versions = [manifest.version(TRAINED, {"test": OTHER}, 0, 0, held_out=20), manifest.version(TRAINED, {}, 5, 2, added=1)]
  manifest.write(workdir, versions, TRAINED, OTHER)
  return workdir


def has_changed(workdir: Workdir, new: Manifest) -> bool:
  """Compares images with the newest version, and reads all others."""
  versions = manifest.read(workdir)
  for version in versions:
    manifest.load(workdir, version)
    if version.held_out:
      manifest.load(workdir, version, held_out=True)
  changes = changes_since(workdir, versions[-1], new)
  return bool(changes and str(changes))


def changed(workdir: Workdir, **fields) -> None:
  document = json.loads(workdir.images.read_text())
  document["versions"] = [document["versions"][0] | fields]
  workdir.images.write_text(json.dumps(document))


@examples(150)
@given(st.data())
def test_a_damaged_manifest_never_accepts_other_images(tmp_path, data):
  workdir = stored(tmp_path)
  path = data.draw(st.sampled_from(sorted(workdir.all_image_names()) + [workdir.images]))
  content = path.read_bytes()
  path.write_bytes(data.draw(text_of(json.loads(content)) if path == workdir.images else damaged(content)))
  try:
    assert answer(lambda: has_changed(workdir, OTHER), tmp_path) in (True, None)
    assert answer(lambda: has_changed(workdir, TRAINED), tmp_path) in (True, False, None)
  finally:
    path.write_bytes(content)


@pytest.mark.parametrize("count", [1, 20, 10**6, 2**40, 2**62])
@pytest.mark.parametrize("kind", ["", "k"])
def test_lists_that_expand_are_cut_off(count, kind, tmp_path, monkeypatch):
  monkeypatch.setattr(manifest, "MAX_BYTES", 2**20)
  workdir, bomb = stored(tmp_path), bytes(2**26)
  digest = hashlib.sha256(bomb).hexdigest()
  changed(workdir, images=count, sha256=digest, kind=kind)
  workdir.image_names(digest).write_bytes(zlib.compress(bomb))
  tracemalloc.start()
  try:
    assert answer(lambda: has_changed(workdir, OTHER), tmp_path) is None
    assert tracemalloc.get_traced_memory()[1] < 2**24
  finally:
    tracemalloc.stop()


def test_a_count_without_a_list_takes_no_memory(tmp_path):
  workdir, count = stored(tmp_path), 2**50
  changed(workdir, images=count, sha256=hashlib.sha256(f"{count} images of k".encode()).hexdigest(), kind="k", held_out=0)
  with bounded():
    assert answer(lambda: has_changed(workdir, OTHER), tmp_path)
