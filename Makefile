# Each target sets up the virtual environment it needs in .venv; PYTHON is any Python from 3.11 on.
# LOCKED=1 installs the very files of requirements.lock (CPython 3.11 on Linux, x86_64), as CI does.
PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed
PIP := -m pip --quiet --disable-pip-version-check
# Of releases and audits; no dependency of fibseg.
TOOLS := .tools/bin
TOOLS_INSTALLED := .tools/.installed

# Each of the many processes of the tests would compile every module anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: install demo check test coverage lint bench docs lock sbom audit release clean

install: $(INSTALLED)

$(INSTALLED): pyproject.toml constraints.txt $(if $(LOCKED),requirements.lock)
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "fibseg needs Python 3.11 or newer; try make PYTHON=python3.12")'
	$(PYTHON) -m venv .venv
ifdef LOCKED
	$(BIN)/python .ci/lock.py requirements.lock
	grep '^setuptools==' requirements.lock | $(BIN)/python $(PIP) install --require-hashes --requirement /dev/stdin
	$(BIN)/python $(PIP) install --require-hashes --no-deps --no-build-isolation --requirement requirements.lock
	$(BIN)/python $(PIP) install --no-deps --no-build-isolation --editable .
	# A package that the lock lacks: --no-deps does not look for it.
	$(BIN)/python -m pip --disable-pip-version-check check
else
	$(BIN)/python $(PIP) install --constraint constraints.txt --editable '.[dev]'
endif
	touch $@

$(TOOLS_INSTALLED): .ci/tools.lock
	$(PYTHON) .ci/lock.py $<
	$(PYTHON) -m venv .tools
	$(TOOLS)/python $(PIP) install --require-hashes --no-deps --requirement $<
	$(TOOLS)/python -m pip --disable-pip-version-check check
	touch $@

# A phantom cell, a short training, the labels of its whole stack, their scores.
demo: install
	$(BIN)/python train.py experiment=demo
	$(BIN)/python predict.py checkpoint=$$(ls -td runs/demo/unet-* | head -n 1) image=data/phantom/image.tif output=runs/demo/labels.tif overwrite=true
	$(BIN)/fibseg score runs/demo/labels.tif data/phantom/labels.tif --data phantom --slices 19:24
	@echo 'pictures: runs/demo/unet-*/figures/test.png; runs side by side: $(BIN)/fibseg compare runs/demo'
	@echo 'for your own cell: $(BIN)/fibseg new NAME IMAGE LABELS, see docs/TUTORIAL.md'

lint: install
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# A file stays with one worker, which makes its fixtures once; tests/conftest.py puts long files first.
# More workers than cores where tests wait for processes that start.
PYTEST := $(BIN)/python -m pytest --dist loadfile --no-loadscope-reorder

# Before each commit: under 3 minutes on two cores.
check: lint
	$(PYTEST) --numprocesses 2 -m 'not slow'

# Before each push: about 10 minutes on two cores.
test: lint
	$(PYTEST) --numprocesses 4 --durations=10

# All tests again, counting the lines that they run: half as much time more.
coverage: install
	$(PYTEST) --numprocesses 4 --cov --cov-report=term

bench: install
	$(BIN)/python -m benchmarks

docs: install
	$(BIN)/python docs/commands.py > docs/COMMANDS.md
	$(BIN)/mkdocs build --strict

# After a change of dependencies: which files pip would install now, with their hashes.
LOCK = $(BIN)/python $(PIP) install --dry-run --ignore-installed --report .venv/report.json
lock: install
	$(LOCK) --constraint constraints.txt --editable '.[dev]'
	$(BIN)/python .ci/lock.py .venv/report.json > requirements.lock
	$(LOCK) --requirement .ci/tools.txt
	$(BIN)/python .ci/lock.py .venv/report.json > .ci/tools.lock

# What is installed, with licences, as CycloneDX.
SBOM = $(TOOLS)/cyclonedx-py environment $(BIN)/python --pyproject pyproject.toml --output-reproducible --output-file dist/sbom.cdx.json
sbom: install $(TOOLS_INSTALLED)
	mkdir -p dist
	$(SBOM)

# Where the locks are of another Python, lock.py says so, and nothing is looked up.
audit:
	@if $(PYTHON) .ci/lock.py .ci/tools.lock; then $(MAKE) --no-print-directory $(TOOLS_INSTALLED) && .ci/audit; else echo 'audit: skipped'; fi

# The files of a release, built from what is committed, checked, and used once without the clone.
release: install $(TOOLS_INSTALLED)
	@test -z "$$(git status --porcelain)" || { echo 'commit or remove first what git status shows'; exit 1; }
	rm -rf build dist
	SOURCE_DATE_EPOCH=$$(git log -1 --format=%ct) $(TOOLS)/python -W ignore -m build --no-isolation > .tools/build.log
	$(TOOLS)/twine check --strict dist/*
	$(TOOLS)/check-wheel-contents --toplevel fibseg,hydra_plugins dist/*.whl
	FIBSEG_WHEEL=$$(ls $(CURDIR)/dist/*.whl) $(BIN)/python -m pytest tests/project/test_wheel.py
	$(SBOM)
	cd dist && sha256sum *.* | tee SHA256SUMS

clean:
	rm -rf .venv .tools build dist site .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage*
