"""Hypothesis strategies for damaged files and JSON."""

import copy
import json
import struct
from typing import Any

from hypothesis import strategies as st

EDGES = [struct.pack("<I", edge) for edge in (0, 2**32 - 1, 0xFFFFFF7F, 2**31 - 1, 2**31, 1, 256)]  # of integers
GARBAGE: Any = st.one_of(
  st.none(),
  st.booleans(),
  st.integers(-3, 300),
  st.sampled_from(
    [2**31, -(2**63), 2**64, 10**30, 10**400, 0.0, -1.5, 1e-300, 1e308, float("inf"), float("-inf"), float("nan")]
  ),
  st.sampled_from(["", "a", "../../x", "\0", "\ud800", "<img src=x onerror=alert(1)>", "a\nb", "\u202e", "x" * 5000]),
  st.text(max_size=8),
  st.sampled_from([[], {}, [[]], [1, 2, 3], {"a": {"b": [None]}}, {"": ""}, [{}], [None], ["a", "b"]]),
)


@st.composite
def damaged(draw: Any, data: bytes) -> bytes:
  """Flips, cuts, extends or repeats bytes, or writes extreme integers into them."""
  out = bytearray(data)
  for _ in range(draw(st.integers(1, 6))):
    # damages headers more often than bodies
    at = draw(st.one_of(st.integers(0, min(len(out), 200)), st.integers(0, len(out))))
    match draw(st.integers(0, 6)):
      case 0 if at < len(out):
        out[at] ^= 1 << draw(st.integers(0, 7))
      case 1 if at < len(out):
        out[at] = draw(st.integers(0, 255))
      case 2:
        edge = draw(st.sampled_from(EDGES))[: draw(st.sampled_from([2, 4]))]
        out[at : at + len(edge)] = edge
      case 3:
        del out[at:]
      case 4:
        del out[at : at + draw(st.integers(1, 50))]
      case 5:
        out[at:at] = draw(st.binary(max_size=20))
      case _:
        out += out[at : at + 200]
  return bytes(out)


def places(tree: Any, where: tuple = ()) -> list[tuple]:
  """Returns the paths of all nodes."""
  inside = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
  return [where] + [path for key, item in inside for path in places(item, (*where, key))]


@st.composite
def other(draw: Any, tree: Any) -> Any:
  """Replaces, removes and adds values of a tree."""
  tree = copy.deepcopy(tree)
  for _ in range(draw(st.integers(1, 4))):
    *path, last = draw(st.sampled_from(places(tree)[1:]))
    group = tree
    for key in path:
      group = group[key]
    match draw(st.integers(0, 4)):
      case 0:
        del group[last]
      case 1 if isinstance(group, dict):
        name = draw(st.one_of(st.text(max_size=5), st.sampled_from(["step", "epoch", "value", "data", "<b>"])))
        group[name] = copy.deepcopy(draw(GARBAGE))
      case _:
        group[last] = copy.deepcopy(draw(GARBAGE))
    if not places(tree)[1:]:
      break
  return tree


def text_of(tree: Any) -> st.SearchStrategy[bytes]:
  """Returns a strategy of JSON files with changed values or damaged bytes."""
  whole = other(tree).map(lambda x: json.dumps(x, ensure_ascii=True).encode())
  broken = st.sampled_from(
    [b"", b"{", b"[]", b"null", b"3", b'"a"', b"[" * 100_000, b'{"a":' * 2000, b"\xff\xfe{", b"9" * 5000]
  )
  return st.one_of(whole, whole, whole, damaged(json.dumps(tree).encode()), broken)
