"""The user's own shape functions, by the names of their modules.

`"my_shapes:lorentzian"` is a function, or an object, in `my_shapes.py`;
`"my_shapes:Lorentzian(width=2)"` is made by a class or function there.
"""

import ast
import dataclasses
import importlib
import sys
from pathlib import Path
from typing import Any


def text_of(shape: Any) -> str:
    """Returns the text from which `shape_of` recreates a shape function.

    Args:
        shape: Such a text, a function in a module, or an object.

    Raises:
        ValueError: If it cannot be recreated.
    """
    if isinstance(shape, str):
        return shape
    if hasattr(shape, "__qualname__"):
        text = f"{shape.__module__}:{shape.__qualname__}"
    else:
        text = f"{_module_of(shape)}:{shape!r}"
    try:
        shape_of(text)
    except ValueError as error:
        raise ValueError(
            "must be a function at the top level of a module, or an object whose repr "
            f"recreates it: {error}"
        ) from error
    return text


def shape_of(text: str) -> Any:
    """Returns the object that a text stands for; the text itself if it has no module.

    The current folder is also searched for modules.

    Raises:
        ValueError: If there is no such module or name, or the call fails.
    """
    module, colon, expression = text.partition(":")
    if not colon:
        return text
    try:
        node = ast.parse(expression.strip(), mode="eval").body
        own, ours = _imported(module), importlib.import_module("gaaf_keras.shapes")
        lookup = importlib.import_module("gaaf_keras.shapes.lookup")
        names = {**vars(ours), **vars(own)}
        return lookup.evaluated(node, names.__getitem__)
    except (ImportError, KeyError, SyntaxError, TypeError, ValueError) as error:
        raise ValueError(f"'{text}' cannot be found or made ({error})") from error


def _module_of(shape: Any) -> str:
    """Returns the module of an object, of the parts for a combination of shapes."""
    parts = vars(shape).values() if dataclasses.is_dataclass(shape) else ()
    found = [_module_of(part) for part in parts if callable(part)]
    own = [each for each in found if not each.startswith("gaaf_keras.")]
    module = own[0] if own else type(shape).__module__
    return "gaaf_keras.shapes" if module.startswith("gaaf_keras.") else module


def _imported(module: str) -> Any:
    folder = str(Path.cwd())
    if folder not in sys.path:
        sys.path.append(folder)
    return importlib.import_module(module)
