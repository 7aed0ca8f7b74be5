# `make demo` trains and evaluates on the embedded dataset; `make test` runs lint, types and tests; `make test-portable` runs a
# fast part of the tests. Each first creates .venv and installs into it. PYTHON names another interpreter (3.11 to 3.14), whose
# environment is .venv-VERSION: make test PYTHON=python3.12
PYTHON ?= python3
VENV ?= .venv$(if $(filter-out python3,$(PYTHON)),-$(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])'))
BIN := $(VENV)/bin
PYTEST := $(BIN)/pytest -n logical --maxprocesses 4 --dist loadgroup

.PHONY: demo test test-portable clean

demo: $(VENV)/installed
	$(BIN)/python -m jaxssl.main --config configs/nnboot.py --workdir runs/demo

test: $(VENV)/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright --pythonpath $(BIN)/python
	$(PYTEST)

# What may differ from one Python or jax to another: every recipe's step, evaluation, exports, two devices, traces.
test-portable: $(VENV)/installed-dev
	$(PYTEST) tests/portable tests/cli/test_profile.py tests/models/test_precision.py

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 15) and "jaxssl needs Python 3.11 to 3.14: make PYTHON=...")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/installed: pyproject.toml | $(BIN)/python
	$(BIN)/pip install --quiet --disable-pip-version-check --editable .
	touch $@

$(VENV)/installed-dev: $(VENV)/installed
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[dev]'
	touch $@

clean:
	rm -rf .venv .venv-* runs
