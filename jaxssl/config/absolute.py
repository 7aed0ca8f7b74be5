"""Makes the paths in a config absolute: a run must not depend on the folder in which its command was given."""

import os
from typing import Any

from jaxssl.config.schema import Config
from jaxssl.core import paths, tree

DATA_SOURCE = "data.source"
DATA_PATHS = ("data.path", "data.test_path", "data.list_path")  # a run may change them if its images remain the same
OF_FILES = ("folder", "packed", "webdataset", "tfrecord", "parquet", "numpy")  # sources whose paths are those of files
OF_DENSE = ("images", "masks", "list_path", "test_images", "test_masks", "test_list_path")


def absolute_paths(config: Config) -> Config:
  """Returns the config with absolute paths, ~ resolved.

  The paths of sources that read files, `evals.dense`, `evals.lowshot.lists` and `model.init_from` always change; those of
  other sources, which may be names, only if there is such a file or folder, and names of TFDS never.
  """
  fields = {"model.init_from": config.model.init_from, "data.stage": config.data.stage}
  fields |= {f"evals.dense.{name}": getattr(config.evals.dense, name) for name in OF_DENSE}
  for field in DATA_PATHS if config.data.source != "tfds" else ():
    text = getattr(config.data, field.removeprefix("data."))
    if config.data.source in OF_FILES or os.path.exists(os.path.expanduser(text)):
      fields[field] = text
  changed: dict[str, Any] = {name: _absolute(text) for name, text in fields.items() if text}
  lists = tuple(map(_absolute, config.evals.lowshot.lists))
  return tree.replace(config, changed | {"evals.lowshot.lists": lists})


def _absolute(text: str) -> str:
  return text if "://" in text else paths.absolute(text)
