# Each target sets up the virtual environment it needs in .venv; PYTHON is any Python from 3.11 on.
PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed

# Each of the many processes of the tests would compile every module anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: install demo check test coverage lint bench docs clean

install: $(INSTALLED)

$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "fibseg needs Python 3.11 or newer; try make PYTHON=python3.12")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
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
	$(PYTEST) --numprocesses 3 --durations=10

# All tests again, counting the lines that they run: half as much time more.
coverage: install
	$(PYTEST) --numprocesses 3 --cov --cov-report=term

bench: install
	$(BIN)/python -m benchmarks

docs: install
	$(BIN)/python docs/commands.py > docs/COMMANDS.md
	$(BIN)/mkdocs build --strict

clean:
	rm -rf .venv build site .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage*
