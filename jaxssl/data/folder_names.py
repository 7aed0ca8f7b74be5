"""Reads from the names of folders whether they hold images to train on, held-out images, masks, or a class."""

import functools
import re
from collections.abc import Collection, Mapping
from typing import NamedTuple

# Words in the names of folders, by what the folder holds. Of several kinds of held-out images, the first one is the test split.
KINDS = {
  "train": "train training trainval trn entrainement entraînement entrenamiento treino 训练 训练集",
  "test": "test testing tests tst holdout teste prueba 测试 测试集",
  "val": "val valid validation validate validations validierung validación validacion 验证 验证集",
  "dev": "dev eval evaluation",
  # a part of a dataset, never a class
  "neither": "unlabeled unlabelled unsupervised labeled labelled extra query gallery pred predict prediction predictions",
}
HELD_OUT = ("test", "val", "dev")
_WORDS = {
  word + end: kind for kind, words in KINDS.items() for word in words.split() for end in ("", "set", "data", "split", "images")
}
# Words that do not tell one part of a dataset from another
_IMAGES = set("image images img imgs input inputs photo photos".split())
_GENERIC = _IMAGES | set("data dataset set split folder".split())
_MASKS = set("mask masks label labels annot annots annotation annotations truth gt trimap trimaps segmentation".split())
_MAY_BE_MASKS = re.compile("mask|label|annot|truth|gt|trimap|segment", re.IGNORECASE)
_STEM = re.compile("train(?:ing|val)?|test(?:ing)?|val(?:id(?:ation)?)?")
_BREAKS = (  # between the words of a name: VOCtest, JPEGImages, trainA; a hyphen in held-out
  (re.compile(r"(?<=[A-Z])(?=(?:train|trainval|test|val)(?![a-z]))"), " "),
  (re.compile(r"(?<=[A-Z])(?=[A-Z][a-z])"), " "),
  (re.compile(r"(?<=[a-z])(?=[A-Z])"), " "),
  (re.compile(r"(?<![a-z])(?:hold|held)[\W_]*out(?![a-z])", re.IGNORECASE), "holdout"),
)


class Part(NamedTuple):
  """What a folder is: its kind, a key of KINDS or "" (a class), and the words of its name that tell it from others."""

  kind: str
  rest: tuple[str, ...]


def _words(name: str) -> list[str]:
  for pattern, text in _BREAKS:
    name = pattern.sub(text, name)
  return re.findall(r"[^\W\d_]+", name.lower())


@functools.lru_cache(2**16)
def part_of(name: str) -> Part:
  """Reads the name of a folder: `Training`, `val2017`, `img_test` and `train_val` are splits, `bullet_train` may be one."""
  words = _words(name)
  kinds = {_WORDS[word] for word in words if word in _WORDS}
  if kinds > {"neither"}:  # train_unlabeled
    kinds -= {"neither"}
  rest = tuple(word for word in words if _WORDS.get(word) not in kinds and word not in _GENERIC)
  if kinds == {"train", "val"}:
    return Part("train", rest)
  if kinds and kinds <= set(HELD_OUT):
    return Part(next(kind for kind in HELD_OUT if kind in kinds), rest)
  return Part(kinds.pop(), rest) if len(kinds) == 1 else Part("", tuple(word for word in words if word not in _GENERIC))


def parts_of(names: Collection[str]) -> dict[str, Part]:
  """Reads names side by side: `trainbilder` and `testbilder`, or `bilder` and `testbilder`, are splits as well."""
  parts = {name: part_of(name) for name in names if name}
  glued: dict[tuple[str, str], dict[str, str]] = {}
  for name, part in parts.items():
    for stem in _STEM.finditer(name.lower()) if not part.kind else ():
      glued.setdefault((name.lower()[: stem.start()], name.lower()[stem.end() :]), {})[name] = stem[0]
  whole = {name.lower() for name, part in parts.items() if not part.kind and len(name) > 2}
  for ends, alike in glued.items():
    kinds = {name: part_of(stem).kind for name, stem in alike.items()}
    if len(set(kinds.values())) > 1 or ("".join(ends) in whole and "train" not in kinds.values()):
      rest = part_of("".join(ends)).rest
      parts |= {name: Part(kind, rest) for name, kind in kinds.items()}
  return parts


def is_generic(name: str) -> bool:
  """Returns whether a name says nothing but that there are images: `images`, `JPEGImages`, `img`."""
  return part_of(name) == ("", ()) and any(word in _IMAGES for word in _words(name))


def masks(names: Collection[str]) -> set[str]:
  """Returns which folders, of those in one folder, hold masks or annotations of the images in the others, by their names."""
  found = {name for name in names if _MAY_BE_MASKS.search(name) and _MASKS & set(_words(name))}
  kinds = {part_of(name).kind for name in names} if found else set()
  beside_splits = "train" in kinds and kinds & set(HELD_OUT)
  return found if beside_splits or (found and any(map(_is_images, names))) else set()


def _is_images(name: str) -> bool:
  """Returns whether a name states that there are images, beside folders of another kind."""
  words = set(_words(name))
  return bool(words & _IMAGES) and not words & _MASKS


def with_same_children(parts: Mapping[str, Part], children: Mapping[str, set[str]]) -> set[str]:
  """Returns the held-out folders with class folders of the same names as folders that are no split: CRC-VAL-7K, CRC-100K."""
  own = {name: {child for child in children.get(name, ()) if not _words(child) or part_of(child) != ("", ())} for name in parts}
  others = set().union(*(own[name] for name, part in parts.items() if not part.kind))
  return {name for name, part in parts.items() if part.kind in HELD_OUT and own[name] & others}
