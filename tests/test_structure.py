"""The package's own rules: imports point one way, the public names are there."""

import ast
import gc
import re
from pathlib import Path

import gaaf_keras

PACKAGE = Path(gaaf_keras.__file__).parent
ARCHITECTURE = Path(__file__).parent.parent / "docs" / "architecture.md"


def layers_of_code():
    """The lines of the picture in docs/architecture.md, the lowest first."""
    picture = re.search(r"```text\n(.*?)```", ARCHITECTURE.read_text(), re.DOTALL)
    return [line.split() for line in reversed(picture.group(1).splitlines())]


LAYERS_OF_CODE = layers_of_code()  # each may import those before it


def imported_modules(path):
    gc.disable()  # in a collection while Python 3.11 parses, finalizers confuse it
    try:
        tree = ast.parse(path.read_text())
    finally:
        gc.enable()
    for node in ast.walk(tree):
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
            "analysis/stateless.py",
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
