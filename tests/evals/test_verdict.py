"""The answer to whether a run learned, in words."""

import re

import pytest

from jaxssl.config.schema import Config
from jaxssl.core.metric import Measurement, Metric
from jaxssl.evals import verdict
from jaxssl.evals.feature_stats import ALIGNMENT, CROPS_ALIKE, EFFECTIVE_RANK, UNIFORMITY
from jaxssl.workdir import results
from jaxssl.workdir.records import Baseline, Final, RunRecord
from jaxssl.workdir.workdir import Workdir

KNN = Metric(name="knn1_cosine", title="k-NN", unit="%", higher_is_better=True)


def knn(value: float, protocol: dict | None = None, **baselines: Baseline) -> Final:
  about = {"step": 1, "name": KNN.name, "subject": "teacher", "protocol": protocol or {"test": "birds"}}
  return Final(value=value, metric=KNN, baselines=baselines, **about)


def record(folder, alike: float | None = 94.0, rank: float = 30.0, levels: dict[str, tuple] | None = None) -> RunRecord:
  """Writes a run without labels; levels: (value, std, seeds) of baselines."""
  workdir = Workdir(folder)
  workdir.stored()
  workdir.write_config(Config())
  values = {EFFECTIVE_RANK: rank, UNIFORMITY: -2.0, ALIGNMENT: 0.4} | ({} if alike is None else {CROPS_ALIKE: alike})
  sample = {"protocol": {"sample": 1024}, "evaluation": "quality"}
  measured = [Measurement(metric=metric, value=x, subject="student", **sample) for metric, x in values.items()]
  results.add(workdir.results, 8, measured, finished=True)
  for subject, (value, std, seeds) in (levels or {}).items():
    about = {"subject": subject, **sample}
    level = Measurement(metric=CROPS_ALIKE, value=value, std=std, seeds=seeds, **about)
    misleading = Measurement(metric=ALIGNMENT, value=0.1, **about)  # a distance that reads as better
    results.add(workdir.results, 0, [level, misleading])
  return RunRecord(workdir)


@pytest.mark.parametrize(
  "protocol, text",
  [
    ({"test": "birds"}, "give the class of 50.0% of the images;"),
    ({"test": "leave one out"}, "give the class of 50.0% of the images, each compared with the others;"),
    ({"test": "birds", "test_held_out": 0.2}, "give the class of 50.0% of the held-out images;"),
  ],
)
def test_the_answer_names_the_images(protocol, text):
  assert text in verdict.with_labels(knn(50.0, protocol))


@pytest.mark.parametrize(
  "value, untrained, raw_pixels, answer",
  [
    (50.0, (43.5, 6.0, 3), (30.0, None, 1), "Yes: "),
    (49.0, (43.5, 6.0, 3), (30.0, None, 1), "Partly: "),  # within the deviation of the untrained network
    (49.0, (43.5, None, 1), (30.0, None, 1), "Yes: "),
    (49.0, (43.5, 6.0, 3), (48.5, None, 1), "Not yet: "),  # less than a point above raw pixels
    (99.9, (99.5, None, 1), (99.5, None, 1), "Too easy to tell: "),
  ],
)
def test_a_run_learned_if_it_is_clearly_better_than_its_baselines(value, untrained, raw_pixels, answer):
  final = knn(value, untrained=Baseline(*untrained), raw_pixels=Baseline(*raw_pixels))
  assert verdict.with_labels(final).startswith(answer)


def test_differences_are_in_words():
  final = knn(40.0, untrained=Baseline(43.5, 6.0, 3), raw_pixels=Baseline(76.0))
  expected = (
    "not clearly different from the untrained network (43.5 ± 6.0 over 3 seeds) and 36.0 points below raw pixels (76.0)."
  )
  assert verdict.with_labels(final).endswith(f"40.0% of the images, {expected}")


def test_without_labels_crops_that_are_alike_show_that_training_worked(tmp_path):
  levels = {"untrained": (31.0, 2.0, 3), "raw_pixels": (12.0, None, 1)}
  assert verdict.verdict(record(tmp_path, levels=levels)) == (
    "Yes, as far as that shows without labels: different images have different features, and a crop is more similar to another "
    "crop of its image than to 94.0% of the crops of others (by chance 50%), 63.0 points above the untrained network "
    "(31.0 ± 2.0 over 3 seeds) and 82.0 points above raw pixels (12.0). Networks are trained for that: it shows that training "
    "worked, not how useful the features are; look at the nearest neighbors."
  )


@pytest.mark.parametrize(
  "about, answer",
  [
    ({"rank": 1.2}, r"No: the features collapsed, .* \(effective rank 1\.20, uniformity -2\.00\)"),
    ({"alike": 32.0, "levels": {"untrained": (31.0, 2.0, 3)}}, "Not yet: the features did not collapse, but a crop"),
    ({"alike": 100.0, "levels": {"untrained": (99.6, None, 1)}}, "It did not collapse: .* too easy here to show more"),
    ({"levels": {}}, "It did not collapse: .* no untrained network to compare with. Networks are trained for that"),
    ({"alike": None}, "It did not collapse: .* How useful they are: look at the nearest neighbors"),  # an older run
  ],
)
def test_without_labels_the_answer_is_never_more_than_is_known(about, answer, tmp_path):
  text = verdict.verdict(record(tmp_path, **about))
  assert re.match(answer, text), text


def test_results_on_other_images_do_not_change_the_answer(tmp_path):
  run = record(tmp_path, levels={"untrained": (31.0, 2.0, 3)})
  before, finals = verdict.verdict(run), run.finals()
  about = {"metric": KNN, "protocol": {"test": "birds"}, "evaluation": "knn"}
  results.add(run.workdir.results, 8, [Measurement(value=61.0, subject="student", **about)], dataset="birds")
  results.add(run.workdir.results, 0, [Measurement(value=77.0, subject="raw_pixels", **about)], dataset="birds")
  run = RunRecord(run.workdir)
  assert verdict.verdict(run) == before and run.finals() == finals and run.datasets == ["birds"]
  assert [str(final) for final in run.finals("birds")] == ["knn1_cosine 61.00; raw pixels 77.00"]


def test_only_numbers_that_are_better_in_one_direction_have_baselines(tmp_path):
  run = record(tmp_path, levels={"untrained": (31.0, 2.0, 3), "raw_pixels": (12.0, None, 1)})
  finals = {final.name: final for final in run.finals()}
  assert str(finals["crops_alike"]) == "crops_alike 94.00; untrained 31.00 ± 2.00 (3 seeds); raw pixels 12.00"
  assert str(finals["alignment"]) == "alignment 0.40" and run.baselines("alignment") == {}
  assert run.baselines("crops_alike") == {"untrained": 31.0, "raw_pixels": 12.0}
