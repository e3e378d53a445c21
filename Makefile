# What a contributor runs, and what .ci/run calls. Needs `pip install -e '.[dev]'`.
.PHONY: test slow check format lists docs playground notebooks package oldest

PYTHON ?= python
export NO_MKDOCS_2_WARNING = 1

test:  ## everything but what takes minutes each
	$(PYTHON) -m pytest

slow:  ## what is left out of `make test`
	$(PYTHON) -m pytest -m slow

check:  ## formatter, linter, type check
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m ruff check .
	$(PYTHON) -m mypy

format:  ## what formatter and linter can mend
	$(PYTHON) -m ruff check --fix --exit-zero .
	$(PYTHON) -m ruff format .

lists:  ## what the documentation lists: shapes, activations, flags, suites
	$(PYTHON) docs/draw_gallery.py
	$(PYTHON) docs/write_settings.py
	$(PYTHON) docs/draw_costs.py

docs:  ## the documentation, in site/; a warning is an error
	$(PYTHON) -m mkdocs build --strict --quiet

playground:  ## the page to play with, in Chromium (apt-get install chromium)
	$(PYTHON) -m pytest -n 0 -m slow tests/test_playground.py

notebooks:  ## the notebooks in examples/, at a reduced size
	$(PYTHON) -m pytest -n 0 -m slow tests/test_notebooks.py

package:  ## wheel and sdist, in dist/, and the tests of the package against the wheel
	rm -rf dist
	$(PYTHON) -m build --outdir dist .
	$(PYTHON) -m twine check --strict dist/*
	folder=$$(mktemp -d) && cp -r tests pyproject.toml $$folder && \
	    $(PYTHON) -m pip install --quiet --no-deps --target $$folder dist/*.whl && \
	    cd $$folder && PYTHONPATH=$$folder GAAF_KERAS_WHEEL=$$folder \
	    $(PYTHON) -m pytest tests/core tests/acceleration tests/analysis tests/comparison tests/tensorflow

oldest:  ## the tests of the layers on the oldest TensorFlow and Keras supported, on Python 3.11
	$(PYTHON) -m venv build/oldest
	build/oldest/bin/pip install --quiet -e '.[test]' "tensorflow==2.18.*" "keras==3.11.1"
	build/oldest/bin/python -m pytest tests/core tests/acceleration tests/analysis tests/comparison
