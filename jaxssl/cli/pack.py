"""Pack images into a few large files that every machine reads fast; rerun the same command to resume after an interruption.

Reads a folder, zip, list, tar (WebDataset), TFRecord, Parquet or NumPy file, or a dataset of TFDS. Train on the result with
--config.data.source=packed --config.data.path=DIR.
"""

from typing import Any

from jaxssl.config.flags import Parser


def add_options(parser: Parser) -> None:
  def add(name: str, metavar: str, help: str, **settings: Any) -> None:
    parser.add_argument(name, metavar=metavar, help=help, **settings)

  kinds = "a folder or zip of images; tar, TFRecord, Parquet or NumPy files or a folder of them; tfds:NAME; or a packed dataset"
  add("--data", "SOURCE", kinds, required=True)
  add("--out", "DIR", "a new folder, or gs://BUCKET/FOLDER", required=True)
  side = "resize larger images so that their shorter side has N pixels (default: 292); 0: keep the bytes of every file"
  add("--shorter-side", "N", side, type=int, default=292)
  add("--quality", "Q", "of the JPEGs that resized images are stored as, 1 to 100 (default: 90)", type=int, default=90)
  add("--shards", "N", "files per split (default: one for each 256 MB of the source)", type=int, default=0, dest="num_shards")
  add("--workers", "N", "processes (default: one per core)", type=int, default=0, dest="num_workers")
  parser.add_fields("data", "change how the images are read, e.g. --data.list_path=FILE, --data.test_path=FOLDER")
