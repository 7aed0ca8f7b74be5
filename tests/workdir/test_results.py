import pytest

from jaxssl.core.errors import UserError
from jaxssl.workdir import results
from jaxssl.workdir.results import Measurement


def made(name: str, value: float, protocol: str = "made") -> Measurement:
  return Measurement(name=name, value=value, protocol=protocol)


def test_what_is_measured_again_is_kept_once_and_what_comes_again_is_cut(tmp_path):
  path = tmp_path / "results.json"
  assert results.read(path) == {}
  results.add(path, 4, [made("a", 1.0)], finished=False)
  results.add(path, 8, [made("a", 1.5), made("b", float("nan"))], finished=True)
  results.add(path, 8, [made("a", 2.0), made("a", 3.0, "another protocol")])
  document = results.read(path)
  assert [(m["step"], m["name"], m["value"]) for m in document["measurements"]] == [
    (4, "a", 1.0), (8, "b", None), (8, "a", 2.0), (8, "a", 3.0),
  ]  # fmt: skip
  assert document["finished"] and document["software"]["jax"] and document["hardware"]["devices"]
  results.cut(path, 8)
  assert results.read(path) == document
  results.cut(path, 4)
  assert [m["step"] for m in results.read(path)["measurements"]] == [4] and not results.read(path)["finished"]


def test_a_file_that_cannot_be_read_is_named(tmp_path):
  (tmp_path / "results.json").write_text("{")
  with pytest.raises(UserError, match=r"results\.json cannot be read"):
    results.add(tmp_path / "results.json", 0, [])
