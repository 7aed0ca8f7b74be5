"""Every field has a meaning, and docs/config.md lists all fields."""

import dataclasses
import pathlib
import runpy

import pytest

from jaxssl.config import fields
from jaxssl.config.parse import type_name
from jaxssl.config.schedules import ScheduleConfig
from jaxssl.config.schema import Config
from jaxssl.core import UserError

DOCS = pathlib.Path(__file__).parents[2] / "docs"
FIELDS = {field.path: field for field in (*fields.fields_of(Config), *fields.fields_of(ScheduleConfig))}


def test_fields_have_type_default_and_meaning():
  unexplained = [path for path, field in FIELDS.items() if not field.meaning]
  assert not unexplained, "write a comment at the end of the field's line or above it"
  lr, k = FIELDS["optim.lr"], FIELDS["evals.knn.k"]
  assert (lr.kind, lr.default) == (float, "0.0005") and lr.meaning.startswith("peak learning rate")
  assert (type_name(k.kind), k.default) == ("list of int", "20")
  assert FIELDS["optim.schedule.kind"].default == "cosine" != FIELDS["optim.weight_decay.kind"].default
  assert type_name(FIELDS["views.GROUP.crop_scale"].kind) == "(float, float)"
  assert FIELDS["data.mean"].meaning.startswith("mean of each channel") and "measured" in FIELDS["data.mean"].meaning
  assert fields.meanings(dataclasses.make_dataclass("without_source", [("a", int)])) == {}
  groups = {path.partition(".")[0] for path in FIELDS if "." in path}
  assert groups == {field.name for field in dataclasses.fields(Config)} - {"method", "plugins"}


@pytest.mark.parametrize(
  "path, text, value",
  [
    ("data.path", "123", "123"),
    ("data.path", "", ""),
    ("bootstrap.policy", "off", "off"),
    ("model.projector.name", "none", "none"),
    ("data.bit_depth", "16", 16),
    ("optim.schedule.warmup_epochs", "None", None),
    ("evals.knn.k", "1,20", (1, 20)),
    ("evals.final", "knn,linear", "knn,linear"),
    ("train.fsdp", "TRUE", True),
    ("views.global.size", "32", 32),
    ("method.temperature", "0.1", 0.1),
  ],
)
def test_flag_values_are_parsed_by_the_type_of_their_field(path, text, value):
  assert fields.parse_value(path, text) == value


NEAREST = {"epochs": "train.epochs", "batch_size": "train.batch_size", "trian.epochs": "train.epochs", "optm": "optim"}
NEAREST |= {"optim.epoch": "train.epochs", "views.global.sise": "views.global.size", "optim.lr.x": "optim.lr"}


@pytest.mark.parametrize("path, nearest", NEAREST.items())
def test_an_unknown_field_suggests_the_nearest(path, nearest):
  with pytest.raises(UserError) as caught:
    fields.type_of(path)
  assert str(caught.value) == f"{path}: unknown field; did you mean {nearest}?"


def test_docs_config_is_up_to_date():
  script = runpy.run_path(str(DOCS / "config_fields.py"))
  assert (DOCS / "config.md").read_text() == script["page"]() + "\n", f"docs/config.md is old; run: {script['COMMAND']}"
