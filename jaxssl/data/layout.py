"""Decides from the names of folders which images are trained on, which are tested on, and which folders are classes."""

import unicodedata
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from jaxssl.data import folder_names
from jaxssl.data.folder_names import HELD_OUT, KINDS, Part, part_of, parts_of

_Path = list[str]
ONLY_TESTS = (
  "has a test split only; use it as data.test_path, or name the split itself to train on it, e.g. data.path=ROOT/test"
)
_SORT = "sort all images into the same folders, e.g. train/CLASS and test/CLASS"


class Folder(NamedTuple):
  """The role of the images directly in one folder."""

  role: str  # train, test, or "left out"
  top: str  # the folder that decides the role, as shown in the table; "" for images in no folder
  label: str  # the folder relative to its split, in Unicode NFC; a class if it is one folder
  reason: str = ""  # why it is left out


class Layout(NamedTuple):
  """The roles of all folders. `problem`: why nothing may be trained on, a message for the user; else empty."""

  folders: list[Folder]
  problem: str


def layout_of(folders: Sequence[str]) -> Layout:
  """Decides the role of each folder that has images; `folders`: relative, with "/" between names, "" is the root.

  Folders of masks beside images are left out. The splits are the names at one level: the first below the folders that contain
  everything, or one below the classes.
  """
  paths = [folder.split("/") if folder else [] for folder in folders]
  of_masks = _of_masks(paths)
  if all(of_masks):  # then these are the images
    of_masks = [""] * len(paths)
  kept = [path for path, top in zip(paths, of_masks, strict=True) if not top]
  decided, problem = _decide(kept)
  rest = iter(decided)
  roles = [Folder("left out", top, "", "masks or annotations of images") if top else next(rest) for top in of_masks]
  return Layout(roles, problem or _stray(kept, decided))


def _of_masks(paths: Sequence[_Path]) -> list[str]:
  """Returns the folder of masks that each path is in; "" if it is in none."""
  siblings = defaultdict[tuple[str, ...], set[str]](set)
  for path in paths:
    for level, name in enumerate(path):
      siblings[tuple(path[:level])].add(name)
  masks = {parent: folder_names.masks(names) for parent, names in siblings.items()}

  def top(path: _Path) -> str:
    level = next((level for level, name in enumerate(path) if name in masks[tuple(path[:level])]), -1)
    return "/".join(path[: level + 1])

  return [top(path) for path in paths]


def _decide(paths: Sequence[_Path]) -> tuple[list[Folder], str]:
  """Returns the role of each folder, and a problem."""
  start = _common(paths)
  below = [path[start:] for path in paths]
  children = defaultdict[str, set[str]](set)
  for path in below:
    children[path[0] if path else ""].update(path[1:2])
  level, (splits, problem) = 0, _splits(children, {path[0] for path in below if len(path) == 1})
  alone = [part for part in map(part_of, paths[0][:start]) if part.kind in HELD_OUT and not part.rest]
  if alone and "train" not in splits.values():  # everything is in a test split
    return [Folder("test", "/".join(paths[0][:start]), _label(path)) for path in below], ONLY_TESTS
  if not splits and not problem:
    level, splits, problem = _lower_splits(below)
  decided = _roles(below, level, splits, "/".join(paths[0][:start]))
  if splits and not problem and "train" not in {folder.role for folder in decided}:
    problem = ONLY_TESTS
  return decided, problem


def _roles(below: Sequence[_Path], level: int, splits: Mapping[str, str], common: str) -> list[Folder]:
  """Returns the roles that follow from the kinds of the names at a level. `common`: the folders that contain everything."""
  test = _test_kind(splits, [path for path in below if len(path) > level], level)
  folders, classes = list[Folder](), defaultdict[tuple[str, str], list[_Path]](list)
  for path in below:
    name = path[level] if len(path) > level else ""
    kind = splits.get(name, "train" if "train" not in splits.values() else "neither")
    top = "*/" * level + name if splits else path[0] if path else common
    if kind in (test, "train"):
      folders.append(Folder("test" if kind == test else "train", top, name if name in splits else ""))
    else:
      reason = "another held-out split" if kind in HELD_OUT else "neither a split nor a class"
      folders.append(Folder("left out", top, name if name in splits else "", reason))
    classes[folders[-1].role, folders[-1].label].append([*path[:level], *path[level + 1 :]] if name in splits else path)
  labels = {group: iter(_labels(own, group[1])) for group, own in classes.items()}
  return [folder._replace(label=next(labels[folder.role, folder.label])) for folder in folders]


def _label(path: _Path) -> str:
  return unicodedata.normalize("NFC", "/".join(path))


def _labels(paths: Sequence[_Path], split: str) -> list[str]:
  """Returns the labels of the folders of a split ("": none), without folders around all classes: train/train/CLASS/images."""
  before = bool(split) and all(path and (path[0] == split or folder_names.is_generic(path[0])) for path in paths)
  behind = all(len(path) > before and folder_names.is_generic(path[-1]) for path in paths)
  return [_label(path[before : len(path) - behind]) for path in paths]


def _common(paths: Sequence[_Path]) -> int:
  """Returns how many folders contain everything."""
  shortest, longest = min(paths), max(paths)
  return next((k for k, (a, b) in enumerate(zip(shortest, longest, strict=False)) if a != b), min(len(shortest), len(longest)))


def _splits(children: Mapping[str, set[str]], flat: set[str]) -> tuple[dict[str, str], str]:
  """Returns the kind of each name at a level that is a split, none if all are classes, and a problem.

  `children`: the names, and those of the folders in them; "" stands for images in no folder. `flat`: those with images.
  """
  parts = parts_of(children)
  train = {part.rest for part in parts.values() if part.kind == "train"}
  held = {part.rest for part in parts.values() if part.kind in HELD_OUT}
  known = {name: part.kind for name, part in parts.items() if part.kind}
  others = sorted(name for name in children if known.get(name, "neither") == "neither")
  if train & held or (train and held and len(known) == len(parts)):
    return known, _beside(known, others) if others else ""
  if train and held:  # classes with such names, e.g. bullet_train and test_tube
    return {}, ""
  exact = next((name for name, part in parts.items() if part == ("train", ())), "")
  if exact and len(children) > 1:
    if exact not in flat or children[exact] or "" in children or "neither" in known.values() or len(children) == 2:
      return known, _beside(known, others)
  tests = {name: parts[name].kind for name in _held_out(parts, children)}
  rest = [name for name in children if name not in tests]
  if tests and len(rest) == 1 and children[rest[0]] and rest[0] not in flat:  # data/CLASS beside val/
    tests[rest[0]] = "train"
  return tests, ""


def _held_out(parts: Mapping[str, Part], children: Mapping[str, set[str]]) -> set[str]:
  """Returns the names of held-out images beside folders that are no splits: `test`, or like the name of another folder."""
  siblings = {part.rest for part in parts.values() if not part.kind}
  held = {name: part for name, part in parts.items() if part.kind in HELD_OUT}
  kinds = defaultdict[tuple[str, ...], set[str]](set)
  for part in held.values():
    kinds[part.rest].add(part.kind)
  alike = {name for name, part in held.items() if not part.rest or part.rest in siblings or len(kinds[part.rest]) > 1}
  return alike | folder_names.with_same_children(parts, children)


def _beside(splits: Mapping[str, str], others: Sequence[str]) -> str:
  """Returns the problem of images beside the splits."""
  train = next(name for name, kind in splits.items() if kind == "train")
  test = next((f" data.test_path=ROOT/{name}" for name, kind in sorted(splits.items()) if kind in HELD_OUT), "")
  listed = ", ".join(f"{name}/" if name else "images in no folder" for name in others[:5])
  more = f" and {len(others) - 5} more" if len(others) > 5 else ""
  return f"{listed}{more} beside {train}/: neither a split nor a class; set data.path=ROOT/{train}{test}, or move them away"


def _lower_splits(below: Sequence[_Path]) -> tuple[int, dict[str, str], str]:
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
      return 0, {}, f"{found} is not; {_SORT}"
  return 0, {}, ""


def _stray(paths: Sequence[_Path], folders: Sequence[Folder]) -> str:
  """Returns the problem of folders that are trained on although their names, below others, are those of held-out images."""
  trained = [path for path, folder in zip(paths, folders, strict=True) if folder.role == "train"]
  start = _common(trained) if trained else 0
  splits = defaultdict[tuple[str, ...], dict[str, str]](dict)
  for path in trained:
    for level in range(start, len(path)):
      if (part := part_of(path[level])).kind in ("train", "test", "val") and not part.rest:
        splits[tuple(path[:level])][path[level]] = part.kind
  times = Counter(name for kinds in splits.values() for name, kind in kinds.items() if kind != "train")
  for parent, kinds in splits.items():
    for name, kind in kinds.items():
      if kind != "train" and (times[name] > 1 or "train" in kinds.values()):
        return f"{'/'.join([*parent, name])}/ seems to hold images to test on, but would be trained on; {_SORT}"
  return ""


def _test_kind(splits: Mapping[str, str], paths: Sequence[_Path], level: int) -> str:
  """Returns the kind of held-out images to test on: the first whose images lie as deep as those to train on, else the first."""
  depths = {kind: {len(path) for path in paths if splits.get(path[level]) == kind} for kind in KINDS}
  present = [kind for kind in HELD_OUT if depths[kind]]
  return next((kind for kind in present if depths[kind] == depths["train"]), present[0] if present else "")
