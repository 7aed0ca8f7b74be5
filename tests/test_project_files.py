"""Links of the pages lead somewhere, and the files of the repository agree with the package."""

import pathlib
import re

import pytest
import yaml

from jaxssl.core.version import VERSION

ROOT = pathlib.Path(__file__).parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("benchmarks/*.md")])
TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


def anchors(page: pathlib.Path) -> set[str]:
  """Returns the anchors of a page's headings, as GitHub makes them."""
  headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
  return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_to_files_and_headings(page):
  for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
    if not link.startswith(("http://", "https://", "mailto:")):
      path, _, anchor = link.partition("#")
      target = (page.parent / path).resolve() if path else page
      assert target.exists(), f"{link}: no such file"
      assert not anchor or anchor in anchors(target), f"{link}: no such heading"


def test_there_are_links():
  assert sum(len(re.findall(r"\]\((?!http)", page.read_text())) for page in PAGES) > 100


def test_the_citation_names_this_version():
  citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
  assert str(citation["version"]) == VERSION and citation["license"] in (ROOT / "pyproject.toml").read_text()
  assert {reference["url"].rpartition("/")[2] for reference in citation["references"]} == {
    "2303.13606",
    "2012.09259",
    "2501.18452",
  }


def test_workflows_run_what_there_is():
  workflows = [yaml.safe_load(path.read_text()) for path in sorted((ROOT / ".github/workflows").glob("*.yml"))]
  steps = [step["run"] for workflow in workflows for job in workflow["jobs"].values() for step in job["steps"] if "run" in step]
  made = [target for run in steps for target in re.findall(r"^make (\S+)", run)]
  assert ".ci/run" in steps and {"test-portable", "demo"} <= set(made)
  assert all(target in TARGETS or target == ".venv/installed" for target in made)


def test_issue_forms_have_what_github_asks_for():
  forms = [yaml.safe_load(path.read_text()) for path in sorted((ROOT / ".github/ISSUE_TEMPLATE").glob("*.yml"))]
  assert len(forms) == 2 and all({"name", "description", "body"} <= form.keys() for form in forms)
  assert "jaxssl doctor" in str(forms[0])
