"""The model card: results of the exported network, its license, its images; no path of a machine."""

import pytest
import yaml

from jaxssl.config.absolute import OF_FILES
from jaxssl.export.bundle import open_bundle
from tests.export import fixtures
from tests.export.fixtures import MODELS, export

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("one_device"), pytest.mark.xdist_group("export")]


def test_the_model_card_lists_the_results_of_the_exported_network(runs, tmp_path):
  workdir = fixtures.run(tmp_path / "run", MODELS["small_stem"], channels=1, holdout=0.2)
  fixtures.results(workdir)
  assert export(workdir, tmp_path / "out", "stablehlo", "--license=mit") == 0
  text = (tmp_path / "out" / "README.md").read_text()
  assert text.startswith("---\nlibrary_name: jaxssl\n") and '\nlicense: "mit"\n' in text and "No license" not in text
  protocol = "k 20, reference birds/train, reference images 9"
  assert f"| 20 nearest neighbors (knn20_cosine) | 61.25% (penalty 0.01) | {protocol} |" in text
  assert f"| Few labels (lowshot) | 40 ± 1.5 | {protocol} |" in text
  assert "| images | birds, without the 20% of each class that are held out to test on |" in text
  assert "somebody" not in text and str(tmp_path) not in text
  (entry,) = yaml.safe_load(text.split("---\n")[1])["model-index"][0]["results"]
  assert entry["metrics"][0]["value"] == 61.25 and entry["dataset"]["name"] == "birds/train"
  assert "hidden" not in text and "13" not in text.partition("## Results")[2]
  assert "1 channel; with antialiasing: the whole image is resized to 32 x 32, bicubic" in text
  assert "somebody" not in (tmp_path / "out" / "config.json").read_text()
  assert export(runs("vit"), tmp_path / "other", "flax") == 0
  text = (tmp_path / "other" / "README.md").read_text()
  assert '\nlicense: "other"\n' in text and "No license was named" in text and "Nothing was measured" in text
  assert "model-index" not in text
  assert "| images | birds |" in text


@pytest.mark.parametrize(
  "source, path, data",
  [
    *((source, "/home/somebody/birds", "birds") for source in (*OF_FILES, "a_plugin")),
    ("packed", "gs://bucket/birds", "birds"),
    ("tfds", "birds/small:1.0.0", "birds/small:1.0.0"),
    ("digits", "", "digits"),
  ],
)
def test_no_path_of_a_machine_is_published(source, path, data, tmp_path):
  workdir = fixtures.run(tmp_path / "run", MODELS["cifar_stem"], data={"source": source, "path": path})
  assert open_bundle(workdir).about["data"] == data
