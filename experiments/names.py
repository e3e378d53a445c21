"""Names of activations and shapes, read from the source of gaaf_keras.

Importing gaaf_keras imports Keras, which takes seconds. Reading the source instead of
running it makes `--help` and errors about wrong names appear at once.
"""

import ast
import importlib.util
from collections.abc import Iterator
from pathlib import Path


def _calls(pattern: str, function: str) -> Iterator[tuple[str, dict[str, ast.expr]]]:
    """Yields the name and keyword arguments of a function's calls, file by file."""
    spec = importlib.util.find_spec("gaaf_keras")
    assert spec is not None
    assert spec.origin is not None
    for path in sorted(Path(spec.origin).parent.glob(pattern)):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == function:
                yield (
                    ast.literal_eval(node.args[0]),
                    {str(keyword.arg): keyword.value for keyword in node.keywords},
                )


# With a default shape; that of linear is 0.
BASE_ACTIVATIONS = tuple(
    name
    for name, row in _calls("_core/known_activations.py", "Known")
    if "default_shape" in row and name != "linear"
)
ACTIVATIONS = (*BASE_ACTIVATIONS, *(f"gaaf_{name}" for name in BASE_ACTIVATIONS))
_DEFINED = dict(_calls("shapes/*.py", "shape_function"))
SHAPES = tuple(_DEFINED)
EXAMPLES_OF_SHAPES = tuple(
    str(ast.literal_eval(defined["example"]))
    for defined in _DEFINED.values()
    if "example" in defined
)


def names_in(shape: str) -> set[str]:
    """Returns the names in the text of a shape; empty if it is not an expression."""
    try:
        tree = ast.parse(shape.strip(), mode="eval")
    except SyntaxError:
        return set()
    return {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
