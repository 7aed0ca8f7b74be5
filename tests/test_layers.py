"""Packages import only lower layers, and each library is imported only by its packages."""

import ast
import pathlib

PACKAGE = pathlib.Path(__file__).parent.parent / "jaxssl"
# A layer may import the layers before it, and within a layer the pairs that are True in BESIDE.
LAYERS = (
  "core",
  "config parallel",
  "ops augment workdir",
  "data models losses bootstrap",
  "methods pretrained",
  "evals inspect pack",
  "train",
  "report export plan",
  "compare",
  "cli api",
  "main __init__",
  "__main__",
)
BESIDE = {("methods", "pretrained"): False, ("cli", "api"): True, ("pack", "inspect"): True, ("main", "__init__"): False}
LIBRARIES = {  # library: the packages, or modules, that may import it
  "flax": {"models"},
  "tensorflow": {"data"},
  "tensorflow_datasets": {"data"},
  "cv2": {"data"},
  "tifffile": {"data", "inspect"},
  "safetensors": {"pretrained", "export", "evals.kept_classifier"},
  "torch": {"pretrained"},
  "onnx": {"export"},
  "onnxruntime": {"export"},
  "simplejpeg": {"data"},
  "orbax": {"workdir.checkpoint", "parallel"},
  "ml_collections": {"config.recipes"},
  "clu": {"train.loggers.tensorboard"},
  "IPython": {"report.live"},
  "sklearn": {"evals", "report"},
  "scipy": {"evals", "inspect", "report"},
  "matplotlib": {"report"},
  "pyarrow": {"evals.embedding_file", "data.parquet"},
}
LAYER = {package: layer for layer, packages in enumerate(LAYERS) for package in packages.split()}


def imports() -> list[tuple[str, str, str]]:
  """Returns (module, package, imported name) for every import statement of jaxssl, including nested ones."""
  statements = []
  for path in sorted(PACKAGE.rglob("*.py")):
    module = ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__")
    for node in ast.walk(ast.parse(path.read_text())):
      if isinstance(node, ast.Import):
        statements += [(module, module.split(".")[0], alias.name) for alias in node.names]
      elif isinstance(node, ast.ImportFrom):
        assert node.level == 0, f"{path}: relative import"
        statements += [(module, module.split(".")[0], f"{node.module}.{alias.name}") for alias in node.names]
  return statements


def test_every_package_has_a_layer():
  modules = {path.name for path in PACKAGE.iterdir() if path.suffix == ".py"}
  assert modules == {"__init__.py", "__main__.py", "api.py", "main.py"}
  packages = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
  assert packages | {"api", "main", "__init__", "__main__"} == set(LAYER)


def test_packages_import_only_lower_layers():
  count = 0
  for module, package, name in imports():
    target = name.split(".")[1] if name.startswith("jaxssl.") else "__init__" if name == "jaxssl" else package
    if target in LAYER and target != package:
      count += 1
      allowed = LAYER[target] < LAYER[package] or BESIDE.get((package, target), False)
      assert allowed, f"jaxssl.{module} imports {name}: {target} is not below {package}"
  assert count > 300


def test_modules_have_no_import_cycles():
  modules = {module for module, _, _ in imports()}
  edges: dict[str, set[str]] = {module: set() for module in modules}
  for module, _, name in imports():
    dotted = name.removeprefix("jaxssl.")
    target = dotted if dotted in modules else dotted.rpartition(".")[0]
    if name.startswith("jaxssl.") and target in modules and target != module:
      edges[module].add(target)
  done: set[str] = set()

  def visit(module: str, path: tuple[str, ...]) -> None:
    assert module not in path, f"import cycle: {' -> '.join([*path[path.index(module) :], module])}"
    if module not in done:
      for target in sorted(edges[module]):
        visit(target, (*path, module))
      done.add(module)

  for module in sorted(modules):
    visit(module, ())


def test_libraries_stay_in_their_packages():
  for module, package, name in imports():
    allowed = LIBRARIES.get(name.split(".")[0])
    assert allowed is None or {module, package} & allowed, f"jaxssl.{module} imports {name}; allowed in {sorted(allowed or [])}"
