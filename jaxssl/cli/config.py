"""List recipes and config fields, or copy a config file to edit.

One of: jaxssl config list; jaxssl config fields [PREFIX]; jaxssl config copy NAME FILE.
"""

import itertools
import os
import pathlib
import shutil
import sys
from collections.abc import Iterator

from jaxssl.config import fields, load
from jaxssl.config.fields import Field
from jaxssl.config.flags import Parser
from jaxssl.config.parse import type_name
from jaxssl.config.schedules import ScheduleConfig
from jaxssl.config.schema import Config
from jaxssl.core import UserError, nearest_name, unknown_name

SMALLER = """
append ",cpu" for a smaller version: minutes on two CPU cores, the same budget for every method
append ",runlocal" for a smaller version: a minute on a CPU"""


def add_options(parser: Parser) -> None:
  actions = "list: recipes; fields: types, defaults and meanings; copy: a config file"
  parser.add_argument("action", metavar="ACTION", help=actions)
  words = "fields: a PREFIX such as optim.schedule, or a method; copy: NAME FILE"
  parser.add_argument("words", metavar="ARGUMENT", nargs="*", help=words)


def run(action: str, words: list[str]) -> None:
  actions = {"list": (list_recipes, range(1)), "fields": (list_fields, range(2)), "copy": (copy, [2])}
  if action not in actions:
    raise unknown_name(f"{action}: unknown action", action, actions)
  function, counts = actions[action]
  if len(words) not in counts:
    raise UserError(f"jaxssl config {action}: {len(words)} arguments; see jaxssl config --help")
  try:
    print(function(*words), flush=True)
  except BrokenPipeError:  # jaxssl config fields | head
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def list_recipes() -> str:
  """Returns every recipe of the project's config files with one line on each."""
  recipes = {
    f"{load.shortest(path)}:{name}".removesuffix(":"): text
    for path in load.config_files().values()
    for name, text in load.recipes_of(path).items()
  }
  width = max(map(len, recipes), default=0)
  return "\n".join([*(f"{name:<{width}}  {text}" for name, text in recipes.items()), SMALLER])


def list_fields(prefix: str = "") -> str:
  """Returns the fields whose path starts with `prefix`, or those of the method `prefix`. Raises UserError if there are none."""
  lines, known = [], []
  for title, text, rows in sections():
    method = title.removeprefix("method.name=")
    matching = [field for field in rows if prefix in ("", title, method) or f"{field.path}.".startswith(f"{prefix}.")]
    known += [method, *(field.path for field in rows)]
    lines += [f"# {title}: {text}".removesuffix(": ")] if matching else []
    for field in matching:
      lines.append(f"{field.path}={field.default}" if field.default else f"{field.path} (must be set)")
      role = "" if field.role == "result" else f" [{field.role}]"
      lines.append(f"    {type_name(field.kind)}: {field.meaning}".removesuffix(": ") + role)
  if not lines:
    raise UserError(f"{prefix}: no such field; did you mean {nearest_name(prefix, known)}?")
  return "\n".join(lines)


def copy(name: str, file: str) -> str:
  """Copies a config file, e.g. "nnboot" or "configs/nnboot.py", and returns how to train with it. Raises UserError."""
  files, out = load.config_files(), pathlib.Path(file)
  stem = pathlib.PurePath(name.partition(":")[0]).stem
  if stem not in files:
    raise UserError(f"{name}: no such config file; did you mean {nearest_name(stem, files)}? See jaxssl config list")
  if out.suffix != ".py":
    raise UserError(f"{file}: unknown kind of file; expected a Python file such as mine.py")
  if out.exists():
    raise UserError(f"{file}: exists; remove it or choose another name")
  try:
    out.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(files[stem], out)
  except OSError as error:
    raise UserError(f"{file}: cannot be written: {error.strerror}") from error
  return f"copied {load.shortest(files[stem])}; edit {out}, then run: jaxssl train --config {out}"


def sections() -> Iterator[tuple[str, str, list[Field]]]:
  """Yields (title, explanation, fields): the groups of a config, schedules, and the fields of each method."""
  from jaxssl.methods import METHODS  # imports JAX

  for group, rows in itertools.groupby(fields.fields_of(Config), lambda field: field.path.partition(".")[0]):
    yield group, "", list(rows)
  text = "A field of type `schedule` takes a number or these fields, e.g. `method.teacher_momentum.base`."
  yield "SCHEDULE", text, list(fields.fields_of(ScheduleConfig, "SCHEDULE."))
  for name, method in sorted(METHODS.items()):
    summary = (method.__doc__ or "").partition("\n")[0]
    yield f"method.name={name}", summary, list(fields.fields_of(method, "method."))
