"""Local copies of a workdir, for buckets and for secondary processes."""

import contextlib
import pathlib
import tempfile

from jaxssl.core import paths
from jaxssl.parallel.processes import barrier, is_primary


class LocalWorkdir:
  """The folder on this machine where a process notes what the run does.

  The first one's is the workdir. Others have a copy of the workdir's files that is gone afterwards, so that all of them read,
  decide and compute the same. Of a workdir in a bucket every process has a copy, and `publish` brings the first one's back.
  """

  def __init__(self, workdir: pathlib.Path):
    self._workdir = workdir
    self._remote = not paths.is_local(workdir)
    self._temporary = tempfile.TemporaryDirectory(prefix="jaxssl-") if self._remote or not is_primary() else None
    self.folder = pathlib.Path(self._temporary.name) if self._temporary else workdir
    self._published: dict[pathlib.Path, tuple[int, int]] = {}

  def __enter__(self) -> "LocalWorkdir":
    if self._temporary:
      for path in self._workdir.iterdir():
        if not path.is_dir():
          with contextlib.suppress(OSError):  # such as one that is being replaced
            (self.folder / path.name).write_bytes(path.read_bytes())
    barrier("before the workdir is written")
    return self

  def publish(self) -> None:
    """Writes files that have changed to the bucket, if the workdir is in one."""
    if not self._remote or not is_primary():
      return
    for path in self.folder.rglob("*"):
      state = path.stat()
      if path.is_file() and self._published.get(path) != (state.st_mtime_ns, state.st_size):
        paths.upload(path, self._workdir / str(path.relative_to(self.folder)))
        self._published[path] = state.st_mtime_ns, state.st_size

  def __exit__(self, *_: object) -> None:
    self.publish()
    if self._temporary:
      self._temporary.cleanup()
