"""Inspect a folder or zip of images and suggest a config to train on it.

Prints counts, sizes, unreadable files, duplicates, colors and reading speed, and a config with a reason for each value.
"""

from jaxssl.config.flags import Parser


def add_options(parser: Parser) -> None:
  parser.add_argument("--data", metavar="FOLDER_OR_ZIP", required=True, dest="images", help="the images")
  files = "write the config, and a list of problems to CONFIG.found.txt"
  parser.add_argument("--out", metavar="CONFIG.py", help=files)
  parser.add_fields("data", "set a field of the config, e.g. --data.test_path=FOLDER")
