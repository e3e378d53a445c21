"""Names of activations and shapes, read from the source of gaaf_keras.

Importing gaaf_keras imports Keras, which takes seconds; so that `--help` and wrong
names do not wait for it, the rows and decorators that define them are read as text.
"""

import importlib.util
import re
from pathlib import Path


def _source(file: str) -> str:
    spec = importlib.util.find_spec("gaaf_keras")
    assert spec is not None
    assert spec.origin is not None
    return (Path(spec.origin).parent / file).read_text(encoding="utf-8")


def _activations() -> tuple[str, ...]:
    """Returns the activations with a default shape; linear has one of 0."""
    row = r'^    Known\(\s*"(\w+)"(.*?)(?=^    Known\(|^\))'
    source = _source("_core/known_activations.py")
    rows = re.findall(row, source, re.MULTILINE | re.DOTALL)
    return tuple(
        name for name, rest in rows if "default_shape=" in rest and name != "linear"
    )


def _shapes() -> tuple[str, ...]:
    definition = r'^@shape_function\(\s*"(\w+)"'
    sources = _source("shapes/base.py") + _source("shapes/__init__.py")
    return tuple(re.findall(definition, sources, re.MULTILINE))


BASE_ACTIVATIONS = _activations()
ACTIVATIONS = (*BASE_ACTIVATIONS, *(f"gaaf_{name}" for name in BASE_ACTIVATIONS))
SHAPES = _shapes()
