"""Opens the training and the test split of a folder or a zip."""

import numpy as np

from jaxssl.config.schema import DataConfig
from jaxssl.core import LOG, UserError
from jaxssl.data import layout, layout_table
from jaxssl.data.folder import FolderSource
from jaxssl.data.listing import list_images
from jaxssl.data.source import register


@register("folder", ("path", "test_path", "list_path"))
def open_folder(config: DataConfig) -> tuple[FolderSource, FolderSource | None]:
  """Opens `data.path`, and the test split there or in `data.test_path`. Returns train and test (None without one).

  Logs a table of the folders and their roles. Raises UserError if it is not certain what to train on, if there is nothing to
  train on, or if the test split has a class that the training split lacks.
  """
  splits = _splits(config.path, "data.path", config, strict=True)
  train, test, field = splits["train"], splits.get("test"), "data.path"
  classes = train.found_classes
  if len(classes) == 1:
    LOG.info("data.path=%s: no labels, since there are fewer than two class folders", config.path)
    classes = ()
  train.label(classes, field)
  if config.test_path:
    field = "data.test_path"
    splits = _splits(config.test_path, field, config)
    test = splits.get("test") or splits["train"]
  if test:
    test.label(classes, field)
  return train, test


def open_whole(config: DataConfig) -> dict[str, FolderSource]:
  """Opens all images under `data.path` by split: "train", "test", and the names of other folders. Classes may differ.

  Raises UserError if there is no image.
  """
  splits = _splits(config.path, "data.path", config)
  classes = tuple(sorted(set().union(*(split.found_classes for split in splits.values()))))
  for split in splits.values():
    split.label(classes if len(classes) > 1 else (), "data.path")
  return splits


def _splits(path: str, field: str, config: DataConfig, strict: bool = False) -> dict[str, FolderSource]:
  """Opens the images by role, without labels. Raises UserError if `strict` and the layout has a problem."""
  index = list_images(path, field)
  found = layout.layout_of(index.folders)
  for line in layout_table.table(found.folders, np.bincount(index.folder, minlength=len(index.folders)).tolist()):
    LOG.info("  %s", line)
  if strict and found.problem:
    raise UserError(f"{field}={path}: {found.problem}")
  labels, rows = [folder.label for folder in found.folders], {"train": list[int](), "test": list[int]()}
  for k, folder in enumerate(found.folders):
    other = f"{folder.top}, left out" if folder.top in rows else folder.top or "no folder"
    rows.setdefault(folder.role if folder.role in rows else other, []).append(k)
  splits = {name: np.flatnonzero(np.isin(index.folder, own)) for name, own in rows.items() if own}
  return {name: FolderSource(index, positions, labels, config) for name, positions in splits.items()}
