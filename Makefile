# Two commands do everything on a fresh machine with Python 3.11 or newer: `make search` and `make test`.
PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/installed
WORKERS := 2
# By a path and not by a finder: a folder called `datg` beside a script, such as a checkout, would win over a finder.
EDITABLE := -e '.[dev]' --config-settings editable_mode=compat
# What catches most in little time: formulas, contracts, the study's decisions.
QUICK := tests/backbones tests/generation tests/learners tests/strategies tests/search/study/test_driver.py \
    tests/search/study/test_stored.py tests/data/test_protocols.py tests/data/test_class_table.py tests/trial/test_config.py

.PHONY: install search test slow check docs quick lowest

install: $(INSTALLED)

$(INSTALLED): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt $(EDITABLE)
	touch $@

# A real search on the built-in data set: a few minutes on two cores.
search: $(INSTALLED)
	$(BIN)/python launchers/search.py --dataset glyphs $(ARGS)

test: $(INSTALLED)
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadscope -m 'not slow'

# What measures time, or fills the machine, runs beside nothing else.
slow: $(INSTALLED)
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal -m 'slow and not alone'
	$(BIN)/python -m pytest -m 'slow and alone'

check: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# The documentation as a site, in build/site; a link that leads nowhere is an error.
docs: $(INSTALLED)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet

# For between two changes.
quick: check
	$(BIN)/python -m pytest -q -n $(WORKERS) --dist loadscope -m 'not slow' $(QUICK)

# The oldest versions that pyproject.toml allows, in an environment of their own, and what catches most there.
lowest: $(INSTALLED)
	$(BIN)/uv pip compile --quiet --no-annotate --no-header --resolution lowest-direct --no-deps --extra dev --extra cells \
	    --extra cluster --extra postgres pyproject.toml --output-file .venv/lowest.txt
	test -x .venv-lowest/bin/python || $(PYTHON) -m venv .venv-lowest
	.venv-lowest/bin/python -m pip install --quiet --disable-pip-version-check -c .venv/lowest.txt $(EDITABLE)
	$(MAKE) quick BIN=.venv-lowest/bin
