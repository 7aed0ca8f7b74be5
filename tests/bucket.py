"""A fake bucket for etils' paths: gs://NAME/... is FOLDER/NAME/... on the local disk."""

import os
import pathlib
from typing import Any

from etils.epath import backend, gpath


class Backend:
  """Maps operations on a bucket to a local folder."""

  def __init__(self, folder: pathlib.Path):
    self.folder = folder

  def _here(self, value: Any) -> Any:
    text = os.fspath(value) if isinstance(value, os.PathLike) else value
    return f"{self.folder}/{text[5:]}" if isinstance(text, str) and text.startswith("gs://") else value

  def __getattr__(self, name: str) -> Any:
    return lambda *args, **kwargs: getattr(backend.os_backend, name)(*map(self._here, args), **kwargs)

  def glob(self, path: str) -> list[str]:
    return ["gs://" + os.path.relpath(match, self.folder) for match in backend.os_backend.glob(self._here(path))]


def install(folder: pathlib.Path, monkeypatch: Any) -> None:
  """Maps gs:// to `folder`."""
  monkeypatch.setattr(gpath, "_is_tf_installed", lambda: False)
  monkeypatch.setitem(gpath._PREFIX_TO_BACKEND, "gs", Backend(folder))
