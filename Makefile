# make demo: Figure 1 of the BN paper on real digits. make test: the daily tests.
# make test-slow: all other tests. make docs: the documentation, site/index.html.
# make scoreboard: the site of all results, scoreboard/index.html.
# Each makes .venv first, with uv where it is, else with pip.

PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test test-slow docs scoreboard lint lock clean

demo: .venv/.demo
	$(BIN)/python -m experiments.ioffe2015_figure1 --output=figure1
	@echo 'Look at figure1.png.'

# What these markers stand for is in pyproject.toml. A file stays on one worker,
# and with it its fixtures and compiled programs; tests/conftest.py says which
# files come first.
SLOW := foreign or grid or hosts or kills or slurm or study
PYTEST := $(BIN)/python -m pytest -n 2 --dist=loadfile --no-loadscope-reorder

test: .venv/.test
	$(PYTEST) -m 'not ($(SLOW))'

test-slow: .venv/.test
	$(PYTEST) -m '$(SLOW)'

# Strictly: a warning is an error. The variable silences an advertisement.
docs: .venv/.docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build
	@echo 'Open site/index.html.'

scoreboard: .venv/.report
	$(BIN)/python -m experiments --report=scoreboard

lint: .venv/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/ty check --error-on-warning

# What stands in requirements.lock is what the tests ran with.
.venv/.%: pyproject.toml requirements.lock | .venv/bin/python
	@extra=$*; extras=$$([ $$extra = demo ] || echo "[$$extra]"); \
	echo "Installing bnresearch$$extras into .venv (a minute or two)"; \
	if command -v uv > /dev/null; then \
	  uv pip install -q --python $(BIN)/python -c requirements.lock -e ".$$extras"; \
	else \
	  $(BIN)/python -m pip install -q --disable-pip-version-check \
	    -c requirements.lock -e ".$$extras"; \
	fi
	@touch $@

.venv/bin/python:
	@if command -v uv > /dev/null; then uv venv -q --seed --python $(PYTHON) .venv; \
	else $(PYTHON) -m venv .venv; fi

# Writes requirements.lock anew from what .venv has, but for PyTorch and what
# comes with it.
lock: .venv/.dev
	$(BIN)/python -m pip freeze --exclude-editable \
	  $(addprefix --exclude ,bnresearch torch mpmath networkx sympy) \
	  > requirements.lock

clean:
	rm -rf .venv build scoreboard site *.egg-info
