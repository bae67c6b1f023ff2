# Two commands: make demo, make test. The rest is for those who build Bedside.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin

.PHONY: demo test check prove bench embedded clean

demo: $(VENV)/.train
	$(BIN)/bedside demo

test: $(VENV)/.dev
	$(BIN)/pytest -m "not prove" -n 2 --dist worksteal

check: $(VENV)/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

prove: $(VENV)/.dev
	$(BIN)/pytest -m prove -n 2 --dist load --maxschedchunk 1 --basetemp .prove

bench: $(VENV)/.dev
	$(BIN)/python -m benchmarks

embedded: $(VENV)/.train
	$(BIN)/python recipes/embedded.py src/bedside/clinic/tiny_model

$(VENV)/.train: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[train]'
	touch $@

$(VENV)/.dev: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@ $(VENV)/.train

clean:
	rm -rf $(VENV) runs .pytest_cache .mypy_cache .ruff_cache
