"""The package's own rules: imports point one way, the public names are there."""

import ast
import gc
import graphlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

import gaaf_keras

PACKAGE = Path(gaaf_keras.__file__).parent
ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
PICTURES = [
    [line.split() for line in reversed(picture.splitlines())]
    for picture in re.findall(r"```text\n(.*?)```", PAGE, re.DOTALL)
]  # of each house: its lines, the lowest first
HOUSES = {lines[-1][0]: lines[:-1] for lines in PICTURES}  # without their own names


@pytest.fixture(params=HOUSES)
def house(request):
    """The name, the lines of the picture, and the files of a package."""
    name = request.param
    folder = PACKAGE.parent / name
    if not folder.is_dir():
        folder = ROOT / name
    files = sorted(folder.rglob("*.py"))
    assert len(files) > 10
    return name, HOUSES[name], {path.relative_to(folder): path for path in files}


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


def part_of(relative):
    return relative.parts[0].removesuffix(".py")


def test_imports_point_one_way(house):
    name, lines, files = house
    rank = {part: i for i, parts in enumerate(lines) for part in parts}
    for relative, path in files.items():
        part = part_of(relative)
        if part == "__init__":
            continue
        for imported in imported_modules(path):
            first, _, rest = imported.partition(".")
            other = rest.partition(".")[0]
            if first == name and other != part:
                # A name that is not a part would be one of the package's own.
                assert rank[other] < rank[part], f"{path} imports {imported}"
            assert not (name == "gaaf_keras" and first == "experiments"), path


def test_the_pictures_of_the_architecture_are_whole(house):
    _, lines, files = house
    drawn = [part for parts in lines for part in parts]
    assert sorted(drawn) == sorted({part_of(each) for each in files} - {"__init__"})


def test_no_files_import_each_other_in_a_circle(house):
    name, _, files = house
    modules = {}
    for relative, path in files.items():
        parts = [name, *relative.with_suffix("").parts]
        modules[".".join(parts).removesuffix(".__init__")] = path
    imports = {}
    for module, path in modules.items():
        found = {
            each if each in modules else each.rpartition(".")[0]
            for each in imported_modules(path)
        }
        imports[module] = found & (set(modules) - {module})
    list(graphlib.TopologicalSorter(imports).static_order())  # raises at a circle


def test_layers_do_not_import_tensorflow_on_their_own():
    backends = {"tensorflow", "jax", "torch"}
    for path in PACKAGE.rglob("*.py"):
        alone = path.relative_to(PACKAGE).as_posix() in (
            "_core/compiling.py",
            "_core/differentiation.py",
            "_core/on_torch.py",
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


IMPORTED = """
import sys, keras
before = set(sys.modules)
import gaaf_keras
added = set(sys.modules) - before
roots = {name.split(".")[0] for name in added}
assert roots - sys.stdlib_module_names == {"gaaf_keras"}
for name in ("acceleration", "analysis", "callbacks", "comparison", "exporting"):
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
