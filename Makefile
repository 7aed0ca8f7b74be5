# Each target first creates .venv and installs into it, in the versions of constraints.txt. PYTHON names another interpreter
# (3.11 to 3.14), whose environment is .venv-VERSION: make test PYTHON=python3.12
#   demo        trains and evaluates on the embedded dataset
#   wheel       builds a wheel in dist/
#   docs        builds the documentation site in site/; broken links fail
#   constraints writes constraints.txt anew, with the newest versions that pyproject.toml allows
#   test        lint, types and tests
#   test-fast   lint, types and the tests that compile little
#   test-full   what `test` and `docs` run, then the tests that need PyTorch, timm or a browser, then `test-portable` on every
#               supported interpreter of this machine, and with the oldest versions of all dependencies
#   test-portable   what may differ from one Python or JAX to another: every recipe's step, evaluation, exports, two devices
#   test-interpreters  the same on each other interpreter of VERSIONS that this machine has
#   test-oldest     the same with the oldest versions that pyproject.toml allows
PYTHON ?= python3
VENV ?= .venv$(if $(filter-out python3,$(PYTHON)),-$(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])'))
BIN := $(VENV)/bin
# One worker more than cores, up to five: some tests wait for processes that they start.
WORKERS := $(shell $(PYTHON) -c 'import os; print(min(os.cpu_count(), 4) + 1)')
PYTEST := $(BIN)/pytest -n $(WORKERS) --dist loadgroup
# Tests start many processes, which would each compile the package, as every worker would rewrite the tests.
unexport PYTHONDONTWRITEBYTECODE

# Runs a command and `make types` at once; fails if either does.
define with_types
errors=$$(mktemp); trap 'rm -f "$$errors"' EXIT; \
$(MAKE) --no-print-directory types >"$$errors" 2>&1 || { cat "$$errors"; exit 1; } & types=$$!; \
echo '$(1)'; $(1); tests=$$?; \
wait $$types || { cat "$$errors"; exit 1; }; \
exit $$tests
endef

.PHONY: demo next wheel docs constraints lint style types test test-fast test-full test-peers test-interpreters test-portable \
  test-oldest clean

demo: $(VENV)/installed
	$(BIN)/python -m jaxssl.main --config configs/nnboot.py --workdir runs/demo
	@$(MAKE) --no-print-directory next

# Names the command by its path unless the environment is activated in this shell.
next:
	@jaxssl=jaxssl; [ "$$(command -v jaxssl)" -ef $(BIN)/jaxssl ] || jaxssl=$(BIN)/jaxssl; \
	echo 'Next:'; \
	echo "  $$jaxssl doctor                                 # checks devices and libraries"; \
	echo "  $$jaxssl evaluate clusters --workdir runs/demo  # measures the demo's features in another way"; \
	echo "  $$jaxssl inspect --data YOUR_FOLDER             # looks at your images, and suggests a config to train on them"

wheel: $(VENV)/installed
	$(BIN)/pip wheel --quiet --disable-pip-version-check --no-deps --wheel-dir dist .
	@ls dist/*.whl

docs: $(VENV)/installed-docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict
	@echo "open site/index.html, or run $(BIN)/mkdocs serve"

# One file for all supported interpreters and platforms. PyTorch, a peer of tests and benchmarks, is left out: its builds differ.
constraints: $(BIN)/python
	$(BIN)/pip install --quiet --disable-pip-version-check uv
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --upgrade --no-annotate --output-file constraints.txt \
	  --custom-compile-command 'make constraints' \
	  $(foreach extra,dev docs onnx tiff cuda cuda12 tpu wandb mlflow,--extra $(extra)) pyproject.toml

lint: style types

style: $(VENV)/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/installed-dev
	$(BIN)/pyright --pythonpath $(BIN)/python

# Types are checked while the tests run, since some tests wait; errors are shown as they are found and, again, last.
test: style
	@$(call with_types,$(PYTEST) -m "not full and not portable")
	@echo "not run here: the tests that need PyTorch, timm or a browser; make test-peers installs the former and runs them"

test-fast: style
	@$(call with_types,$(PYTEST) -m "not slow and not full and not portable")

test-full: test docs test-peers test-portable test-interpreters test-oldest

test-peers: $(VENV)/installed-peers
	$(PYTEST) -m full

PORTABLE := tests/portable tests/cli/test_profile.py tests/models/test_precision.py

test-portable: $(VENV)/installed-dev
	$(PYTEST) $(PORTABLE)

test-oldest: .venv-oldest/installed
	.venv-oldest/bin/pytest -n $(WORKERS) --dist loadgroup $(PORTABLE)

VERSIONS ?= 3.11 3.12 3.13 3.14

# An interpreter is looked for on the PATH and below a pyenv root, whose shims run the selected version only.
test-interpreters:
	@for version in $(VERSIONS); do \
	  $(PYTHON) -c "import sys; sys.exit('%d.%d' % sys.version_info[:2] == '$$version')" || continue; \
	  for candidate in python$$version $${PYENV_ROOT:-$$HOME/.pyenv}/versions/$$version.*/bin/python3; do \
	    if $$candidate -c "import sys; sys.exit('%d.%d' % sys.version_info[:2] != '$$version')" 2> /dev/null; then \
	      echo "== test-portable on Python $$version"; \
	      $(MAKE) test-portable PYTHON=$$candidate || exit 1; \
	      break; \
	    fi; \
	  done; \
	done

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 15) and "jaxssl needs Python 3.11 to 3.14: make PYTHON=...")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/installed: pyproject.toml setup.py constraints.txt | $(BIN)/python
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable .
	touch $@

$(VENV)/installed-dev: $(VENV)/installed
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	touch $@

# PyTorch asks for the versions of CUDA's libraries that it was built with.
$(VENV)/installed-peers: $(VENV)/installed-dev
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[peers]'
	touch $@

$(VENV)/installed-docs: $(VENV)/installed-dev
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[docs]'
	touch $@

.venv-oldest/installed: pyproject.toml setup.py
	$(PYTHON) -m venv --clear .venv-oldest
	.venv-oldest/bin/pip install --quiet --disable-pip-version-check uv
	.venv-oldest/bin/uv pip install --quiet --python .venv-oldest/bin/python --resolution lowest-direct --editable '.[dev]'
	touch $@

clean:
	rm -rf .venv .venv-* runs build dist site
