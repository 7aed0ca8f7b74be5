import pytest

from jaxssl.core import UserError, tree

NESTED = {"a": {"b": 1, "c": {"d": 2}}, "e": {}, "f": 3}


def test_updated_is_the_inverse_of_flatten():
  assert tree.flatten(NESTED) == {"a.b": 1, "a.c.d": 2, "e": {}, "f": 3}
  assert tree.updated({}, tree.flatten(NESTED)) == NESTED


def test_updated_sets_nested_values_in_a_copy():
  assert tree.updated(NESTED, {"a.c.d": 5, "g.h": 6}) == {"a": {"b": 1, "c": {"d": 5}}, "e": {}, "f": 3, "g": {"h": 6}}
  assert NESTED["a"] == {"b": 1, "c": {"d": 2}}
  with pytest.raises(UserError, match="^a.b: a value, not a group of fields; set a.b itself$"):
    tree.updated(NESTED, {"a.b.c": 1})
