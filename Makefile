# Two commands do everything on a fresh machine with Python 3.11 or newer: `make search` and `make test`.
PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/installed

.PHONY: install search test slow check

install: $(INSTALLED)

$(INSTALLED): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

# A real search on the built-in data set: a few minutes on two cores.
search: $(INSTALLED)
	$(BIN)/python launchers/search.py --dataset glyphs $(ARGS)

test: $(INSTALLED)
	$(BIN)/python -m pytest -m 'not slow'

slow: $(INSTALLED)
	$(BIN)/python -m pytest -m slow

check: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
