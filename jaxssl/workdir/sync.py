"""Local copies of a workdir, for buckets and for processes other than the first."""

import contextlib
import pathlib
import tempfile

from jaxssl.core import LOG, Unavailable, paths
from jaxssl.parallel.processes import barrier, is_primary
from jaxssl.workdir.workdir import Workdir


class LocalWorkdir(Workdir):
  """A workdir on this machine's disk, for the files that a run writes itself; checkpoints go to the original.

  The first process uses the original if that is local. Other processes have a temporary copy of its files, so that all of
  them read and decide the same. Every process has a copy of a workdir in a bucket; `upload` writes back the first.
  """

  def __init__(self, original: Workdir):
    self._original = original
    self._remote = not paths.is_local(original.folder)
    self._temporary = tempfile.TemporaryDirectory(prefix="jaxssl-") if self._remote or not is_primary() else None
    super().__init__(pathlib.Path(self._temporary.name) if self._temporary else original.folder)
    self.checkpoints = original.checkpoints
    self._uploaded: dict[pathlib.Path, tuple[int, int]] = {}

  def __enter__(self) -> "LocalWorkdir":
    with contextlib.ExitStack() as on_error:
      if self._temporary:
        on_error.callback(self._temporary.cleanup)
        for path in self._original.folder.iterdir():
          if not path.is_dir():
            with contextlib.suppress(FileNotFoundError):  # one that is being replaced
              (self.folder / path.name).write_bytes(paths.read_bytes(path))
      barrier("before the workdir is written")
      on_error.pop_all()
    return self

  def upload(self) -> None:
    """Writes files that have changed to the bucket, if the workdir is in one."""
    if not self._remote or not is_primary():
      return
    for path in self.folder.rglob("*"):
      state = path.stat()
      if path.is_file() and self._uploaded.get(path) != (state.st_mtime_ns, state.st_size):
        paths.upload(path, self._original.folder / str(path.relative_to(self.folder)))
        self._uploaded[path] = state.st_mtime_ns, state.st_size

  def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
    try:
      self.upload()
    except (OSError, Unavailable) as error:
      if kind is None:
        raise
      LOG.error("%s", error)  # what ended the block matters more
    finally:
      if self._temporary:
        self._temporary.cleanup()
