"""`config`: lists recipes and fields, and copies config files."""

import os
import pathlib
import shutil
import sys
from collections.abc import Iterator

from jaxssl.config import catalog, fields
from jaxssl.config.fields import Field
from jaxssl.config.flags import Parser
from jaxssl.config.schedules import ScheduleConfig
from jaxssl.config.schema import Config
from jaxssl.core.errors import UserError, nearest_name

GENERATE = "jaxssl config fields --markdown > docs/config.md"


def parser() -> Parser:
  """Returns the command's parser."""
  result = Parser(
    "config",
    "list recipes and config fields, or copy a config file to edit",
    "jaxssl config list; jaxssl config fields [PREFIX]; jaxssl config copy NAME FILE",
  )
  result.add_argument(
    "action", metavar="ACTION", help="list: recipes; fields: types, defaults and meanings; copy: a config file"
  )
  result.add_argument(
    "words", metavar="ARGUMENT", nargs="*", help="fields: a PREFIX such as optim.schedule, or a method; copy: NAME FILE"
  )
  result.add_argument("--markdown", action="store_true", help="fields: as Markdown")
  return result


def run(action: str, words: list[str], markdown: bool) -> int:
  """Prints or copies."""
  actions = {"list": (list_recipes, 0, 0), "fields": (list_fields, 0, 1), "copy": (copy, 2, 2)}
  if action not in actions:
    near = nearest_name(action, actions)
    raise UserError(f"{action}: unknown action; expected {', '.join(actions)}; did you mean {near}?")
  function, least, most = actions[action]
  if not least <= len(words) <= most:
    raise UserError(f"jaxssl config {action}: {len(words)} arguments; see jaxssl config --help")
  text = page() if markdown and action == "fields" else function(*words)
  try:
    print(text, flush=True)
  except BrokenPipeError:  # jaxssl config fields | head
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
  return 0


def list_recipes() -> str:
  """Returns every recipe of the project's config files with one line on each."""
  recipes = {
    f"{path}:{name}".removesuffix(":"): text
    for path in catalog.config_files()
    for name, text in catalog.recipes_of(path).items()
  }
  width = max(map(len, recipes), default=0)
  smaller = [f'append ",{name}" for a smaller version: {text}' for name, text in catalog.SMALLER.items()]
  return "\n".join([*(f"{name:<{width}}  {text}" for name, text in recipes.items()), "", *smaller])


def list_fields(prefix: str = "") -> str:
  """Returns the fields whose path starts with `prefix`, or those of the method `prefix`. Raises UserError if there are none."""
  lines, known = [], [*fields.paths()]
  for title, text, rows in sections():
    whole = prefix in ("", title, title.removeprefix("method.name="))
    found = [field for field in rows if whole or f"{field.path}.".startswith(f"{prefix}.")]
    known += [title.removeprefix("method.name="), *(field.path for field in rows)]
    lines += [f"# {title}" + (f": {text}" if text else "")] if found else []
    for field in found:
      lines.append(f"{field.path}={field.default}" if field.default else f"{field.path} (must be set)")
      lines.append(f"    {field.type}" + (f": {field.meaning}" if field.meaning else ""))
  if not lines:
    raise UserError(f"{prefix}: no such field; did you mean {nearest_name(prefix, known)}?")
  return "\n".join(lines)


def copy(name: str, file: str) -> str:
  """Copies a config file, and says how to train with it. Raises UserError."""
  source, out = catalog.config_file(name), pathlib.Path(file)
  if out.suffix != ".py":
    raise UserError(f"{file}: unknown kind of file; expected a Python file such as mine.py")
  if out.exists():
    raise UserError(f"{file}: exists; remove it or choose another name")
  try:
    out.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, out)
  except OSError as error:
    raise UserError(f"{file}: cannot be written: {error.strerror}") from error
  return f"copied {source}; edit {out}, then run: jaxssl train --config {out}"


def sections() -> Iterator[tuple[str, str, list[Field]]]:
  """Yields (title, explanation, fields): the groups of a config, schedules, and the fields of each method."""
  from jaxssl.methods import METHODS  # imports JAX

  groups: dict[str, list[Field]] = {}
  for field in fields.fields_of(Config):
    groups.setdefault(field.path.partition(".")[0], []).append(field)
  for name, rows in groups.items():
    yield name, "", rows
  text = "A field of type `schedule` takes a number or these fields, e.g. `method.teacher_momentum.base`."
  yield "SCHEDULE", text, list(fields.fields_of(ScheduleConfig, "SCHEDULE."))
  for name, method in sorted(METHODS.items()):
    summary = (method.__doc__ or "").partition("\n")[0]
    yield f"method.name={name}", summary, list(fields.fields_of(method, "method."))


def page() -> str:
  """Returns docs/config.md."""
  lines = [
    "# Config fields",
    "",
    "Set a field on the command line, `--config.FIELD=VALUE`, or in a config file. `jaxssl config fields [PREFIX]` shows the",
    "same list, `jaxssl config list` the recipes, and `jaxssl config copy NAME FILE` makes a copy of a config file to edit.",
    "",
    f"This page is generated: `{GENERATE}`.",
  ]
  for title, text, rows in sections():
    lines += ["", f"## `{title}`", *(["", text] if text else [])]
    if rows:
      lines += ["", "| field | type | default | meaning |", "|---|---|---|---|"]
    for field in rows:
      cells = (f"`{field.path}`", field.type, f"`{field.default}`" if field.default else "must be set", field.meaning)
      lines.append(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |")
  return "\n".join(lines)
