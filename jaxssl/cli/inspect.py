"""`inspect`: inspects a folder of images and suggests a config."""

from typing import Any

from jaxssl.config.flags import Parser
from jaxssl.core.paths import path_of


def parser() -> Parser:
  """Returns the command's parser."""
  result = Parser(
    "inspect",
    "inspect a folder or zip of images and suggest a config to train on it",
    "Prints counts, sizes, unreadable files, duplicates, colors and reading speed, and a config with a reason for each value.",
  )
  result.add_argument("--data", metavar="FOLDER_OR_ZIP", required=True, help="the images")
  result.add_argument(
    "--out", metavar="CONFIG.py", type=path_of, help="write the config, and a list of problems to CONFIG.found.txt"
  )
  result.add_fields("data", "set a field of the config, e.g. --data.test_path=FOLDER")
  return result


def run(data: str, **options: Any) -> None:
  """Inspects."""
  from jaxssl import api

  api.inspect(data, **options)
