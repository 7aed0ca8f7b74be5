"""Numbers out of range are refused wherever a config is read or changed."""

import math

import pytest

from jaxssl.config import fields
from jaxssl.config.parse import read
from jaxssl.config.ranges import RANGES
from jaxssl.config.schema import Config
from jaxssl.core import UserError, tree


@pytest.mark.parametrize("field", RANGES)
def test_ends_of_a_range_are_in_it_and_what_is_beyond_is_refused(field):
  allowed, kind = RANGES[field], fields.type_of(field)
  listed = str(kind).startswith("tuple")

  def changed(value):
    return tree.replace(Config(), {field: (1, value) if listed else value})

  for end, is_open, beyond in ((allowed.low, allowed.open_low, -1), (allowed.high, allowed.open_high, 1)):
    if not is_open and end != math.inf:
      changed(end)
    if end != math.inf:
      with pytest.raises(UserError, match=rf"^{field}={end if is_open else end + beyond}: out of range; expected "):
        changed(end if is_open else end + beyond)


@pytest.mark.parametrize(
  "values, message",
  [
    ({"data": {"limit": -1}}, "data.limit=-1: out of range; expected 0 (all images) or more"),
    ({"data": {"mean": [123.7, 116.3, 103.5]}}, "data.mean=123.7: out of range; expected 0 to 1"),
    ({"evals": {"knn": {"k": [20, 0]}}}, "evals.knn.k=0: out of range; expected 1 or more"),
    ({"evals": {"holdout": 20}}, "evals.holdout=20.0: out of range; expected 0 to less than 1"),
    ({"evals": {"lowshot": {"shots": 0}}}, "evals.lowshot.shots=0.0: out of range; expected more than 0"),
    ({"train": {"seed": -1}}, "train.seed=-1: out of range; expected 0 to 2147483647"),
  ],
)
def test_errors_name_the_field_the_value_and_the_range(values, message):
  with pytest.raises(UserError) as caught:
    read(Config, values)
  assert str(caught.value) == message
