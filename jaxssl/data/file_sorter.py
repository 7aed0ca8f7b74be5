"""Sorts the files of a dataset: which are images, and what else is there."""

import collections
import os
from collections.abc import Iterator

from jaxssl.core import LOG
from jaxssl.data.file_kinds import ENDINGS

# Folders of operating systems and of network storage: thumbnails, deleted, repaired and earlier files
SYSTEM_FOLDERS = {
  *("__macosx", "@eadir", "@recycle", "#recycle", "$recycle.bin", "lost+found", "system volume information"),
  *("#snapshot", "~snapshot", "@recently-snapshot"),
}
# Endings of other images, whose absence must not go unnoticed
OTHER_IMAGES = frozenset(
  ".arw .cr2 .cr3 .dcm .dng .exr .fits .hdr .heic .heif .ico .jxl .nef .nii .orf .psd .raf .raw .rw2 .svs .svg .tga".split()
)
ARCHIVES = frozenset(
  ".zip .tar .gz .tgz .bz2 .xz .zst .7z .rar .tfrecord .tfrecords .parquet .arrow .h5 .hdf5 .lmdb .npz".split()
)
_SHOWN = 12  # kinds of skipped files that are listed


class FileSorter:
  """Sorts names: images by folder, and all else by what it is."""

  def __init__(self) -> None:
    self.files: dict[str, list[bytes]] = {}
    self.skipped: collections.Counter[str] = collections.Counter()
    self.links: list[str] = []  # to folders that are listed already
    self.broken: list[str] = []  # links to folders or files that do not exist, unless they have the ending of an image

  def is_image(self, name: str) -> bool:
    """Returns whether a file is an image, by its ending; counts it if not."""
    lower = name.lower()
    if lower.endswith(ENDINGS) and not lower.startswith("."):
      return True
    self.skipped["hidden" if lower.startswith(".") else os.path.splitext(lower)[1] or "without an ending"] += 1
    return False

  def is_left_out(self, folder: str) -> bool:
    """Returns whether a folder is hidden or a system's own; counts it if so."""
    left_out = folder.startswith(".") or folder.lower() in SYSTEM_FOLDERS
    if left_out:
      self.skipped[f"folder {folder}"] += 1
    return left_out

  def normalized(self, folder: str) -> str | None:
    """Returns a folder of an archive without empty parts and parts that point elsewhere; None if it is left out."""
    parts = [part for part in folder.split("/") if part not in ("", ".", "..")]
    return None if any([self.is_left_out(part) for part in parts]) else "/".join(parts)

  def add(self, other: "FileSorter") -> None:
    """Adds what another one has sorted, in other folders."""
    self.files.update(other.files)
    self.skipped.update(other.skipped)
    self.links += other.links
    self.broken += other.broken

  def counts(self) -> str:
    """Returns what was skipped and how often, the most frequent first."""
    most = [f"{count} {kind}" for kind, count in self.skipped.most_common(_SHOWN)]
    more = len(self.skipped) - len(most)
    return ", ".join(most) + (f", and {more} other kinds" if more > 0 else "")

  def report(self, path: str, images: int) -> None:
    """Logs what was skipped, as a warning if it may be images to train on. `images`: the number of those that were found."""
    if self.skipped:
      remedies = list(self._remedies(images))
      (LOG.warning if remedies else LOG.info)("%s", "; ".join([f"{path}: skipped: {self.counts()}", *remedies]))
    if self.links:
      LOG.warning("%s: skipped %d links to folders that are listed already, e.g. %s", path, len(self.links), self.links[0])
    if self.broken:
      LOG.warning("%s: skipped %d links to what does not exist, e.g. %s", path, len(self.broken), self.broken[0])

  def _remedies(self, images: int) -> Iterator[str]:
    """Yields what to do about skipped files that may be images."""
    if unread := sorted(OTHER_IMAGES & set(self.skipped)):
      yield f"{' '.join(unread)} cannot be read: convert them, e.g. to PNG"
    if archives := sorted(ARCHIVES & set(self.skipped)):
      yield f"{' '.join(archives)} may contain images: unpack them"
    similar = sorted(kind for kind in self.skipped if kind.startswith(ENDINGS))  # .jpg_large, .jpg?size=300
    if similar or self.skipped["without an ending"] > max(10, images // 10):
      yield f"rename images {similar[0] if similar else 'without an ending'} to end in e.g. .jpg"
