"""Imports only go down, and each library stays in its room."""

import ast
import pathlib

PACKAGE = pathlib.Path(__file__).parent.parent / "jaxssl"
TIERS = (
  "types cache",
  "documents fields ops paths schedules",
  "config parallel",
  "config_files flags",
  "memory optim views models",
  "bootstrap data methods weights",
  "step splits",
  "assembly",
  "run evals",
  "checkpoint embeddings logging results",
  "health workdir distributed",
  "opened ledger survey",
  "report export planning",
  "loop commands",
  "api",
  "main __init__",
)
ROOM_OF = {  # library: the only places that may import it
  "flax": {"models"},
  "tensorflow": {"data"},
  "tensorflow_datasets": {"data"},
  "cv2": {"data"},
  "tifffile": {"data"},
  "safetensors": {"weights", "export"},
  "onnx": {"export"},
  "onnxruntime": {"export"},
  "simplejpeg": {"data"},
  "orbax": {"checkpoint", "distributed"},
  "ml_collections": {"config_files"},
  "clu": {"logging"},
  "sklearn": {"evals"},
  "scipy": {"evals"},
  "matplotlib": {"report"},
  "pyarrow": {"embeddings"},
}
TIER = {room: tier for tier, rooms in enumerate(TIERS) for room in rooms.split()}


def imports() -> list[tuple[str, str, str]]:
  """(file, its room, dotted name it imports) for every import statement of the package."""
  found = []
  for path in sorted(set(PACKAGE.rglob("*.py")) - {PACKAGE / "__init__.py"}):
    room = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    for node in ast.walk(ast.parse(path.read_text())):
      if isinstance(node, ast.Import):
        found += [(str(path), room, alias.name) for alias in node.names]
      elif isinstance(node, ast.ImportFrom):
        assert node.level == 0, f"{path}: relative import"
        found += [(str(path), room, f"{node.module}.{alias.name}") for alias in node.names]
  return found


def test_every_room_has_a_tier():
  rooms = {path.relative_to(PACKAGE).parts[0].removesuffix(".py") for path in PACKAGE.rglob("*.py")}
  assert rooms == set(TIER)


def test_imports_go_down():
  for path, room, name in imports():
    parts = name.split(".")
    if parts[0] == "jaxssl" and len(parts) > 1 and parts[1] in TIER and parts[1] != room:
      assert TIER[parts[1]] < TIER[room], f"{path} imports {name}: tier {TIER[parts[1]]} from tier {TIER[room]}"


def test_libraries_stay_in_their_rooms():
  for path, room, name in imports():
    allowed = ROOM_OF.get(name.split(".")[0])
    assert allowed is None or room in allowed, f"{path} imports {name}; allowed in {sorted(allowed or [])}"
