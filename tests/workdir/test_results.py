import json

import pytest

from jaxssl.core import UserError
from jaxssl.core.metric import Measurement, Metric
from jaxssl.workdir import results


def measurement(name: str, value: float, protocol: str = "made", **more) -> Measurement:
  metric = Metric(name=name, title=name.upper(), higher_is_better=True)
  return Measurement(metric=metric, value=value, subject="teacher", protocol={"how": protocol}, **more)


def test_repeated_measurements_replace_earlier_ones_and_cut_removes_later_ones(tmp_path):
  path = tmp_path / "results.json"
  assert results.read(path) == {}
  results.add(path, 4, [measurement("a", 1.0)], [Metric(name="loss", title="Loss")], finished=False)
  values = [measurement("a", 1.5, chosen={"penalty": 0.1}), measurement("b", float("nan"))]
  results.add(path, 8, values, training=True, finished=True)
  results.add(path, 8, [measurement("a", 2.0, chosen={"penalty": 1.0}), measurement("a", 3.0, "another protocol")])
  document = results.read(path)
  assert [(m["step"], m["name"], m["value"]) for m in document["measurements"]] == [
    (4, "a", 1.0), (8, "a", 2.0), (8, "b", None), (8, "a", 3.0),
  ]  # fmt: skip
  assert document["finished"] and document["software"]["jax"] and document["hardware"]["devices"]
  assert document["measurements"][1]["chosen"] == {"penalty": 1.0}
  metrics = results.metrics_of(document)
  assert list(metrics) == ["loss", "a", "b"] and metrics["a"] == measurement("a", 0).metric
  results.cut(path, 8, last=8)
  assert results.read(path) == document
  results.cut(path, 4, last=8)
  assert [m["step"] for m in results.read(path)["measurements"]] == [4] and not results.read(path)["finished"]


def test_software_hardware_and_memory_are_those_of_the_training(tmp_path, monkeypatch):
  path = tmp_path / "results.json"

  def add(memory, version, **options):
    monkeypatch.setattr(results, "environment", lambda: {"software": {"jax": version}, "peak_memory": memory})
    results.add(path, 4, [measurement("a", 1.0)], **options)
    document = results.read(path)
    return document.get("peak_memory"), document.get("software")

  assert add(9, "1") == (None, None)
  assert add(5, "2", training=True) == (5, {"jax": "2"})
  assert add(9, "3") == (5, {"jax": "2"})  # an evaluation
  assert add(4, "4", training=True) == (5, {"jax": "4"})  # a run that was resumed


def test_measurements_on_other_images_do_not_replace_those_of_the_run(tmp_path):
  path = tmp_path / "results.json"
  results.add(path, 4, [measurement("a", 1.0)])
  names = [results.name_dataset(path, "birds", digest) for digest in ("first", "second", "first")]
  assert names == ["birds", "birds (2)", "birds"]
  for value in (2.0, 3.0):
    results.add(path, 4, [measurement("a", value)], dataset="birds")
  document = results.read(path)
  assert [(m["dataset"], m["value"]) for m in results.measurements_of(document)] == [("", 1.0), ("birds", 3.0)]
  assert document["datasets"] == {"birds": "first", "birds (2)": "second"}


@pytest.mark.parametrize(
  "document",
  [
    "{",
    {"measurements": [{"step": 3, "name": "a", "value": 1.0, "protocol": "a sentence, as older versions wrote it"}]},
    {"metrics": {"a": {"title": 3}}},
    {"metrics": {"a": "A"}},
    {"measurements": 3},
    {"measurements": [{"step": 3, "name": "a", "subject": "teacher", "value": float("inf"), "protocol": {}}]},
    {"measurements": [{"step": 3, "name": "a", "subject": "teacher", "value": 1.0, "protocol": {}, "seeds": -1}]},
    {"measurements": [{"step": 3, "name": "a", "subject": "teacher", "value": 1.0, "protocol": {}, "dataset": 7}]},
    {"measurements": [{"step": 3, "name": "a", "subject": "teacher", "value": 1.0, "protocol": {"k": [1]}}]},
  ],
)
def test_a_file_that_cannot_be_read_is_named(document, tmp_path):
  (tmp_path / "results.json").write_text(document if isinstance(document, str) else json.dumps(document))
  with pytest.raises(UserError, match=r"results\.json cannot be read"):
    results.add(tmp_path / "results.json", 0, [])
