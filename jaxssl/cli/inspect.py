"""Inspect a folder or zip of images and suggest a config to train on it.

Prints counts, sizes, unreadable files, duplicates, colors and reading speed, a config with a reason for each value, and how
long it takes on this machine.
"""

from jaxssl.config.flags import Parser


def add_options(parser: Parser) -> None:
  parser.add_argument("--data", metavar="FOLDER_OR_ZIP", required=True, dest="images", help="the images")
  duplicates = "train on one of several images that are, or may be, the same, and on none of the test split; needs --out"
  parser.add_argument("--drop-duplicates", action="store_true", help=duplicates)
  files = "write the config, a list of problems to CONFIG.found.txt, and near duplicates to CONFIG.duplicates.png"
  parser.add_argument("--out", metavar="CONFIG.py", help=files)
  help = "do not time steps of training, which takes about a minute, to estimate how long a run takes on this machine"
  parser.add_argument("--no-estimate", action="store_false", dest="estimate", help=help)
  parser.add_fields("data", "set a field of the config, e.g. --data.test_path=FOLDER")
