"""Reads tables with a column of paths, and optionally of labels and of splits: CSV, TSV, and their relatives."""

import csv
import io
import re
from collections import Counter
from collections.abc import Iterator, Sequence

from jaxssl.core import LOG, UserError
from jaxssl.data.folder_names import HELD_OUT, part_of

# Names of columns without capitals, spaces, _ and -; of several, the first in this order is used
PATH_COLUMNS = (
  "path file filename filepath image imagepath imagefile imagefilename imagefilepath img imgpath imgfile imagename imgname "
  "relpath relativepath paths files filenames filepaths images name imageid id"
).split()
LABEL_COLUMNS = "label class classname category target labels classes classlabel labelname species breed diagnosis dx y".split()
_SPLIT_COLUMNS = "split subset partition set phase usage datasplit".split()
_YES_OR_NO = re.compile("is(train|training|val|valid|validation|test|testing)(?:ing)?(?:image)?")  # is_valid, is_training_image
_VALUES = {
  **dict.fromkeys(("1", "1.0", "true", "t", "yes", "y"), True),
  **dict.fromkeys(("0", "0.0", "false", "f", "no", "n"), False),
}

Row = tuple[int, str, str]  # number of the line, name of the image, label ("": none)


def rows(text: str, path: str, where: str) -> Iterator[Row] | None:
  """Returns the rows to train on; None if `text` is not a table. Rows that are held out according to a column are left out.

  Raises UserError, which starts with `where`, for a CSV or TSV file without a column of paths, and for an unknown split.
  """
  is_table = path.lower().endswith((".csv", ".tsv"))
  first = text.split("\n", 1)[0]
  for delimiter in "\t,;|":
    header = [re.sub(r"[\s_-]", "", cell).lower() for cell in next(csv.reader([first], delimiter=delimiter), [])]
    column = next((header.index(name) for name in PATH_COLUMNS if name in header), None)
    if column is not None and (len(header) > 1 or is_table):
      return _rows(text, where, delimiter, header, column)
  if not is_table:
    return None
  expected = f"expected a header with a column of paths, named e.g. {', '.join(PATH_COLUMNS[:4])}"
  raise UserError(f"{where}: its first line is {first[:80]!r}; {expected}")


def _rows(text: str, where: str, delimiter: str, header: Sequence[str], column: int) -> Iterator[Row]:
  labels = next((header.index(name) for name in LABEL_COLUMNS if name in header and header.index(name) != column), None)
  split = next((k for k, name in enumerate(header) if name in _SPLIT_COLUMNS or _YES_OR_NO.fullmatch(name)), None)
  left_out = Counter[str]()
  for number, row in _cells(text, where, delimiter):
    if number == 1 or len(row) <= column or not row[column].strip():
      continue
    value = row[split].strip() if split is not None and len(row) > split else ""
    kind = "train" if split is None else _kind(header[split], value)
    if kind in HELD_OUT:
      left_out[value] += 1
    elif kind == "train":
      yield number, row[column], row[labels].strip() if labels is not None and len(row) > labels else ""
    else:
      problem = f"line {number}: {header[split or 0]} is {value!r}, neither training nor held-out images"
      raise UserError(f"{where}: {problem}; list only images to train on, and remove that column")
  used = f"paths from column {header[column]}, " + ("no labels" if labels is None else f"labels from column {header[labels]}")
  LOG.info("%s: %s", where, used)
  if left_out and split is not None:
    counts = ", ".join(f"{count} of {value}" for value, count in left_out.most_common())
    LOG.warning("%s: left out by column %s: %s", where, header[split], counts)


def _cells(text: str, where: str, delimiter: str) -> Iterator[tuple[int, list[str]]]:
  """Yields the number and the cells of each line. Raises UserError if a quoted cell spans lines or a cell is too long."""
  tabs = delimiter == "\t"  # in whose cells a quote is a character, as in 12", unless all of the cell is quoted
  reader = csv.reader(io.StringIO(text), delimiter=delimiter, quoting=csv.QUOTE_NONE if tabs else csv.QUOTE_MINIMAL)
  number = 1
  try:
    for row in reader:
      if reader.line_num > number:
        raise UserError(f"{where}: line {number}: a quoted cell spans lines; expected one line per image, and quotes in pairs")
      yield number, [re.sub('^"(.*)"$', r"\1", cell) for cell in row] if tabs else row
      number += 1
  except csv.Error as error:
    raise UserError(f"{where}: line {number}: {error}; expected one line per image, and quotes in pairs") from error


def _kind(column: str, value: str) -> str:
  """Returns what a value says that the image is for, a key of `folder_names.KINDS`; "" if it is unknown."""
  if not (known := _YES_OR_NO.fullmatch(column)):
    return part_of(value).kind
  kind, answer = part_of(known[1]).kind, _VALUES.get(value.lower())
  if answer is None:
    return ""
  return kind if answer else "train" if kind in HELD_OUT else "test"
