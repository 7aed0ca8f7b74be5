"""Config files and plugins are the only code that runs: nothing else is read as code, and no archive is unpacked."""

import ast
import pathlib
from collections.abc import Iterator

import pytest

ROOT = pathlib.Path(__file__).parents[2]
MODULES = {  # never imported
  *("pickle", "_pickle", "cPickle", "cloudpickle", "dill", "joblib", "shelve", "marshal", "yaml", "runpy", "code", "codeop"),
  *("tarfile", "ctypes", "cffi", "imp", "builtins", "xmlrpc", "pty"),
}
NAMES = {"eval", "exec", "compile", "__import__", "breakpoint", "input"}  # builtins
ATTRIBUTES = {  # of any object
  *("exec_module", "load_module", "import_module", "__import__", "__builtins__", "extractall", "extract", "unpack_archive"),
  *("mktemp", "system", "popen", "Unpickler", "find_class", "__globals__", "__subclasses__", "getoutput", "getstatusoutput"),
  *("execv", "execve", "execvp", "spawnv", "spawnl", "posix_spawn", "full_load", "unsafe_load", "literal_eval"),
  "spec_from_file_location",
}
ALLOWED = {
  ("jaxssl/config/plugins.py", "spec_from_file_location"),  # config files and plugins
  ("jaxssl/config/plugins.py", "exec_module"),
  ("jaxssl/config/fields.py", "literal_eval"),  # a flag's value, which is not code
  ("jaxssl/__init__.py", "import_module"),  # the package's own api, on first use
  ("jaxssl/cli/__init__.py", "import_module"),  # the module of a command
  ("jaxssl/train/loggers/base.py", "import_module"),  # the client of a tracker, by its fixed name
  ("jaxssl/main.py", "run(**...)"),  # a command with its options
}
UNPICKLING = {  # what processes that this one has started send to it, and it to them, on sockets without a name
  "jaxssl/data/filler.py",
  "jaxssl/data/worker_pool.py",
  "jaxssl/data/worker_process.py",
  "jaxssl/pack/workers.py",
}
TAR = {"jaxssl/data/webdataset.py"}  # lists members, whose bytes are read in place
PROCESSES = {  # run git to read the commit; run jaxssl itself
  "jaxssl/data/worker_pool.py",
  "jaxssl/workdir/results.py",
  "jaxssl/compare/execute.py",
}


def wrong(text: str, file: str) -> Iterator[str]:
  """Yields the forbidden constructs in the text of a file."""
  tree = ast.parse(text)
  for node in ast.walk(tree):
    if isinstance(node, ast.Import | ast.ImportFrom):
      names = [node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
      allowed = {"pickle"} if file in UNPICKLING else {"tarfile"} if file in TAR else set()
      yield from (f"import {name}" for name in names if name.split(".")[0] in MODULES - allowed)
      yield from (f"import {name}" for name in names if name.split(".")[0] == "subprocess" and file not in PROCESSES)
      if isinstance(node, ast.ImportFrom):
        yield from (alias.name for alias in node.names if alias.name in (ATTRIBUTES | NAMES) - {"compile", "extract"})
    elif isinstance(node, ast.Name) and node.id in NAMES:
      yield node.id
    elif isinstance(node, ast.Attribute) and node.attr in ATTRIBUTES and (file, node.attr) not in ALLOWED:
      yield node.attr
    elif isinstance(node, ast.Constant) and node.value in (ATTRIBUTES | NAMES) - {"input", "compile", "extract", "system"}:
      yield f"{node.value!r} in quotes"  # for getattr
    elif isinstance(node, ast.Call):
      given = {keyword.arg: keyword.value for keyword in node.keywords}
      called = ast.unparse(node.func)
      for name, only in (("allow_pickle", False), ("shell", False), ("weights_only", True), ("trust_remote_code", False)):
        if name in given and not (isinstance(given[name], ast.Constant) and given[name].value is only):  # type: ignore[attr-defined]
          yield f"{name}={ast.unparse(given[name])}"
      if called.endswith("torch.load") and "weights_only" not in given or called.endswith("hub.load"):
        yield called
      if None in given and called.split(".")[-1] in ("load", "run", "Popen") and (file, f"{called}(**...)") not in ALLOWED:
        yield f"{called}(**...)"


@pytest.mark.parametrize("path", sorted([*ROOT.glob("jaxssl/**/*.py"), *ROOT.glob("configs/*.py")]), ids=lambda path: path.stem)
def test_a_file_has_no_forbidden_construct(path):
  assert not list(wrong(path.read_text(), path.relative_to(ROOT).as_posix()))


FORBIDDEN = (
  *("import pickle as p", "from pickle import loads", "import builtins", "import yaml", "import tarfile", "import subprocess"),
  *("eval(x)", "f = eval", "builtin = exec; builtin(x)", "compile(x, '', 'exec')", "getattr(x, 'eval')"),
  *("np.load(f, allow_pickle=True)", "np.load(f, allow_pickle=x)", "np.load(f, **options)"),
  *("torch.load(f)", "torch.load(f, weights_only=False)", "run(x, shell=True)", "os.system(x)", "from os import system"),
  *("archive.extractall()", "ZipFile(f).extract(m)", "shutil.unpack_archive(f)", "tempfile.mktemp()"),
  *("importlib.import_module(x)", "spec.loader.exec_module(m)", "ast.literal_eval(x)"),
)


@pytest.mark.parametrize("text", FORBIDDEN)
def test_forbidden_constructs_are_detected(text):
  assert list(wrong(text, "jaxssl/other.py"))
