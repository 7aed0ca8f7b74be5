"""Images of every kind of source are packed with their bytes, names and labels, and train alike."""

import numpy as np
import pytest

from jaxssl.config.schema import DataConfig, ViewConfig
from jaxssl.data import datasets
from jaxssl.data.identity import manifest_of
from jaxssl.data.sampler import epoch_plan
from jaxssl.pack import inputs
from jaxssl.pack.pack import pack
from jaxssl.workdir.image_changes import compare
from tests.data.fixtures import batches
from tests.pack import sources
from tests.pack.sources import CLASSES, FILES, KINDS, LABELS


def opened(path, **fields):
  return datasets.open_datasets(DataConfig(source="packed", path=str(path), **fields), 0)


def packed(tmp_path, data, side=0, **changes):
  pack(data, tmp_path / "packed", shorter_side=side, num_shards=2, num_workers=1, changes=changes)
  config = inputs.data_config(data, changes)
  return opened(tmp_path / "packed").train.source, datasets.open_datasets(config, 0).train.source


def views_of(source):
  index, partner = epoch_plan(0, 0, 12, 4, np.arange(12)[::-1].__getitem__)
  return batches(source, index, partner, {"global": ViewConfig(size=16)})


def same_views(first, second):
  for (_, _, ours), (_, _, theirs) in zip(views_of(first), views_of(second), strict=True):
    np.testing.assert_array_equal(ours["global"], theirs["global"])


@pytest.mark.parametrize("kind", KINDS)
def test_packed_images_have_the_bytes_names_and_labels_of_their_source(kind, tmp_path):
  source, unpacked = packed(tmp_path, **KINDS[kind](tmp_path, FILES))
  assert [source.encoded(k) for k in range(12)] == list(FILES.values())
  assert [source.relative_name(k) for k in range(12)] == list(FILES)
  assert source.classes == CLASSES and source.labels.tolist() == LABELS and unpacked.labels.tolist() == LABELS
  assert not compare(manifest_of(unpacked), manifest_of(source))
  assert source.describe(3) == f"{tmp_path}/packed/cat/3.jpg"
  same_views(source, unpacked)


@pytest.mark.parametrize("file_format", ["tfrecord", "array_record"])
def test_datasets_of_tfds_in_both_formats(file_format, tmp_path):
  source, unpacked = packed(tmp_path, **sources.tfds(tmp_path / file_format, FILES, file_format))
  files = {data: name for name, data in FILES.items()}
  assert [source.encoded(k) for k in range(12)] == [unpacked.encoded(k) for k in range(12)]
  assert {source.encoded(k) for k in range(12)} == set(files) and source.relative_name(0) is None
  names = [files[source.encoded(k)] for k in range(12)]
  assert [source.classes[k] for k in source.labels] == [sources.label_of(name) for name in names]
  assert manifest_of(source).digest == manifest_of(unpacked).digest and manifest_of(source).is_versioned
  same_views(source, unpacked)


def test_labels_in_json(tmp_path):
  source, _ = packed(tmp_path, **sources.as_webdataset(tmp_path, FILES, "json"))
  assert source.classes == ("0", "1") and source.labels.tolist() == LABELS


def test_arrays_are_lossless(tmp_path):
  path, images = sources.arrays(tmp_path)
  pack(path, tmp_path / "packed", num_workers=1)
  sets = opened(tmp_path / "packed")
  assert all((sets.train.source.read(k) == images[k]).all() for k in range(6)) and len(sets.test) == 2
  assert sets.train.source.labels.tolist() == [0, 1] * 3 and sets.test.source.labels.tolist() == [0, 1]
  assert sets.train.source.encoded(0).startswith(b"\x89PNG") and sets.train.source.relative_name(0) is None
  np.save(tmp_path / "deep.npy", images.astype(np.uint16) * 200)
  pack(tmp_path / "deep.npy", tmp_path / "deep", num_workers=1)
  assert (opened(tmp_path / "deep").train.source.read(1) == images[1].astype(np.uint16) * 200).all()


@pytest.mark.parametrize("kind", ["folder", "tar", "tfrecord", "parquet", "numpy"])
def test_kinds_are_recognized(kind, tmp_path):
  data = sources.arrays(tmp_path)[0] if kind == "numpy" else KINDS[kind](tmp_path, FILES)["data"]
  assert inputs.kind_of(data) == {"tar": "webdataset"}.get(kind, kind)
