import re
import types
from typing import Any

import numpy as np
import pytest

from jaxssl.config.eval_schema import LowshotConfig
from jaxssl.core import UserError
from jaxssl.evals import lowshot
from tests.evals.fixtures import extractor, features

LABELS = np.repeat(np.arange(3), [200, 100, 30]).astype(np.int32)
REFERENCE = features(np.random.default_rng(0).normal(size=(330, 4)) + LABELS[:, None], LABELS, "reference")


@pytest.mark.parametrize("shots, sizes", [(0.01, [2, 1, 1]), (0.1, [20, 10, 3]), (1, [1, 1, 1]), (30, [30, 30, 30])])
def test_a_draw_is_balanced_or_proportional(shots, sizes):
  rows = lowshot.draw(REFERENCE, shots, 0)
  assert np.bincount(LABELS[rows]).tolist() == sizes and len(set(rows.tolist())) == sum(sizes)
  assert (rows == lowshot.draw(REFERENCE, shots, 0)).all()
  assert (rows != lowshot.draw(REFERENCE, shots, 1)).any()


@pytest.mark.parametrize("shots", [31, 0, -1])
def test_impossible_shots_are_an_error(shots):
  with pytest.raises(
    UserError, match=rf"evals\.lowshot\.shots={shots}: out of range; expected at most 30, the size of the smallest class"
  ):
    lowshot.check(LowshotConfig(shots=(5, shots)), REFERENCE.labels)


def test_measurements_are_mean_and_deviation_over_draws():
  queries = np.random.default_rng(1).normal(size=(90, 4)) + np.arange(90)[:, None] % 3
  given = extractor(REFERENCE.x, LABELS, queries, np.arange(90) % 3, lowshot={"shots": (0.1, 5), "draws": 4})
  percent, five = lowshot.measure(given)
  assert (percent.name, five.name) == ("lowshot_10percent_linear", "lowshot_5_linear")
  assert percent.std and five.std and 40 < five.value < 100
  expected = {"labeled": "5 of each class", "labeled_images": 15, "draws": 4, "reference": "images", "reference_images": 330}
  assert expected.items() <= five.protocol.items()


def with_names(names: list[str | None], **config: object) -> Any:
  """Returns an extractor whose reference images have these names."""
  given = extractor(REFERENCE.x, LABELS, REFERENCE.x[:50], LABELS[:50], lowshot=config)
  source = types.SimpleNamespace(name="/data", relative_name=names.__getitem__)
  given.datasets.reference = types.SimpleNamespace(source=Named(source))
  return given


class Named:
  """A source of images of which only the names are known."""

  def __init__(self, source: Any):
    self.name, self.relative_name = source.name, source.relative_name

  def __len__(self) -> int:
    return len(LABELS)


NAMES = [f"n{label}/n{label}_{row}.JPEG" for row, label in enumerate(LABELS)]


def test_a_list_is_one_fixed_draw_named_after_its_file(tmp_path):
  rows = [0, 5, 201, 205, 301, 310]
  lines = "\n".join(NAMES[row].split("/")[1] for row in reversed(rows))  # bare names, as in the lists of ReSA
  (tmp_path / "1 percent.txt").write_text(lines)
  given = with_names(NAMES, shots=(), lists=(str(tmp_path / "1 percent.txt"),))
  (labeled,) = lowshot.labeled_images(given)
  assert [draw.tolist() for draw in labeled.draws] == [rows]
  (measured,) = lowshot.measure(given)
  assert measured.name == "lowshot_list_1_percent_linear" and measured.std is None
  assert measured.protocol["labeled"] == "list 1_percent" and measured.protocol["labeled_images"] == 6
  (tmp_path / "1 percent.txt").write_text(lines.replace("_0.", "_1."))
  assert lowshot.measure(given)[0].protocol["list_digest"] != measured.protocol["list_digest"]


def test_amounts_and_lists_can_be_measured_together(tmp_path):
  (tmp_path / "a.txt").write_text("\n".join(NAMES[::10]))
  measured = lowshot.measure(with_names(NAMES, shots=(5,), draws=2, lists=(str(tmp_path / "a.txt"),)))
  assert [m.name for m in measured] == ["lowshot_5_linear", "lowshot_list_a_linear"]


def test_a_listed_image_that_is_not_a_reference_image_is_an_error(tmp_path):
  (tmp_path / "a.txt").write_text(f"{NAMES[0]}\nn9_9.JPEG\n")
  path = tmp_path / "a.txt"
  expected = f"evals.lowshot.lists={path}: 1 of 2 lines name no training image of /data/, e.g. line 2, n9_9.JPEG; expected "
  with pytest.raises(UserError, match=re.escape(expected)):
    lowshot.measure(with_names(NAMES, lists=(str(path),)))


@pytest.mark.parametrize(
  "names, config, message",
  [
    (NAMES, {"lists": ("/nowhere.txt",)}, "evals.lowshot.lists=/nowhere.txt: cannot be read: No such file or directory"),
    (
      [None] * 330,
      {"lists": ("a.txt",)},
      "evals.lowshot.lists=a.txt: the images of /data have no names; expected data.source=",
    ),
    (
      NAMES,
      {"shots": ()},
      "evals.lowshot.shots and evals.lowshot.lists are empty; expected amounts or lists of labeled images",
    ),
  ],
)
def test_lists_that_cannot_be_used_are_errors(names, config, message):
  with pytest.raises(UserError, match=re.escape(message)):
    lowshot.measure(with_names(names, **config))


def test_shares_below_a_percent_have_names_of_their_own():
  given = extractor(REFERENCE.x, LABELS, REFERENCE.x[:50], LABELS[:50], lowshot={"shots": (0.001, 0.005, 0.07), "draws": 1})
  sets = lowshot.labeled_images(given)
  assert [labeled.name for labeled in sets] == ["0_1percent", "0_5percent", "7percent"]
  assert [labeled.described for labeled in sets] == ["0.1% of each class", "0.5% of each class", "7% of each class"]
