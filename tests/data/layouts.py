"""Layouts of folders and what becomes of them: the cases of the tests and the table of docs/data.md.

python -m tests.data.layouts prints the table.
"""

from collections.abc import Iterator
from typing import NamedTuple

from jaxssl.data.layout import Layout, layout_of


class Case(NamedTuple):
  """Files, relative to data.path, and what becomes of them; `error`: a part of the message if the run stops."""

  files: str
  train: str = ""
  test: str = ""
  classes: str = ""
  error: str = ""


CASES = (
  Case("1.jpg 2.jpg", "all images"),
  Case("cat/1.jpg dog/2.jpg", "cat/ dog/", "", "cat dog"),
  Case("train/cat/1.jpg train/dog/2.jpg", "cat/ dog/", "", "cat dog"),
  Case("train/cat/1.jpg train/dog/2.jpg test/cat/3.jpg", "train/", "test/", "cat dog"),
  Case("Training/cat/1.jpg Training/dog/2.jpg Testing/cat/3.jpg", "Training/", "Testing/", "cat dog"),
  Case("train/cat/1.jpg train/dog/2.jpg valid/cat/3.jpg", "train/", "valid/", "cat dog"),
  Case("train/cat/1.jpg train/dog/2.jpg dev/cat/3.jpg", "train/", "dev/", "cat dog"),
  Case("train2017/1.jpg val2017/2.jpg", "train2017/", "val2017/"),
  Case("set_train/cat/1.jpg set_train/dog/2.jpg set_test_images/cat/3.jpg", "set_train/", "set_test_images/", "cat dog"),
  Case("images/train/cat/1.jpg images/train/dog/2.jpg images/valid/cat/3.jpg", "train/", "valid/", "cat dog"),
  Case("cat/train/1.jpg cat/test/2.jpg dog/train/3.jpg dog/test/4.jpg", "*/train/", "*/test/", "cat dog"),
  Case("train/cat/1.jpg train/dog/2.jpg val/cat/3.jpg test/4.jpg", "train/", "val/", "cat dog"),
  Case("train/cat/1.jpg train/dog/2.jpg val/cat/3.jpg test/cat/4.jpg", "train/", "test/", "cat dog"),
  Case("cat/1.jpg dog/2.jpg val/cat/3.jpg", "cat/ dog/", "val/", "cat dog"),
  Case("scans/1.jpg test_scans/2.jpg", "scans/", "test_scans/", "scans"),
  Case("train/train/cat/1.jpg train/train/dog/2.jpg test/test/cat/3.jpg", "train/", "test/", "cat dog"),
  Case("train/cat/images/1.jpg train/dog/images/2.jpg val/images/3.jpg", "train/", "val/", "cat dog"),
  Case("data/cat/1.jpg data/dog/2.jpg val/cat/3.jpg", "data/", "val/", "cat dog"),
  Case("data_large/a/cat/1.jpg data_large/b/2.jpg val_large/3.jpg test_large/4.jpg", "data_large/", "test_large/"),
  Case("NCT-100K/cat/1.jpg NCT-100K/dog/2.jpg CRC-VAL-7K/cat/3.jpg", "NCT-100K/", "CRC-VAL-7K/", "cat dog"),
  Case("NCT-100K/0/1.jpg NCT-100K/1/2.jpg CRC-VAL-7K/0/3.jpg", "NCT-100K/", "CRC-VAL-7K/", "0 1"),
  Case("VOCtrainval/cat/1.jpg VOCtrainval/dog/2.jpg VOCtest/cat/3.jpg", "VOCtrainval/", "VOCtest/", "cat dog"),
  Case("photos/1.jpg test_images/2.jpg", "photos/", "test_images/"),
  Case("bilder/1.jpg testbilder/2.jpg", "bilder/", "testbilder/", "bilder"),
  Case("traincats/1.jpg testcats/2.jpg", "traincats/", "testcats/"),
  Case("训练集/1.jpg 测试集/2.jpg", "训练集/", "测试集/"),
  Case("train/1.jpg held_out/2.jpg", "train/", "held_out/"),
  Case("test/train/cat/1.jpg test/train/dog/2.jpg test/val/cat/3.jpg", "train/", "val/", "cat dog"),
  Case("images/1.jpg masks/1.png", "images/"),
  Case("images/train/1.jpg images/val/2.jpg labels/train/1.png labels/val/2.png", "train/", "val/"),
  Case("train/1.jpg train_masks/1.png test/2.jpg", "train/", "test/"),
  Case("train_masks/1.png test_masks/2.png", "train_masks/", "test_masks/"),
  Case("bus/1.jpg car/2.jpg train/3.jpg", "bus/ car/ train/", "", "bus car train"),
  Case("bullet_train/1.jpg cat/2.jpg test_tube/3.jpg", "bullet_train/ cat/ test_tube/", "", "bullet_train cat test_tube"),
  Case("train/1.jpg unlabeled/2.jpg test/3.jpg", error="unlabeled/ beside train/: neither a split nor a class; set data.path="),
  Case("train/cat/1.jpg train/dog/2.jpg 3.jpg", error="images in no folder beside train/: neither a split nor a class"),
  Case("train/cat/1.jpg train/dog/2.jpg more/3.jpg", error="more/ beside train/: neither a split nor a class"),
  Case("train/1.jpg more/2.jpg", error="more/ beside train/: neither a split nor a class"),
  Case("cat/1.jpg cat/test/2.jpg dog/3.jpg dog/test/4.jpg", error="cat/test/ seems to hold images to test on, but"),
  Case("new/train/1.jpg new/valid/2.jpg test/3.jpg", error="new/valid/ seems to hold images to test on, but"),
  Case("cat/train/1.jpg cat/test/2.jpg dog/3.jpg", error="cat/train/ is a split, but dog is not; sort all images"),
  Case("test/cat/1.jpg test/dog/2.jpg", error="has a test split only; use it as data.test_path"),
)


def found(case: Case) -> tuple[Layout, Case]:
  """Returns the layout of a case, and the case with what becomes of its files."""
  folders = sorted({name.rpartition("/")[0] for name in case.files.split()})
  layout = layout_of(folders)

  def tops(role: str) -> str:
    names = sorted({folder.top for folder in layout.folders if folder.role == role})
    return " ".join(f"{name}/" if name else "all images" for name in names)

  if layout.problem:
    return layout, Case(case.files, error=layout.problem)
  labels = [folder.label for folder in layout.folders if folder.role == "train"]
  classes = "" if any("/" in label or not label for label in labels) else " ".join(sorted(set(labels)))
  return layout, Case(case.files, tops("train"), tops("test"), classes)


def table() -> Iterator[str]:
  """Yields the lines of the table of docs/data.md."""
  yield from ("| files | trained on | tested on | classes |", "|---|---|---|---|")
  for case in CASES:
    shown = found(case)[1]
    files = f"`{case.files}`"
    if shown.error:
      yield f"| {files} | nothing: the run stops: {shown.error} | | |"
    else:
      cells = (" ".join(f"`{word}`" for word in cell.split()) for cell in (shown.train, shown.test, shown.classes))
      yield f"| {files} | {' | '.join(cells).replace('`all` `images`', 'all images')} |"


if __name__ == "__main__":
  print(*table(), sep="\n")
