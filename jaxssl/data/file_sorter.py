"""Sorts the files of a dataset: which are images, and what else is there."""

import collections
import os

from jaxssl.core import LOG
from jaxssl.data.file_kinds import ENDINGS

# Folders of operating systems and of network storage: thumbnails, deleted and repaired files
SYSTEM_FOLDERS = {"__macosx", "@eadir", "@recycle", "#recycle", "$recycle.bin", "lost+found", "system volume information"}
# Endings of other images, whose absence must not go unnoticed
OTHER_IMAGES = frozenset(
  ".arw .cr2 .cr3 .dcm .dng .exr .fits .hdr .heic .heif .ico .jxl .nef .nii .orf .psd .raf .raw .rw2 .svs .svg .tga".split()
)


class FileSorter:
  """Sorts names: images by folder, and all else by what it is."""

  def __init__(self) -> None:
    self.files: dict[str, list[bytes]] = {}
    self.skipped: collections.Counter[str] = collections.Counter()
    self.links: list[str] = []  # to folders that are listed already

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

  def report(self, path: str) -> None:
    """Logs what was skipped, as a warning if it may be images to train on."""
    if self.skipped:
      unread = sorted(OTHER_IMAGES & set(self.skipped))
      remedy = f"; {' '.join(unread)} cannot be read: convert them, e.g. to PNG" if unread else ""
      counts = ", ".join(f"{count} {kind}" for kind, count in self.skipped.most_common())
      (LOG.warning if unread else LOG.info)("%s: skipped: %s%s", path, counts, remedy)
    if self.links:
      LOG.warning("%s: skipped %d links to folders that are listed already, e.g. %s", path, len(self.links), self.links[0])
