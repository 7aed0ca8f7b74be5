"""Writes docs/config.md to the standard output."""

from jaxssl.cli.config import sections
from jaxssl.config.parse import type_name
from jaxssl.config.roles import MEANINGS

COMMAND = "python docs/config_fields.py > docs/config.md"
HEAD = f"""# Config fields

Set a field on the command line, `--config.FIELD=VALUE`, or in a config file. `jaxssl config fields [PREFIX]` shows the
same list, `jaxssl config list` the recipes, and `jaxssl config copy NAME FILE` makes a copy of a config file to edit. The
project's own config files are found in any folder by their names: `--config nnboot:cifar10` is
`--config configs/nnboot.py:cifar10`, unless there is a file of that name.

The last column is the field's role when a run is resumed with another value:

{chr(10).join(f"- {role}: {meaning}" for role, meaning in MEANINGS.items())}

This page is generated: `{COMMAND}`."""


def page() -> str:
  """Returns the page."""
  lines = [HEAD]
  for title, text, rows in sections():
    lines += ["", f"## `{title}`", *(["", text] if text else [])]
    if rows:
      lines += ["", "| field | type | default | meaning | role |", "|---|---|---|---|---|"]
    for field in rows:
      default = f"`{field.default}`" if field.default else "must be set"
      cells = f"`{field.path}`", type_name(field.kind), default, field.meaning, field.role
      lines.append(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |")
  return "\n".join(lines)


if __name__ == "__main__":
  print(page())
