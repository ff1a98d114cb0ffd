# make demo: a trained model and its pictures, from nothing but Python.   make test: everything that CI runs.
# make docs: the documentation, in docs/_build.   make dist: what is published, in dist/, checked.

BIN := .venv/bin
# PYTHON may be set; else the first of these that is new enough
PYTHON ?= $(firstword $(foreach p,python3 python3.13 python3.12 python3.11 python3.14,$(shell \
	$(p) -c 'import sys; print("$(p)" if sys.version_info >= (3, 11) else "")' 2>/dev/null)))
# what is imported is compiled then: compiling all that is installed takes a minute
PIP = $(BIN)/python -m pip install --quiet --no-compile --constraint constraints.txt

.PHONY: demo test docs dist clean
.DELETE_ON_ERROR:

demo: .venv/.demo
	$(BIN)/refine train domain=image --run runs/demo
	$(BIN)/refine sample run=runs/demo
	$(BIN)/refine sample domain=graph
	$(BIN)/refine ensemble domain=weather --members 50

test: .venv/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pytest -n auto --dist worksteal

docs: .venv/.docs
	$(BIN)/sphinx-build -W --keep-going docs docs/_build

dist: .venv/.dist
	rm -rf build dist
	$(BIN)/python -m build
	$(BIN)/twine check --strict dist/*

clean:
	rm -rf .venv build dist docs/_build *.egg-info .mypy_cache .pytest_cache .ruff_cache

.venv/.test: .venv/.demo
	$(PIP) --editable '.[dev,image,molecules,weather,study]'
	@touch $@

.venv/.docs: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) --editable '.[docs]'
	@touch $@

.venv/.dist: pyproject.toml | $(BIN)/python
	$(PIP) build twine
	@touch $@

.venv/.demo: pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing into .venv (once; PyTorch is large)"
	$(PIP) torch
	$(PIP) --editable '.[image,graph,weather]'
	@touch $@

$(BIN)/python:
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
		echo "refine needs Python 3.11 or newer; $(or $(PYTHON),python3) is" \
			"$$("$(or $(PYTHON),python3)" --version 2>/dev/null || echo not there)." >&2; \
		echo "Install one, or say where it is: make PYTHON=/path/to/python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	@"$(PYTHON)" -m venv .venv || { rm -rf .venv; \
		echo "Python cannot make a virtual environment; on Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }
