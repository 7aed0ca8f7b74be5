"""Recipes that are called published resolve to the arguments of the released code, in tests/golden/recipes.

A file holds the recipe, the repository, its commit and `arguments`: by field of tests/config/published.py, the value and the
file and line that it was read from. A null, whose source starts with "none", means that the released code has no such argument.
`differs` holds the reason of each difference, which the header of the config file shows.
"""

import json
import math
import pathlib
import re
from collections.abc import Mapping
from typing import Any

import pytest

from jaxssl.config import load
from jaxssl.config.load import CONFIGS, load_config
from tests.config.published import resolved

FOLDER = pathlib.Path(__file__).parents[1] / "golden/recipes"
FILES = sorted(FOLDER.glob("*.json"))
SOURCE = re.compile(r"(none: \S.*|([\w/-]+/[\w-]+ )?\S+\.(py|md|sh):\d+.*)")
NOT_YET = "not yet: "
ABSENT = "absent"


def read(path: pathlib.Path) -> dict[str, Any]:
  """Reads a file in which no name occurs twice."""

  def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    assert len(dict(pairs)) == len(pairs), f"{path.name}: a name occurs twice"
    return dict(pairs)

  return json.loads(path.read_text(), object_pairs_hook=unique)


def same(ours: Any, theirs: Any) -> bool:
  """Compares values of JSON and of a config, where a list may be a tuple."""
  if isinstance(ours, Mapping) and isinstance(theirs, Mapping):
    return ours.keys() == theirs.keys() and all(same(ours[name], theirs[name]) for name in ours)
  if isinstance(ours, list | tuple) and isinstance(theirs, list | tuple):
    return len(ours) == len(theirs) and all(map(same, ours, theirs))
  if isinstance(ours, float | int) and isinstance(theirs, float | int):
    return isinstance(ours, bool) == isinstance(theirs, bool) and math.isclose(ours, theirs, rel_tol=1e-9)
  return ours == theirs


def differences(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> dict[str, Any]:
  """Returns (ours, theirs) of each field that differs or that one of them lacks."""
  pairs = {name: (ours.get(name, ABSENT), theirs.get(name, ABSENT)) for name in (*theirs, *ours)}
  return {name: pair for name, pair in pairs.items() if pair[1] is not None and not same(*pair)}


def texts(path: pathlib.Path) -> dict[str, str]:
  """Returns what the header of a config file says about each recipe, by FILE:RECIPE."""
  head = path.read_text().split('"""')[1]
  parts = re.split(rf"^configs/{path.name}(?::\S+)?\s", head, flags=re.MULTILINE)[1:]
  return {f"{path.name}:{recipe}": part for recipe, part in zip(load.recipes_of(path), parts, strict=True)}


ABOUT = {name: text for path in sorted(CONFIGS.glob("*.py")) for name, text in texts(path).items()}


@pytest.mark.parametrize("recipe", ABOUT)
def test_a_number_in_a_header_has_a_source_and_others_recipes_differ(recipe):
  for number in re.finditer(r"\b\d\d\.\d{1,2}\b", ABOUT[recipe]):
    assert re.search(r"Published|Others|Measured", ABOUT[recipe][: number.start()]), number.group()
  for other in ABOUT[recipe].split("Others: ")[1:]:
    assert "differs: " in other or "dkobak/simclr-cifar10" in other


def test_every_recipe_with_published_numbers_has_a_file_and_every_file_is_read():
  claimed = {name for name, text in ABOUT.items() if re.search(r"\bPublished\b", text)}
  claimed -= {"resa.py:"}  # the same as resa.py:cifar10
  claimed -= {"unbalanced.py:imagenet_isd"}  # only its lists of images are released
  assert len(FILES) == len(list(FOLDER.iterdir())) >= 17
  assert claimed <= {read(path)["recipe"] for path in FILES} and len(claimed) >= 11
  for path in FILES:
    document = read(path)
    assert path.stem == document["recipe"].replace(".py:", "-")
    assert len(document["commit"]) == 40 and SOURCE.fullmatch(document["command"])
    lines = re.findall(r'^    "[^"]+": \[', path.read_text(), re.MULTILINE)
    assert len(lines) == len(document["arguments"]) >= 50


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_published_recipe_resolves_to_the_released_arguments(path):
  document = read(path)
  arguments = {name: value for name, (value, _) in document["arguments"].items()}
  found = differences(resolved(load_config(CONFIGS / document["recipe"])), arguments)
  unexplained = {name: pair for name, pair in found.items() if name not in document["differs"]}
  assert not unexplained, "(ours, theirs): change the recipe, or give a reason under `differs`"
  assert set(document["differs"]) == set(found), "a field no longer differs: remove it from `differs` and from the header"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_arguments_have_sources_and_differences_are_in_the_header(path):
  document = read(path)
  for name, (value, source) in document["arguments"].items():
    assert SOURCE.fullmatch(source) and (value is None) == source.startswith("none:"), name
  header = " ".join((CONFIGS / document["recipe"].split(":")[0]).read_text().split('"""')[1].split())
  for reason in document["differs"].values():
    shown = f"{reason.removeprefix(NOT_YET)} (not yet here)" if reason.startswith(NOT_YET) else reason
    assert shown in header


def test_a_changed_missing_or_additional_field_is_a_difference():
  config, document = load_config(CONFIGS / "resa.py:imagenet"), read(FOLDER / "resa-imagenet.json")
  ours, theirs = resolved(config), {name: value for name, (value, _) in document["arguments"].items()}
  for name in ours:
    assert name in differences({**ours, name: "another"}, theirs) or theirs[name] is None
    assert name in differences({other: value for other, value in ours.items() if other != name}, theirs) or theirs[name] is None
    assert name in differences(ours, {other: value for other, value in theirs.items() if other != name})
  assert not same(1, True) and not same([1, 2], [1]) and same((0.1, 2), [0.1, 2.0]) and not same({"a": 1}, {"a": 1, "b": 2})
