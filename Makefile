# make demo   a virtual environment, the locked packages, and the whole pipeline on real images; no account needed
# make test   the same with the development packages, then lint, type checks and tests
# make faults kills each stage at 100 random points, instead of the 20 of make test
# make nights plays five nights of an inbox on a server, a worker and a schedule, in five minutes
# make fuzz   changes images at random for MINUTES=10 minutes, in processes of their own, and decodes them
# make bench  each speed as a ratio to the usual way; needs an otherwise idle machine

# The newest Python that TensorFlow has wheels for; another with: make PYTHON=/path/to/python3.12
PYTHON ?= $(firstword $(foreach name,python3.13 python3.12 python3.11 python3,$(if $(shell $(name) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null && echo yes),$(name))))
BIN := .venv/bin
WORKSPACE ?= .demo
MINUTES ?= 10

.PHONY: demo test lint types tests faults nights fuzz bench clean

demo: .venv/runtime
	$(BIN)/darkroom run digits --workspace $(WORKSPACE)

test: lint types tests

lint: .venv/development
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: .venv/development
	$(BIN)/mypy

tests: .venv/development
	$(BIN)/python -m pytest -n auto

faults: .venv/development
	$(BIN)/python -m pytest tests/faults --faults 100 --timeout 3600

nights: .venv/development
	$(BIN)/python -m pytest tests/flows/five_nights.py --timeout 1800

fuzz: .venv/development
	$(BIN)/python -m tests.fuzz --minutes $(MINUTES)

bench: .venv/development
	$(BIN)/python benchmarks/bench.py --json bench.json --write docs/benchmarks.md

.venv/bin/python:
	@test -n "$(PYTHON)" || { echo "Darkroom needs Python 3.11, 3.12 or 3.13 on the path. Install one, or name it: make PYTHON=/path/to/python3.12 demo" >&2; exit 2; }
	$(PYTHON) -m venv .venv

.venv/runtime: requirements.lock pyproject.toml | .venv/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	touch $@

.venv/development: requirements-dev.lock .venv/runtime
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.lock
	touch $@

clean:
	rm -rf .venv .demo .mypy_cache .ruff_cache .pytest_cache .hypothesis build src/*.egg-info
