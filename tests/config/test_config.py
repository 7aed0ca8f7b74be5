import dataclasses
import json

import numpy as np
import pytest

from jaxssl import methods
from jaxssl.config.parse import read
from jaxssl.config.recipes import defaults
from jaxssl.config.schedules import ScheduleConfig
from jaxssl.config.schema import Config, OptimConfig, ViewConfig
from jaxssl.core import UserError
from jaxssl.methods.dino import DINO


def test_defaults_read_back_to_the_dataclass_defaults_which_are_frozen():
  assert read(Config, defaults().to_dict()) == Config()
  with pytest.raises(dataclasses.FrozenInstanceError):
    Config().optim.lr = 2.0  # type: ignore[misc]


def test_nested_values_and_views_are_read():
  config = read(Config, {"optim": {"lr": 1, "weight_decay": 0.1}, "views": {"global": {"size": 32, "blur_p": 0.5}}})
  assert config.optim == OptimConfig(lr=1.0, weight_decay=ScheduleConfig(base=0.1))
  assert isinstance(config.optim.lr, float)
  assert config.views["global"] == ViewConfig(size=32, blur_p=(0.5,))


def test_scalars_and_arrays_of_numpy_are_values():
  number = np.float32(0.5)
  optim = {"lr": np.float64(0.1), "momentum": number, "weight_decay": number, "name": np.str_("sgd")}
  data = {"mean": np.array([0.25, 0.5]), "allow_truncated": np.bool_(True)}
  config = read(
    Config, {"optim": optim, "data": data, "train": {"epochs": np.int64(3)}, "method": {"name": "x", "k": np.int32(2)}}
  )
  assert (config.optim.momentum, config.optim.weight_decay, config.optim.name) == (0.5, ScheduleConfig(base=0.5), "sgd")
  assert config.data.mean == (0.25, 0.5) and config.data.allow_truncated is True and config.train.epochs == 3
  assert json.loads(json.dumps(dataclasses.asdict(config)))["method"]["k"] == 2
  with pytest.raises(UserError, match=r"train\.epochs=2\.5: a float; expected int"):
    read(Config, {"train": {"epochs": np.float32(2.5)}})
  with pytest.raises(UserError, match=r"train\.epochs=\[1, 2\]: a list; expected int"):
    read(Config, {"train": {"epochs": np.array([1, 2])}})


@pytest.mark.parametrize(
  "values, message",
  [
    ({"optm": {}}, r"optm: unknown field; did you mean optim\?"),
    ({"optim": {"learning_rat": 1}}, r"optim\.learning_rat: unknown field; did you mean optim\."),
    ({"optim": {"lr": "fast"}}, r"optim\.lr='fast': a str; expected float"),
    ({"optim": {"name": "adm"}}, r"optim\.name='adm': unknown value; expected sgd, adamw, lars; did you mean adamw\?"),
    ({"model": {"stem": "cifr"}}, r"model\.stem='cifr': unknown value; expected .*cifar"),
    ({"optim": {"lr": float("inf")}}, r"optim\.lr=inf: out of range; expected a finite number"),
    ({"train": {"epochs": 2.5}}, r"train\.epochs=2\.5: a float; expected int"),
    ({"train": {"epochs": True}}, r"train\.epochs=True: a bool; expected int"),
    ({"views": {"global": {"crop_scale": (1, 2, 3)}}}, r"views\.global\.crop_scale=\(1, 2, 3\): 3 values; expected 2"),
    ({"evals": {"report": "no"}}, r"evals\.report='no': a str; expected true or false"),
    ({"evals": {"final": None}}, r"evals\.final=none: expected list of str; an empty one is --config\.evals\.final="),
    ({"views": {"global": 3}}, r"views\.global=3: a value; expected a group of fields"),
    ({"data": 3}, r"data=3: a value; expected a group of fields, such as data\.source"),
  ],
)
def test_errors_name_the_field_the_value_and_what_is_expected(values, message):
  with pytest.raises(UserError, match=message) as caught:
    read(Config, values)
  assert "\n" not in str(caught.value)


DINO_FIELDS = {"name": "dino", "teacher_temperature": {"base": 0.04}}


def test_method_is_read_with_its_schedules():
  method = methods.read_method({**DINO_FIELDS, "teacher_momentum": 0.9})
  assert isinstance(method, DINO)
  assert method.teacher_momentum == ScheduleConfig(base=0.9)


@pytest.mark.parametrize(
  "change, message",
  [
    ({}, r"method\.teacher_momentum: missing; expected schedule"),
    ({"name": "dyno"}, r"method\.name='dyno': unknown; expected barlow, byol, dino, .*; did you mean dino\?"),
    ({"center_mom": 1.0}, r"method\.center_mom: unknown field; did you mean method\.center_momentum\?"),
    (
      {"teacher_momentum": {"kind": "sine"}},
      r"method\.teacher_momentum\.kind='sine': unknown value; expected constant, cosine",
    ),
    ({"teacher_momentum": 1.5}, r"method\.teacher_momentum\.base=1\.5: out of range; expected 0 to 1"),
    ({"teacher_momentum": 0.9, "center_momentum": 2.0}, r"method\.center_momentum=2\.0: out of range; expected 0 to 1"),
    ({"teacher_momentum": 0.9, "student_temperature": 0.0}, r"method\.student_temperature=0\.0: out of range; expected a pos"),
  ],
)
def test_method_errors_name_the_field(change, message):
  with pytest.raises(UserError, match=message):
    methods.read_method({**DINO_FIELDS, **change})
