"""The package's own rules: imports point one way, the public names are there."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import gaaf_keras

PACKAGE = Path(gaaf_keras.__file__).parent
ARCHITECTURE = Path(__file__).parent.parent / "docs" / "architecture.md"


def layers_of_code():
    """The lines of the picture in docs/architecture.md, the lowest first."""
    picture = re.search(r"```text\n(.*?)```", ARCHITECTURE.read_text(), re.DOTALL)
    return [line.split() for line in reversed(picture.group(1).splitlines())]


LAYERS_OF_CODE = layers_of_code()  # each may import those before it


def imported_modules(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def own_part(name):
    parts = name.split(".")
    if parts[0] != "gaaf_keras":
        return None
    known = {part for parts in LAYERS_OF_CODE for part in parts}
    return parts[1] if len(parts) > 1 and parts[1] in known else "__init__"


def test_imports_point_one_way():
    rank = {part: i for i, parts in enumerate(LAYERS_OF_CODE) for part in parts}
    files = sorted(PACKAGE.rglob("*.py"))
    assert len(files) > 10
    for path in files:
        part = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
        for name in imported_modules(path):
            imported = own_part(name)
            if imported is not None and imported != part:
                assert rank[imported] < rank[part], f"{path.name} imports {name}"


def test_the_picture_of_the_architecture_is_whole():
    drawn = [part for parts in LAYERS_OF_CODE for part in parts]
    there = {
        path.relative_to(PACKAGE).parts[0].removesuffix(".py")
        for path in PACKAGE.rglob("*.py")
    }
    assert sorted(drawn) == sorted(there)


def test_layers_do_not_import_tensorflow_on_their_own():
    backends = {"tensorflow", "jax", "torch"}
    for path in PACKAGE.rglob("*.py"):
        alone = path.relative_to(PACKAGE).as_posix() in (
            "_core/compiling.py",
            "_core/differentiation.py",
            "exporting/__init__.py",
            "analysis/isolation.py",
        )
        if not alone:
            roots = {name.split(".")[0] for name in imported_modules(path)}
            assert not roots & backends, path


def test_public_names():
    for name in gaaf_keras.__all__:
        assert getattr(gaaf_keras, name).__doc__, name
    assert set(gaaf_keras.__all__) >= {
        *("GAAF", "GAAFReLU", "GAAFTanh", "Gaussian", "ShiftedSigmoid"),
        *("gaaf", "gaaf_relu", "gaaf_tanh"),
    }


IMPORTED = """
import sys, keras
before = set(sys.modules)
import gaaf_keras
added = set(sys.modules) - before
roots = {name.split(".")[0] for name in added}
assert roots - sys.stdlib_module_names == {"gaaf_keras"}
for name in ("acceleration", "analysis", "callbacks", "exporting"):
    assert f"gaaf_keras.{name}" not in added, name
assert gaaf_keras.analysis.curve and gaaf_keras.accelerate and gaaf_keras.export
"""


def test_an_import_brings_what_saved_models_need_and_the_rest_when_it_is_used():
    command = [sys.executable, "-c", IMPORTED]
    subprocess.run(command, check=True, cwd=PACKAGE.parent)


def test_names_that_are_imported_when_they_are_used():
    assert set(dir(gaaf_keras)) >= set(gaaf_keras.__all__)
    assert gaaf_keras.accelerate is gaaf_keras.acceleration.accelerate
    assert gaaf_keras.analysis.__name__ == "gaaf_keras.analysis"
    with pytest.raises(AttributeError, match="no attribute 'acelerate'"):
        _ = gaaf_keras.acelerate
