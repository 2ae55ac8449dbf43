# make demo [DATA=path/to/camvid]   train four students, and compare them with their teacher
# make test                         run the quick tests, at most 5 minutes on two cores
# make test-all                     run all tests
# make lint                         check the code: style, spelling, types, order of the layers
# make docs                         build the site in docs/_build and check its links; runs the tutorial (minutes)
# make docs-blocks                  renew the tables of the pages from the committed results
# make release-check                build the wheel into dist/ and test it in an empty environment
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

demo: $(VENV)/installed
	$(BIN)/python tools/demo.py $(if $(DATA),--data $(DATA))

test: $(VENV)/installed
	PATH="$(abspath $(BIN)):$$PATH" $(BIN)/python -m pytest $(ARGS)

test-all: $(VENV)/installed
	PATH="$(abspath $(BIN)):$$PATH" $(BIN)/python -m pytest -m '' $(ARGS)

lint: $(VENV)/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/codespell
	$(BIN)/mypy

docs: $(VENV)/installed
	$(BIN)/python -m pip install --quiet -r docs/requirements.txt
	$(BIN)/python -m sphinx -W --keep-going -E -b html docs docs/_build
	$(BIN)/python docs/check_site.py docs/_build

docs-blocks: $(VENV)/installed
	$(BIN)/python docs/generate.py

release-check: $(VENV)/installed
	rm -rf build dist .release
	$(PYTHON) -m venv .release
	.release/bin/python -m pip install --quiet build twine
	.release/bin/python -m build
	.release/bin/python -m twine check --strict dist/*
	WHEEL="$$(echo $(CURDIR)/dist/*.whl)" $(BIN)/python -m pytest -m '' tests/test_packaging.py tests/test_wheel.py

$(VENV)/installed: requirements.txt pyproject.toml setup.py
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet -r requirements.txt
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation -e .
	touch $@

.PHONY: demo test test-all lint docs docs-blocks release-check
