# make serve   runs the service (sets everything up first)
# make test    checks and tests
# make bench   the service and its peers in turns, Whisper base on $SPEECH_CORPUS: docs/performance.md

PYTHON ?= >=3.11,<3.14
UV := $(or $(shell command -v uv),.uv/bin/uv)
BIN := .venv/bin
INSTALLED := .venv/.installed

# Without bytecode on disk every process compiles all that it imports: Ray alone takes 4 s then, not 1.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: serve test check lint format bench wheel lock clean

serve: $(INSTALLED)
	$(BIN)/amanuensis serve serve_config.yaml

# The types are checked beside the tests: half a minute of one core, while the tests' service starts.
test: lint
	@command -v promtool >/dev/null || echo 'Prometheus is not installed (Debian: apt-get install prometheus):' \
		'the tests of alerts and dashboard will be skipped.'
	$(BIN)/mypy & types=$$!; \
	$(BIN)/python -m pytest --numprocesses 3 tests/service tests/unit tests/fuzz; tests=$$?; \
	wait $$types && exit $$tests

check: lint
	$(BIN)/mypy

lint: $(INSTALLED)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

format: $(INSTALLED)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(INSTALLED)
	PATH="$(CURDIR)/.uv/bin:$$PATH" $(BIN)/amanuensis bench throughput

# What is installed where there is no source tree: dist/amanuensis-VERSION-py3-none-any.whl.
wheel: $(UV)
	$(UV) build --quiet --wheel --out-dir dist .

# Regenerates the lock from pyproject.toml; for every supported Python, with hashes, without addresses.
lock: $(UV)
	$(UV) pip compile pyproject.toml --extra base-model --extra bench --group dev --universal --python-version 3.11 \
		--generate-hashes --no-emit-index-url --no-annotate --no-header --quiet --output-file requirements.lock

$(INSTALLED): requirements.lock pyproject.toml | $(UV)
	$(UV) venv --quiet --allow-existing --python '$(PYTHON)' .venv
	$(UV) pip sync --quiet --python $(BIN)/python requirements.lock
	$(UV) pip install --quiet --python $(BIN)/python --no-deps --editable .
	touch $@

.uv/bin/uv:
	python3 -m venv .uv
	.uv/bin/python -m pip install --quiet uv

clean:
	rm -rf .venv .uv .mypy_cache .ruff_cache .pytest_cache dist results
