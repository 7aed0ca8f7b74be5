"""Decides from the names of folders which images are trained on, which are tested on, and which folders are classes."""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple

# Words in the names of folders, by what the folder holds. Of several kinds of held-out images, the first one is the test split.
_KINDS = {
  "train": "train training",
  "test": "test testing",
  "val": "val valid validation",
  "dev": "dev eval evaluation",
  "neither": "unlabeled unlabelled unsupervised labeled labelled extra",  # a part of a dataset, never a class
}
_WORDS = {
  word + end: kind for kind, words in _KINDS.items() for word in words.split() for end in ("", "set", "data", "split", "images")
}
HELD_OUT = ("test", "val", "dev")
MOST_ROWS = 12  # of the table
ONLY_TESTS = (
  "has a test split only; use it as data.test_path, or name the split itself to train on it, e.g. data.path=ROOT/test"
)


class Part(NamedTuple):
  """What a folder is: its kind, a key of _KINDS or "" (a class), and the words of its name that do not say so."""

  kind: str
  rest: tuple[str, ...]


class Folder(NamedTuple):
  """The role of the images directly in one folder."""

  role: str  # train, test, or "left out"
  top: str  # the folder that decides the role, as shown in the table; "" for images in no folder
  label: str  # the folder relative to its split, in Unicode NFC; a class if it is one folder


class Layout(NamedTuple):
  """The roles of all folders. `problem`: why nothing may be trained on, a message for the user; else empty."""

  folders: list[Folder]
  problem: str


def part_of(name: str) -> Part:
  """Reads the name of a folder: `Training`, `val2017`, `img_test` and `test-images` are splits, `bullet_train` may be one."""
  split = re.sub(r"([a-z])([A-Z])", r"\1 \2", name)
  words = re.findall(r"[^\W\d_]+", split.lower())
  kinds = [_WORDS[word] for word in words if word in _WORDS]
  rest = tuple(word for word in words if word not in _WORDS)
  return Part(kinds[0], rest) if len(kinds) == 1 else Part("", tuple(words))


def layout_of(folders: Sequence[str]) -> Layout:
  """Decides the role of each folder that has images; `folders`: relative, with "/" between names, "" is the root.

  The splits are the names at one level: the first below the folders that contain everything, or one below the classes.
  """
  paths = [folder.split("/") if folder else [] for folder in folders]
  start = _common(paths)
  below = [path[start:] for path in paths]
  alone = [part for part in map(part_of, (name for name in paths[0][:start])) if part.kind in HELD_OUT and not part.rest]
  if alone:  # everything is in a test split
    return Layout([Folder("test", "/".join(paths[0][:start]), _label(path)) for path in below], ONLY_TESTS)
  first = {path[0] if path else "" for path in below}
  splits, problem = _splits(first, {path[0] for path in below if len(path) > 1})
  level = 0
  if not splits and not problem:
    level, splits, problem = _lower_splits(below)
  if not splits:
    return Layout([Folder("train", path[0] if path else "", _label(path)) for path in below], problem)
  test = _test_kind(splits, [path for path in below if len(path) > level], level)
  roles = []
  for path in below:
    name = path[level] if len(path) > level else ""
    kind = splits.get(name, "train" if "train" not in splits.values() else "neither")
    role = "test" if kind == test else "train" if kind == "train" else "left out"
    label = _label(path[:level] + path[level + 1 :]) if name in splits else _label(path)
    roles.append(Folder(role, "*/" * level + name, label))
  if not problem and "train" not in {folder.role for folder in roles}:
    problem = ONLY_TESTS
  return Layout(roles, problem)


def _label(path: Sequence[str]) -> str:
  return unicodedata.normalize("NFC", "/".join(path))


def _common(paths: list[list[str]]) -> int:
  """Returns how many folders contain everything."""
  shortest, longest = min(paths), max(paths)
  return next((k for k, (a, b) in enumerate(zip(shortest, longest, strict=False)) if a != b), min(len(shortest), len(longest)))


def _splits(names: set[str], deep: set[str]) -> tuple[dict[str, str], str]:
  """Returns the kind of each name at a level that is a split, none if all are classes, and a problem.

  `deep`: the names that have folders below them; "" stands for images in no folder.
  """
  parts = {name: part_of(name) for name in names if name}
  train = {part.rest for part in parts.values() if part.kind == "train"}
  held = {part.rest for part in parts.values() if part.kind in HELD_OUT}
  known = {name: part.kind for name, part in parts.items() if part.kind}
  others = sorted(name for name in names if known.get(name, "neither") == "neither")
  if train & held or (train and held and len(known) == len(parts)):
    return known, _beside(known, others) if others else ""
  if train and held:  # classes with such names, e.g. bullet_train and test_tube
    return {}, ""
  exact = next((name for name, part in parts.items() if part == ("train", ())), "")
  if exact and len(names) > 1 and (exact in deep or "" in names or "neither" in known.values()):
    return known, _beside(known, others)
  siblings = {part.rest for part in parts.values() if not part.kind}
  tests = {
    name: part.kind for name, part in parts.items() if part.kind in HELD_OUT and (not part.rest or part.rest in siblings)
  }
  return tests, ""


def _beside(splits: dict[str, str], others: Sequence[str]) -> str:
  """Returns the problem of images beside the splits."""
  train = next(name for name, kind in splits.items() if kind == "train")
  test = next((f" data.test_path=ROOT/{name}" for name, kind in sorted(splits.items()) if kind in HELD_OUT), "")
  listed = ", ".join(f"{name}/" if name else "images in no folder" for name in others[:5])
  return f"{listed} beside {train}/: neither a split nor a class; set data.path=ROOT/{train}{test}, or move them away"


def _lower_splits(below: Sequence[Sequence[str]]) -> tuple[int, dict[str, str], str]:
  """Looks for splits below the classes: returns their level, the kind of each name there, and a problem."""
  for level in range(1, max(map(len, below))):
    parts = {path[level]: part_of(path[level]) for path in below if len(path) > level}
    kinds = {part.kind for part in parts.values()}
    exact = {part.kind for part in parts.values() if not part.rest}
    if "train" in kinds and kinds & set(HELD_OUT) and "" not in kinds and min(map(len, below)) > level:
      return level, {name: part.kind for name, part in parts.items()}, ""
    if "train" in exact and exact & set(HELD_OUT):
      with_splits = next(path for path in below if len(path) > level and parts[path[level]] == ("train", ()))
      without = next(path for path in below if len(path) <= level or not parts[path[level]].kind)
      found = f"{'/'.join(with_splits)}/ is a split, but {'/'.join(without) or 'an image in no folder'}"
      return 0, {}, f"{found} is not; sort all images into the same folders, e.g. train/CLASS and test/CLASS"
  return 0, {}, ""


def _test_kind(splits: dict[str, str], paths: Sequence[Sequence[str]], level: int) -> str:
  """Returns the kind of held-out images to test on: the first whose images lie as deep as those to train on, else the first."""
  depths = {kind: {len(path) for path in paths if splits.get(path[level]) == kind} for kind in _KINDS}
  present = [kind for kind in HELD_OUT if depths[kind]]
  return next((kind for kind in present if depths[kind] == depths["train"]), present[0] if present else "")


def table(folders: Sequence[Folder], images: Sequence[int]) -> Iterator[str]:
  """Yields the lines of a table of folders, the number of their images, and their roles."""
  counts, classes, roles = Counter[str](), dict[str, set[str]](), dict[str, str]()
  for folder, count in zip(folders, images, strict=True):
    counts[folder.top] += count
    roles[folder.top] = folder.role
    if folder.label and "/" not in folder.label:
      classes.setdefault(folder.top, set()).add(folder.label)
  is_class = {top for top in counts if roles[top] == "train" and classes.get(top) == {top.rpartition("/")[2]}}
  rows = [(top, counts[top]) for top in counts if top not in is_class]
  if len(is_class) > MOST_ROWS:
    rows.append((f"{len(is_class):,} folders", sum(counts[top] for top in is_class)))
  else:
    rows += [(top, counts[top]) for top in sorted(is_class)]
  for top, count in rows:
    if top not in roles:
      shown = "train, classes"
    elif roles[top] == "left out":
      shown = "left out: another part of the data"
    else:
      number = len(classes.get(top, ()))
      known = "a class" if top in is_class else "1 class" if number == 1 else f"{number or 'no'} classes"
      shown = f"{roles[top]}, {known}"
    name = f"{top}/" if top and top in roles else top or "(no folder)"
    yield f"{name:<24} {count:>10,} images  {shown}"
