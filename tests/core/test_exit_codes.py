"""Exit codes: their table in the documentation, and the errors that lead to them."""

import errno
import pathlib

import pytest

from jaxssl import main
from jaxssl.core import Unavailable, UserError, exit_codes
from jaxssl.core.storage_errors import AbsentInBucket
from jaxssl.parallel import preemption
from jaxssl.train.diagnostics import Stopped

ROOT = pathlib.Path(__file__).parents[2]
CODES = {name: code for name, code in vars(exit_codes).items() if isinstance(code, int)}


def test_every_code_has_a_meaning_and_no_two_are_the_same():
  assert CODES == {"DONE": 0, "FAILED": 1, "MISTAKE": 2, "DIVERGED": 3, "AGAIN": 75, "INTERRUPTED": 130}
  assert list(exit_codes.MEANINGS) == list(CODES.values())


@pytest.mark.parametrize("code", exit_codes.MEANINGS)
def test_the_documentation_has_the_meanings(code):
  meaning, rerun = exit_codes.MEANINGS[code]
  assert f"| {code} | {meaning} | {rerun} |".replace("  |", " |") in (ROOT / "docs/reliability.md").read_text()


def test_errors_end_with_their_codes():
  assert UserError("a").exit_code == exit_codes.MISTAKE and Stopped("a").exit_code == exit_codes.DIVERGED
  assert Unavailable("a").exit_code == preemption.AGAIN == exit_codes.AGAIN
  assert not issubclass(Unavailable, UserError | OSError | ValueError | RuntimeError)


def raising(error):
  def run():
    raise error

  return run


@pytest.mark.parametrize(
  "error, code, line",
  [
    (OSError(errno.ESTALE, "Stale file handle", "/a/b"), 75, "Stale file handle: /a/b. Rerun the same command to resume"),
    (Unavailable("it does not respond"), 75, "it does not respond"),
    (PermissionError(errno.EACCES, "Permission denied", "/a/b"), 2, "Permission denied: /a/b"),
    (OSError(errno.ENOSPC, "No space left on device", "/a\nb"), 2, r"No space left on device: /a\nb"),
    (AbsentInBucket("no gs://a/b"), 2, "no gs://a/b"),
    (UserError("a=1: wrong"), 2, "a=1: wrong"),
  ],
)
def test_errors_of_storage_that_nothing_explains_are_one_line(error, code, line, capfd):
  assert main._execute(raising(error)) == code
  assert capfd.readouterr().err == f"error: {line}\n"


@pytest.mark.parametrize("error", [KeyError("a"), FileNotFoundError(2, "No such file", "/a"), ValueError("error: 503 images")])
def test_mistakes_of_the_program_are_no_errors_of_storage(error):
  with pytest.raises(type(error)):
    main._execute(raising(error))


def test_a_crash_ends_with_its_code_and_a_traceback(monkeypatch, capfd):
  monkeypatch.setattr(main, "main", raising(KeyError("a")))
  monkeypatch.setattr(main.os, "_exit", lambda code: (_ for _ in ()).throw(SystemExit(code)))
  with pytest.raises(SystemExit) as ended:
    main.run()
  assert ended.value.code == exit_codes.FAILED and "KeyError: 'a'" in capfd.readouterr().err
