"""Recognizes images that are not those of a run, so that measurements on them are kept apart by name."""

import dataclasses
import hashlib
import pathlib
from collections.abc import Mapping

from jaxssl.config.schema import Config, DataConfig
from jaxssl.data.datasets import Datasets, OtherImages
from jaxssl.workdir import manifest
from jaxssl.workdir.manifest import Manifest
from jaxssl.workdir.workdir import Workdir

SELECTION = ("test_path", "list_path", "limit", "imbalance")  # fields of data that tell apart sets of images of one path


def named(workdir: Workdir, own: Config, opened: Datasets, images: Manifest, others: Mapping[str, Manifest]) -> Datasets:
  """Names datasets whose images are not those that the run in `workdir` is trained and tested on; returns the others unchanged.

  own: the run's config; images, others: of the training images and the other sets, as `identity.manifests`.
  """
  versions = manifest.read(workdir)
  digests = {name: other.digest for name, other in others.items()}
  same_place = _place(own.data) == _place(opened.config)
  if not versions:  # a run of an older version does not know its images
    is_own = same_place and not _selection(own, opened)
  else:
    is_own = same_place and (images.digest, digests) == (versions[-1].sha256, dict(versions[-1].other_sets))
  if is_own:
    return opened
  name = ", ".join([_place(opened.config), *(_selection(own, opened) if same_place else ())])
  digest = hashlib.sha256(repr((images.digest, sorted(digests.items()))).encode()).hexdigest()[:16]
  return dataclasses.replace(opened, other=OtherImages(name=name, digest=digest))


def _place(data: DataConfig) -> str:
  """Returns the name of the folder, zip or dataset; it may have moved to another folder."""
  return pathlib.PurePath(data.path).name or data.source


def _selection(own: Config, opened: Datasets) -> list[str]:
  """Describes by which fields two sets of images of one place differ."""
  pairs = {f"data.{name}": (getattr(own.data, name), getattr(opened.config, name)) for name in SELECTION}
  pairs["evals.holdout"] = own.evals.holdout, opened.held_out
  return [f"{name}={_short(value)}" for name, (before, value) in pairs.items() if value != before]


def _short(value: object) -> str:
  if isinstance(value, str):
    return pathlib.PurePath(value).name
  return str(getattr(value, "kind", value))
