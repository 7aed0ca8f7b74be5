"""The runs of a comparison: every config with every combination of the values of some fields."""

import dataclasses
import itertools
import pathlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

from jaxssl.config.absolute import absolute_paths
from jaxssl.config.fields import parse_value, type_of
from jaxssl.config.load import load_config
from jaxssl.config.schema import Config
from jaxssl.core import UserError
from jaxssl.report.groups import is_seed

Sweeps = Mapping[str, Sequence[str]]  # values of fields, as on the command line, by dotted path


@dataclasses.dataclass(frozen=True, kw_only=True)
class Planned:
  """One run. `name`: its folder below that of the comparison."""

  name: str
  config: Config
  words: tuple[str, ...]  # the options of its command, without --workdir

  def command(self, workdir: pathlib.Path) -> list[str]:
    """Returns the words after `jaxssl`."""
    return ["train", *self.words, f"--workdir={workdir / self.name}"]


def runs(configs: Sequence[str], sweeps: Sweeps, changes: Mapping[str, Any]) -> list[Planned]:
  """Returns the runs, in the order of the configs, then of the values; seeds vary fastest.

  configs: FILE[:RECIPE]; changes: fields of all runs. Raises UserError for what cannot run, and for two runs of one name.
  """
  for field, values in sweeps.items():
    type_of(field)
    if field in changes:
      raise UserError(f"--config.{field}={changes[field]}: is varied, too; expected one of the two")
    if not all(values) or len(set(values)) < len(values):
      raise UserError(f"--sweep {field}={','.join(values)}: expected different values, separated by commas")
  fields = sorted(sweeps, key=is_seed)  # groups first
  planned = []
  for config in configs:
    if ".py" in config.partition(":")[2]:
      raise UserError(f"--configs {config}: more than one config; expected spaces between them")
    for values in itertools.product(*(sweeps[field] for field in fields)):
      own = dict(zip(fields, values, strict=True))
      parsed = {field: parse_value(field, value) for field, value in own.items()}
      words = (f"--config={config}", *(f"--config.{field}={value}" for field, value in {**changes, **own}.items()))
      read = absolute_paths(load_config(config, {**changes, **parsed}))
      planned.append(Planned(name="/".join([_stem(config), *itertools.starmap(_part, own.items())]), config=read, words=words))
  if len({run.name for run in planned}) < len(planned):
    raise UserError(f"--configs {' '.join(configs)}: two have the same name; expected different file names or recipes")
  return planned


def _stem(config: str) -> str:
  file, _, recipe = config.partition(":")
  return "-".join([pathlib.PurePath(file).stem, *filter(None, recipe.split(","))])


def _part(field: str, value: str) -> str:
  """Returns the folder of one value: adaptive, seed0, imbalance.seed3, or bootstrap.k=5."""
  text = re.sub(r"[^\w.+-]", "_", value)
  if field == "bootstrap.policy":
    return text
  return f"{field.removeprefix('train.').removeprefix('data.')}{text}" if is_seed(field) else f"{field}={text}"
