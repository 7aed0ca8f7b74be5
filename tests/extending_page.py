"""Reads the examples of docs/extending.md, which tests execute."""

import pathlib
import re

PAGE = pathlib.Path(__file__).parents[1] / "docs" / "extending.md"


def example(section: str) -> str:
  """Returns the Python code of a section, by its title: "Add a method"."""
  (body,) = re.findall(rf"^## {section}\n(.*?)(?=^## |\Z)", PAGE.read_text(), flags=re.DOTALL | re.MULTILINE)
  (code,) = re.findall(r"```python\n(.*?)```", body, flags=re.DOTALL)
  return code
