"""Shape functions s(x): where gradient is added to an activation, and how much.

An accelerated activation keeps its value and has the derivative
`phi'(x) + strength * s(x)`. The shape function `s` decides the second term.

A shape is any callable of one tensor. To make one that can be saved with a model and
combined with others, write a frozen dataclass:

```python
@keras.saving.register_keras_serializable("my_package")
@dataclasses.dataclass(frozen=True)
class Lorentzian(gaaf_keras.shapes.Shape):
    width: float = 1.0

    def __call__(self, x):
        return 1 / (1 + keras.ops.square(x / self.width))
```
"""

import ast
import math
from collections.abc import Callable
from typing import Any

import keras

from gaaf_keras._core.kinds import function_of, looked_up, name_of, parameters_of
from gaaf_keras.shapes.base import Clipped, Constant, OneSided, Scaled, Shape, Sum
from gaaf_keras.shapes.dropout import DropoutMatched
from gaaf_keras.shapes.paper import Gaussian, ShiftedSigmoid
from gaaf_keras.shapes.surrogates import (
    BSiLUDerivative,
    FromDerivative,
    NeLUDerivative,
    b_silu,
    helu,
    leaky,
    nelu,
    straight_through,
)

__all__ = [
    "BSiLUDerivative",
    "Clipped",
    "Constant",
    "DropoutMatched",
    "FromDerivative",
    "Gaussian",
    "NeLUDerivative",
    "OneSided",
    "Scaled",
    "Shape",
    "ShiftedSigmoid",
    "Sum",
    "b_silu",
    "default_for",
    "get",
    "helu",
    "leaky",
    "nelu",
    "straight_through",
]

_BY_NAME: dict[str, Callable[..., Shape]] = {
    "gaussian": Gaussian,
    "shifted_sigmoid": ShiftedSigmoid,
    "constant": Constant,
    "b_silu": b_silu,
    "nelu": nelu,
    "helu": helu,
    "leaky": leaky,
    "straight_through": straight_through,
    "one_sided": OneSided,
    "from_derivative": FromDerivative,
}

# `default_for` says why.
_DEFAULTS: dict[Any, Shape] = {
    keras.activations.tanh: Gaussian(2.0),
    keras.activations.hard_tanh: Gaussian(2.0),  # stands in for tanh
    keras.activations.softsign: Gaussian(2.75),  # derivative below 0.07 from 2.75 on
    keras.activations.sigmoid: 0.25 * Gaussian(4.0),
    keras.activations.hard_sigmoid: (1 / 6) * Gaussian(6.0),  # hard tanh of x / 3
    keras.activations.relu: ShiftedSigmoid(5.0, 0.5),
    keras.activations.leaky_relu: ShiftedSigmoid(5.0, 0.5),  # as ReLU, less needed
    keras.activations.relu6: ShiftedSigmoid(5.0, 0.5) - ShiftedSigmoid(5.0, -6.5),
    keras.activations.elu: ShiftedSigmoid(5.0, 3.2),
    keras.activations.selu: ShiftedSigmoid(5.0, 3.7),
    keras.activations.softplus: ShiftedSigmoid(5.0, 3.1),
    keras.activations.silu: ShiftedSigmoid(5.0, 1.5),
    keras.activations.hard_silu: ShiftedSigmoid(5.0, 1.8),
    keras.activations.gelu: ShiftedSigmoid(5.0, 1.1),
    keras.ops.gelu: ShiftedSigmoid(5.0, 1.1),  # the approximation
    keras.activations.mish: ShiftedSigmoid(5.0, 1.5),
    keras.activations.celu: ShiftedSigmoid(5.0, 3.2),
    keras.activations.squareplus: ShiftedSigmoid(5.0, 3.9),
    keras.activations.log_sigmoid: Constant(1.0) - ShiftedSigmoid(5.0, -3.1),
    keras.activations.linear: Constant(0.0),  # is nowhere flat
}


def get(identifier: str | dict[str, Any] | Callable[[Any], Any]) -> Callable[..., Any]:
    """Returns a shape function from a name, a configuration or a callable.

    Args:
        identifier: A name, such as `"gaussian"` or `"b_silu"`, with parameters if they
            are not the default ones, as in `"gaussian(width=3.0)"` or
            `"one_sided(shifted_sigmoid)"`; a configuration made by
            `keras.saving.serialize_keras_object`, or any callable of one tensor, which
            is returned as it is.

    Returns:
        A callable of one tensor.

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
        f"{', '.join(map(repr, _BY_NAME))}, perhaps with parameters as in "
        "'gaussian(width=3.0)', an object such as `Gaussian(width=2.0)`, "
        "or a callable of one tensor. "
        f"Received: shape_function={identifier!r}"
    )


def _from_text(text: str) -> Shape | None:
    """Returns the shape that `name` or `name(parameter=value, ...)` stands for."""
    name = text.partition("(")[0].strip()
    if name not in _BY_NAME:
        return None
    try:
        return _from_expression(ast.parse(text.strip(), mode="eval").body)
    except (SyntaxError, TypeError, ValueError) as error:
        raise ValueError(
            "Argument `shape_function` must have parameters as in "
            f"'gaussian(width=3.0)'. Received: shape_function={text!r} ({error})"
        ) from error


def _from_expression(node: ast.expr) -> Any:
    """Returns the shape or the number that a part of the text stands for."""
    call = node if isinstance(node, ast.Call) else ast.Call(node, [], [])
    if not isinstance(call.func, ast.Name):
        return ast.literal_eval(node)
    if call.func.id not in _BY_NAME:
        names = ", ".join(_BY_NAME)
        raise ValueError(f"there is no shape {call.func.id!r}, only {names}")
    arguments = [_from_expression(value) for value in call.args]
    by_name = {
        str(keyword.arg): _from_expression(keyword.value) for keyword in call.keywords
    }
    return _BY_NAME[call.func.id](*arguments, **by_name)


def activations_with_default() -> list[Any]:
    """Returns the Keras activations that have a default shape."""
    return list(_DEFAULTS)


def default_for(activation: Any) -> Shape:
    """Returns the default shape of a Keras activation.

    The paper gives two. The others follow from them: a sigmoid is a tanh of half the
    height and twice the width, and a one-sided activation gets ReLU's step half a unit
    beyond the pre-activation where its derivative first falls below 0.07, which is what
    tanh's derivative is at 2. Below that it counts as flat here.

    | activation | default shape | why |
    |---|---|---|
    | tanh | `Gaussian(2)` | the paper's |
    | hard_tanh | `Gaussian(2)` | stands in for tanh |
    | softsign | `Gaussian(2.75)` | its derivative at 2.75 is tanh's at 2 |
    | sigmoid | `0.25 * Gaussian(4)` | it is (1 + tanh(x / 2)) / 2 |
    | hard_sigmoid | `1/6 * Gaussian(6)` | it is (1 + hard_tanh(x / 3)) / 2 |
    | relu, leaky_relu | `ShiftedSigmoid(5, 0.5)` | the paper's |
    | relu6 | `ShiftedSigmoid(5, 0.5) - ShiftedSigmoid(5, -6.5)` | flat on both sides |
    | elu | `ShiftedSigmoid(5, 3.2)` | flat below -2.7 |
    | selu | `ShiftedSigmoid(5, 3.7)` | flat below -3.2 |
    | softplus | `ShiftedSigmoid(5, 3.1)` | flat below -2.6 |
    | silu | `ShiftedSigmoid(5, 1.5)` | flat below -1.0 |
    | hard_silu | `ShiftedSigmoid(5, 1.8)` | flat below -1.3 |
    | gelu | `ShiftedSigmoid(5, 1.1)` | flat below -0.6 |
    | mish | `ShiftedSigmoid(5, 1.5)` | flat below -1.0 |
    | celu | `ShiftedSigmoid(5, 3.2)` | flat below -2.7 |
    | squareplus | `ShiftedSigmoid(5, 3.9)` | flat below -3.4 |
    | log_sigmoid | `Constant(1) - ShiftedSigmoid(5, -3.1)` | flat above 2.6 |
    | linear | `Constant(0)` | nowhere flat |

    Layers and operations with other parameters have shapes by the same rule: a `ReLU`
    with a threshold has its step there, one with a maximum a second step at that.

    Args:
        activation: Name of a Keras activation, the Keras function, or an activation
            layer such as `keras.layers.ReLU(max_value=6)`.

    Raises:
        ValueError: If the activation has no default shape.
    """
    shape = looked_up(_DEFAULTS, activation)
    if shape is not None:
        return shape
    function = function_of(activation)
    with_parameters = _DEFAULTS_WITH_PARAMETERS.get(name_of(function))
    if isinstance(function, keras.Operation) and with_parameters is not None:
        return with_parameters(**parameters_of(function))
    names = ", ".join(dict.fromkeys(known.__name__ for known in _DEFAULTS))
    raise ValueError(
        "Argument `shape_function` must be given for an activation without a default "
        f"shape (those with one: {names}). "
        f"Received: activation={activation!r}, shape_function=None"
    )


def _rectifier_default(
    negative_slope: float, max_value: float | None, threshold: float
) -> Shape:
    del negative_slope  # what is left of the gradient below needs help all the same
    step: Shape = ShiftedSigmoid(5.0, 0.5 - threshold)
    return step if max_value is None else step - ShiftedSigmoid(5.0, -0.5 - max_value)


def _exponential_default(alpha: float, width: float = 1.0) -> Shape:
    """For a derivative of `alpha * exp(x / width)` below 0."""
    flat_below = width * min(0.0, math.log(_FLAT / alpha)) if alpha > 0 else 0.0
    return ShiftedSigmoid(5.0, 0.5 - flat_below)


_FLAT = 0.07  # tanh's derivative at 2

_DEFAULTS_WITH_PARAMETERS: dict[str, Callable[..., Shape]] = {
    "relu": _rectifier_default,
    "leaky_relu": lambda negative_slope: ShiftedSigmoid(5.0, 0.5),  # noqa: ARG005
    "prelu": lambda: ShiftedSigmoid(5.0, 0.5),
    "elu": _exponential_default,
    "celu": lambda alpha: _exponential_default(1.0, alpha),
    "gelu": lambda approximate: ShiftedSigmoid(5.0, 1.1),  # noqa: ARG005
}
