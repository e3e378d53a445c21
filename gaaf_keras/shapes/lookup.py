"""Shape functions by name, and the default shape of an activation."""

import ast
import difflib
import functools
import numbers
import operator
import re
from collections.abc import Callable
from typing import Any

import keras

from gaaf_keras._core.kinds import known_as
from gaaf_keras._core.known_activations import ACTIVATIONS
from gaaf_keras._core.types import Activation, Config, Function
from gaaf_keras.shapes.base import DEFINED, Shape, ShapeLike

_OPERATORS: dict[type, Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}


def get(identifier: ShapeLike | Config) -> Function:
    """Returns a shape function from a name, a configuration or a callable.

    Args:
        identifier: A name, such as `"gaussian"` or `"b_silu"`, optionally with
            parameters, as in `"gaussian(width=3.0)"` or `"one_sided(shifted_sigmoid)"`,
            or combined, as in `"0.5 * gaussian + constant(0.1)"`; a configuration made
            by `keras.saving.serialize_keras_object`; or any callable of one tensor,
            which is returned as it is.

    Raises:
        ValueError: If the name or a parameter is unknown, or the value cannot be a
            shape function.

    Examples:
        >>> from gaaf_keras import shapes
        >>> shapes.get("gaussian"), shapes.get("gaussian(width=3)")
        (Gaussian(width=2.0), Gaussian(width=3.0))
    """
    if isinstance(identifier, str):
        named = _from_text(identifier)
        if named is not None:
            return named
    if isinstance(identifier, dict):
        identifier = keras.saving.deserialize_keras_object(identifier)
    if callable(identifier) and not isinstance(identifier, type):
        return identifier
    raise ValueError(
        "Argument `shape_function` must be a shape function: one of the names "
        f"{', '.join(map(repr, DEFINED))}, optionally with parameters, as in "
        "'gaussian(width=3.0)', and combined, as in '0.5 * gaussian + constant'; an "
        "object such as `Gaussian(width=2.0)`; or a callable of one tensor. "
        f"Received: shape_function={identifier!r}.{_hint(identifier)}"
    )


def _hint(identifier: object) -> str:
    """Returns what was probably meant by something that is not a shape function."""
    if isinstance(identifier, numbers.Real):
        return f" If that is the factor on the shape, write strength={identifier!r}."
    if isinstance(identifier, type):
        return f" Add the brackets: {identifier.__name__}(...)."
    name = str(identifier).partition("(")[0].lower()
    close = difflib.get_close_matches(name, DEFINED, n=1)
    return f" Did you mean {close[0]!r}?" if close else ""


@functools.lru_cache(maxsize=64)
def _from_text(text: str) -> Shape | None:
    """Returns the shape that a text stands for; None if it names none."""
    if not DEFINED.keys() & set(re.findall(r"\w+", text)):
        return None
    try:
        node = ast.parse(text.strip(), mode="eval").body
        shape = evaluated(node, _defined, bare=lambda make: make())
        if not isinstance(shape, Shape):
            raise TypeError(f"it evaluates to {shape!r}")  # noqa: TRY301
    except (ArithmeticError, SyntaxError, TypeError, ValueError) as error:
        raise ValueError(
            "Argument `shape_function` must give parameters as in "
            f"'gaussian(width=3.0)'. Received: shape_function={text!r} ({error})"
        ) from error
    return shape


def evaluated(
    node: ast.expr,
    find: Callable[[str], Any],
    bare: Callable[[Any], Any] = lambda found: found,
) -> Any:
    """Returns the value of an expression of numbers, names, calls and operators.

    Args:
        node: The expression.
        find: Returns what a name stands for.
        bare: Returns what that means where it is not called.
    """
    if isinstance(node, ast.BinOp) and type(node.op) in _OPERATORS:
        sides = (evaluated(side, find, bare) for side in (node.left, node.right))
        return _OPERATORS[type(node.op)](*sides)
    if isinstance(node, ast.Name):
        return bare(find(node.id))
    if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name)):
        return ast.literal_eval(node)
    arguments = [evaluated(value, find, bare) for value in node.args]
    by_name = {str(k.arg): evaluated(k.value, find, bare) for k in node.keywords}
    return find(node.func.id)(*arguments, **by_name)


def _defined(name: str) -> Callable[..., Shape]:
    if name not in DEFINED:
        raise ValueError(f"there is no shape {name!r}, only {', '.join(DEFINED)}")
    return DEFINED[name].make


def default_for(activation: Activation) -> Shape:
    """Returns the default shape of a Keras activation.

    The paper gives two. The others follow from them: a sigmoid is a tanh of half the
    height and twice the width, and a one-sided activation gets ReLU's step half a unit
    beyond the pre-activation where its derivative first falls below 0.07, which is
    tanh's derivative at 2. Below that value an activation counts as flat here.

    Layers and operations with other parameters get shapes by the same rule: a `ReLU`
    with a threshold has its step there, one with a maximum has a second step there.

    Args:
        activation: Name of a Keras activation, the Keras function, or an activation
            layer such as `keras.layers.ReLU(max_value=6)`.

    Raises:
        ValueError: If the activation has no default shape.
    """
    found = known_as(activation)
    text = None if found is None else found[0].default_shape_with(found[1])
    shape = None if text is None else _from_text(text)
    if shape is not None:
        return shape
    names = ", ".join(known.name for known in ACTIVATIONS if known.default_shape)
    raise ValueError(
        "Argument `shape_function` must be given for an activation without a default "
        f"shape. Activations with one: {names}. "
        f"Received: activation={activation!r}, shape_function=None"
    )
