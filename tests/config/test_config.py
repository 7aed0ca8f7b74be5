import dataclasses

import pytest

from jaxssl import methods
from jaxssl.config.parse import read
from jaxssl.config.recipes import defaults
from jaxssl.config.schedules import TrainingLength
from jaxssl.config.schema import Config, OptimConfig, ViewConfig
from jaxssl.core.errors import UserError
from jaxssl.methods.dino import DINO

TRAINING_LENGTH = TrainingLength(steps_per_epoch=5, epochs=4)


def test_defaults_read_back_to_the_dataclass_defaults():
  assert read(Config, defaults().to_dict()) == Config()


def test_nested_values_and_views():
  config = read(Config, {"optim": {"lr": 1}, "views": {"global": {"size": 32, "blur_p": 0.5}}})
  assert config.optim == OptimConfig(lr=1.0)
  assert isinstance(config.optim.lr, float)
  assert config.views["global"] == ViewConfig(size=32, blur_p=(0.5,))


@pytest.mark.parametrize(
  "values, message",
  [
    ({"optm": {}}, r"optm is no config field; nearest: optim"),
    ({"optim": {"learning_rat": 1}}, r"optim\.learning_rat is no config field; nearest: optim\."),
    ({"optim": {"lr": "fast"}}, r"optim\.lr='fast' is of type str; it takes float"),
    ({"optim": {"name": "adm"}}, r"optim\.name='adm' is not allowed; allowed: sgd, adamw, lars"),
    ({"model": {"stem": "cifr"}}, r"model\.stem='cifr' is not allowed; allowed: .*cifar"),
    ({"train": {"epochs": 2.5}}, r"train\.epochs=2\.5 is of type float; it takes int"),
    ({"train": {"epochs": True}}, r"train\.epochs=True is of type bool; it takes int"),
    ({"views": {"global": {"crop_scale": (1, 2, 3)}}}, r"views\.global\.crop_scale=\(1, 2, 3\) has 3 values; it takes 2"),
    ({"views": {"global": 3}}, r"views\.global=3 is not a group of fields"),
    ({"data": 3}, r"data=3 is not a group of fields"),
  ],
)
def test_errors_name_field_value_and_what_is_allowed(values, message):
  with pytest.raises(UserError, match=message) as caught:
    read(Config, values)
  assert "\n" not in str(caught.value)


def test_configs_are_frozen():
  with pytest.raises(dataclasses.FrozenInstanceError):
    Config().optim.lr = 2.0  # type: ignore[misc]


DINO_FIELDS = {"name": "dino", "teacher_momentum": 0.9, "teacher_temperature": {"base": 0.04}}


def test_method_is_built_with_its_schedules():
  method = methods.build(DINO_FIELDS, TRAINING_LENGTH)
  assert isinstance(method, DINO)
  assert float(method.teacher_momentum(3)) == pytest.approx(0.9)


@pytest.mark.parametrize(
  "change, message",
  [
    ({"name": "dyno"}, r"method\.name='dyno' is no method; nearest: dino; allowed: barlow, byol, dino"),
    ({"center_mom": 1.0}, r"method\.center_mom is no config field; nearest: method\.center_momentum"),
    (
      {"teacher_momentum": {"kind": "sine"}},
      r"method\.teacher_momentum\.kind='sine' is not allowed; allowed: constant, cosine, step",
    ),
    ({"student_temperature": 0.0}, r"method\.student_temperature=0\.0 is not allowed"),
  ],
)
def test_method_errors(change, message):
  with pytest.raises(UserError, match=message):
    methods.build({**DINO_FIELDS, **change}, TRAINING_LENGTH)


def test_a_missing_field_is_named():
  with pytest.raises(UserError, match=r"method\.teacher_momentum is missing"):
    methods.build({"name": "dino", "teacher_temperature": 0.04}, TRAINING_LENGTH)
