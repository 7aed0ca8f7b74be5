"""Shows which folders are trained on, tested on and left out."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence

from jaxssl.core import one_line
from jaxssl.data.layout import Folder

MOST_ROWS, WIDEST = 12, 40  # rows of the table that are alike; characters of a name in it


def table(folders: Sequence[Folder], images: Sequence[int]) -> Iterator[str]:
  """Yields the lines of a table of folders, the number of their images, and their roles."""
  counts, classes, first = Counter[str](), defaultdict[str, set[str]](set), dict[str, Folder]()
  for folder, count in zip(folders, images, strict=True):
    counts[folder.top] += count
    first.setdefault(folder.top, folder)
    if folder.label and "/" not in folder.label:
      classes[folder.top].add(folder.label)
  rows = defaultdict[str, list[str]](list)
  for top, folder in first.items():
    number = len(classes[top])
    known = "a class" if folder.role == "train" and classes[top] == {top.rpartition("/")[2]} else f"{number or 'no'} classes"
    shown = f"{folder.role}: {folder.reason}" if folder.reason else f"{folder.role}, {'1 class' if number == 1 else known}"
    rows["train, a class" if known == "a class" else shown].append(top)
  lines = []
  for shown, tops in rows.items():
    if len(tops) > MOST_ROWS:
      shown = shown.replace("a class", "classes")
      lines.append((f"{len(tops):,} folders", sum(counts[top] for top in tops), shown))
    else:
      lines += [(_shortened(f"{top}/" if top else "(no folder)"), counts[top], shown) for top in sorted(tops)]
  width = max((len(name) for name, *_ in lines), default=0)
  for name, count, shown in sorted(lines, key=lambda line: line[2] == "train, a class"):
    yield f"{name:<{width}} {count:>10,} images  {shown}"


def _shortened(name: str) -> str:
  """Escapes what would break the line, and leaves out the middle of a long name."""
  name = one_line(name)
  return name if len(name) <= WIDEST else f"{name[: WIDEST // 2 - 3]} ... {name[-WIDEST // 2 + 2 :]}"
