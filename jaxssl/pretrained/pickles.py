"""What the pickles in a torch file would call, found out without calling it, and without torch."""

import pathlib
import pickletools
import re
import zipfile
from collections.abc import Iterator
from typing import IO

from jaxssl.core.errors import UserError

# What a torch file of plain tensors and settings names. Whatever else a pickle would call is told, and not called.
HARMLESS = re.compile(
  r"torch\.\w+|torch\.storage\.\w+|torch\._utils\._\w+|torch\._tensor\._\w+|torch\.nn\.parameter\.\w+|torch\.serialization\._\w+|"
  r"collections\.\w+|argparse\.Namespace|_codecs\.encode|(__builtin__|builtins)\.(set|bytearray)|"
  r"numpy\.dtype|numpy\._?core\.multiarray\.scalar"
)
OLDEST = 5  # pickles in a row make up torch's format before 1.6: magic number, version, system, the tree, names of storages


def refuse_code(path: pathlib.Path) -> None:
  """Raises UserError for a file that would call anything but tensors and settings, is cut off, or is not torch's.

  torch's own reader refuses such files too. This one says what is wrong with them in one line.
  """
  try:
    names, whole = _called(path)
  except UserError:
    raise
  except Exception as error:  # pickletools and zipfile raise nearly any type on a damaged file
    raise UserError(f"model.init_from={path} is cut off, or no pickle: {error}") from error
  for name in names:
    if not HARMLESS.fullmatch(name):
      raise UserError(
        f"model.init_from={path} is a pickle with code in it: it would call {name}. It was not; save the state_dict alone"
      )
  if not whole:
    raise UserError(f"model.init_from={path} is no weights file but an archive or a pickle that torch.save did not write")


def _called(path: pathlib.Path) -> tuple[list[str], bool]:
  """Lists the dotted names of all that would be called, and says whether all pickles of a torch file are there."""
  if not zipfile.is_zipfile(path):
    with path.open("rb") as file:
      if file.read(2) == b"PK":
        raise EOFError("the end of the archive is missing")
      file.seek(0)
      names, count = [], 0
      while count < OLDEST and file.peek(1):
        names += _globals(file)
        count += 1
      return names, count == OLDEST
  with zipfile.ZipFile(path) as archive:
    if any(name.endswith("/constants.pkl") for name in archive.namelist()):
      raise UserError(f"model.init_from={path} is a TorchScript program; save its state_dict")
    packed = next((info.filename for info in archive.infolist() if info.compress_type != zipfile.ZIP_STORED), None)
    if packed:  # a few bytes of it may stand for terabytes
      raise UserError(f"model.init_from={path} is no weights file but an archive: {packed} in it is compressed")
    trees = [name for name in archive.namelist() if name.endswith("/data.pkl")]
    names = []
    for name in trees:
      with archive.open(name) as file:
        names += _globals(file)
    return names, bool(trees)


def _globals(file: IO[bytes]) -> Iterator[str]:
  """Names what one pickle would import, read as data."""
  texts: list[str] = []  # pushed so far; STACK_GLOBAL takes the last two
  memo: dict[int, str] = {}
  for opcode, argument, _ in pickletools.genops(file):
    if opcode.name in ("GLOBAL", "INST"):
      yield str(argument).replace(" ", ".")
    elif opcode.name == "STACK_GLOBAL":
      yield ".".join(texts[-2:])
    elif opcode.name in ("MEMOIZE", "BINPUT", "LONG_BINPUT", "PUT"):
      memo[len(memo) if argument is None else argument] = texts[-1] if texts else ""
    elif opcode.name in ("BINGET", "LONG_BINGET", "GET"):
      texts.append(memo.get(int(argument or 0), ""))
    elif isinstance(argument, str):
      texts.append(argument)
