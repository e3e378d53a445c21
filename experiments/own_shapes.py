"""The user's own shape functions, by the names of their modules.

`"my_shapes:lorentzian"` is a function, or an object, in `my_shapes.py`;
`"my_shapes:Lorentzian(width=2)"` is made by a class or function there.
"""

import ast
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
    if type(shape).__module__.startswith("gaaf_keras."):
        text = f"gaaf_keras.shapes:{shape!r}"
    elif hasattr(shape, "__qualname__"):
        text = f"{shape.__module__}:{shape.__qualname__}"
    else:
        text = f"{type(shape).__module__}:{shape!r}"
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
        return _made(node, _imported(module))
    except (ImportError, AttributeError, SyntaxError, TypeError, ValueError) as error:
        raise ValueError(f"'{text}' cannot be found or made ({error})") from error


def _made(node: ast.expr, module: Any) -> Any:
    """Returns the value of a part of an expression in a module."""
    if isinstance(node, ast.Name):
        return getattr(module, node.id)
    if not isinstance(node, ast.Call):
        return ast.literal_eval(node)
    by_name = {str(each.arg): _made(each.value, module) for each in node.keywords}
    return _made(node.func, module)(
        *(_made(value, module) for value in node.args), **by_name
    )


def _imported(module: str) -> Any:
    folder = str(Path.cwd())
    if folder not in sys.path:
        sys.path.append(folder)
    return importlib.import_module(module)
