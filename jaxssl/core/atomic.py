"""Writes files atomically."""

import contextlib
import os
import pathlib
from collections.abc import Iterator

from jaxssl.core import retry


@contextlib.contextmanager
def replacing(path: pathlib.Path) -> Iterator[pathlib.Path]:
  """Yields a temporary path that replaces `path` if the block does not raise, so that no reader gets a partial file."""
  temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
  try:
    yield temporary
    temporary.replace(path)
  except BaseException:
    temporary.unlink(missing_ok=True)
    raise


def write_text(path: pathlib.Path, text: str) -> None:
  """Writes text, in UTF-8, as `replacing` does."""

  def write() -> None:
    with replacing(path) as temporary:
      temporary.write_text(text, encoding="utf-8")

  retry.call(f"writing {path}", write)
