# Two commands for a new user: `make demo` and `make test`. Both make the environment first; all are safe to repeat.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: demo setup test lint check lock clean

demo: setup
	$(BIN)/run-ablation contrastive-vs-masked --scale smoke

setup: $(STAMP)

# The stamp is written last, so an interrupted installation is taken up again.
$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "ablab needs Python 3.11 or newer; this is $$($(PYTHON) --version). Try: make setup PYTHON=python3.12"; exit 2; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -e .
	@touch $(STAMP)

test: setup lint
	$(BIN)/python -m pytest -n auto --dist loadfile

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# Pins what is installed now; run it in an environment whose tests pass.
lock:
	@{ echo "# Made by 'make lock' from an environment whose tests passed. torch stands without its build label, so that"; \
	   echo "# an index with a CPU build and one with a CUDA build both satisfy it (the CUDA packages follow from torch)."; \
	   $(BIN)/python -m pip freeze --exclude-editable | sed -E '/^-e /d; s/^(torch==[0-9.]+)\+.*/\1/'; } > requirements.lock.new
	@mv requirements.lock.new requirements.lock

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache
