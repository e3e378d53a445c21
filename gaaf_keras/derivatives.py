"""Closed-form derivatives phi'(x) of the Keras activations.

At a kink the derivative is that of the flatter side: 0 for ReLU at 0 and for hard tanh
at -1 and 1. (The backends do not agree with each other there.)
"""

from collections.abc import Callable, Hashable
from typing import Any

import keras
from keras import ops

from gaaf_keras.kinds import function_of, name_of, parameters_of

_SELU_SCALE = 1.0507009873554805
_SELU_ALPHA = 1.6732632423543772
_SQRT_HALF = 0.7071067811865476
_NORMAL_DENSITY_AT_0 = 0.3989422804014327


def _tanh_of_value(value: Any) -> Any:
    return 1.0 - ops.square(value)


def _tanh(x: Any) -> Any:
    return _tanh_of_value(ops.tanh(x))


def _sigmoid_of_value(value: Any) -> Any:
    return value * (1.0 - value)


def _sigmoid(x: Any) -> Any:
    return _sigmoid_of_value(ops.sigmoid(x))


def _within_hard_tanh(x: Any) -> Any:
    return ops.abs(x) < 1


def _hard_tanh(x: Any) -> Any:
    return ops.cast(_within_hard_tanh(x), x.dtype)


def _hard_sigmoid(x: Any) -> Any:
    return ops.cast(ops.abs(x) < 3, x.dtype) / 6.0  # noqa: PLR2004


def _softsign(x: Any) -> Any:
    return 1.0 / ops.square(1.0 + ops.abs(x))


def _within_relu(x: Any) -> Any:
    return x > 0


def _relu(x: Any) -> Any:
    return ops.cast(_within_relu(x), x.dtype)


def _within_relu6(x: Any) -> Any:
    return ops.logical_and(x > 0, x < 6)  # noqa: PLR2004


def _relu6(x: Any) -> Any:
    return ops.cast(_within_relu6(x), x.dtype)


def _leaky_relu(x: Any) -> Any:
    return 0.2 + 0.8 * _relu(x)


def _decay(x: Any) -> Any:
    """exp(x) below 0, and above nothing that could overflow."""
    return ops.exp(-ops.relu(-x))


def _elu(x: Any) -> Any:
    return ops.where(x < 0, _decay(x), 1.0)


def _selu(x: Any) -> Any:
    return _SELU_SCALE * ops.where(x < 0, _SELU_ALPHA * _decay(x), 1.0)


def _silu(x: Any) -> Any:
    gate = ops.sigmoid(x)
    return gate * (1.0 + x * (1.0 - gate))


def _hard_silu(x: Any) -> Any:
    middle = ops.where(x > -3, x / 3.0 + 0.5, 0.0)  # noqa: PLR2004
    return ops.where(x < 3, middle, 1.0)  # noqa: PLR2004


def _gelu(x: Any) -> Any:
    probability = 0.5 * (1.0 + ops.erf(_SQRT_HALF * x))
    return probability + x * (_NORMAL_DENSITY_AT_0 * ops.exp(-0.5 * x * x))


_DERIVATIVES: dict[Any, Callable[[Any], Any]] = {
    keras.activations.tanh: _tanh,
    keras.activations.sigmoid: _sigmoid,
    keras.activations.hard_tanh: _hard_tanh,
    keras.activations.hard_sigmoid: _hard_sigmoid,
    keras.activations.softsign: _softsign,
    keras.activations.relu: _relu,
    keras.activations.relu6: _relu6,
    keras.activations.leaky_relu: _leaky_relu,
    keras.activations.elu: _elu,
    keras.activations.selu: _selu,
    keras.activations.softplus: ops.sigmoid,
    keras.activations.silu: _silu,
    keras.activations.hard_silu: _hard_silu,
    keras.activations.gelu: _gelu,
    keras.activations.linear: ops.ones_like,
}

_OF_VALUE: dict[Any, Callable[[Any], Any]] = {
    keras.activations.tanh: _tanh_of_value,
    keras.activations.sigmoid: _sigmoid_of_value,
}

_WHERE_1_ELSE_0: dict[Any, Callable[[Any], Any]] = {
    keras.activations.hard_tanh: _within_hard_tanh,
    keras.activations.relu: _within_relu,
    keras.activations.relu6: _within_relu6,
}


def _rectifier(
    negative_slope: float, max_value: float | None, threshold: float
) -> Callable[[Any], Any]:
    def derivative(x: Any) -> Any:
        active = x > threshold
        if max_value is not None:
            active = ops.logical_and(active, x < max_value)
        slope = ops.cast(active, x.dtype)
        if negative_slope:
            below = ops.cast(x < threshold, x.dtype)
            slope = slope + negative_slope * below
        return slope

    return derivative


def _leaky_rectifier(negative_slope: float) -> Callable[[Any], Any]:
    return lambda x: negative_slope + (1.0 - negative_slope) * _relu(x)


def _scaled_elu(alpha: float) -> Callable[[Any], Any]:
    return lambda x: ops.where(x < 0, alpha * _decay(x), 1.0)


_WITH_PARAMETERS: dict[str, Callable[..., Callable[[Any], Any]]] = {
    "relu": _rectifier,
    "leaky_relu": _leaky_rectifier,
    "elu": _scaled_elu,
}


def known_activations() -> list[str]:
    """Returns the names of the Keras activations with a closed-form derivative."""
    return [function.__name__ for function in _DERIVATIVES]


def derivative_of(activation: Any) -> Callable[[Any], Any] | None:
    """Returns phi' of a Keras activation as a function of x, or None if unknown.

    Args:
        activation: Name of a Keras activation, or a callable, such as a function in
            `keras.activations` or the layer `keras.layers.ReLU(max_value=6)`.
    """
    known = _looked_up(_DERIVATIVES, activation)
    if known:
        return known
    activation = function_of(activation)
    parameters = parameters_of(activation)
    with_parameters = _WITH_PARAMETERS.get(name_of(activation)) if parameters else None
    return with_parameters(**parameters) if with_parameters else None


def derivative_from_value_of(activation: Any) -> Callable[[Any], Any] | None:
    """Returns phi' as a function of phi(x), or None where there is no cheap one.

    Args:
        activation: As for `derivative_of`.
    """
    return _looked_up(_OF_VALUE, activation)


def where_1_else_0(activation: Any) -> Callable[[Any], Any] | None:
    """Returns the condition on x under which phi' is 1, if it is 0 everywhere else.

    Args:
        activation: As for `derivative_of`.

    Returns:
        A function of x with a Boolean tensor as its value, or None if phi' has other
        values.
    """
    return _looked_up(_WHERE_1_ELSE_0, activation)


def _looked_up(table: dict[Any, Callable[[Any], Any]], activation: Any) -> Any:
    activation = function_of(activation)
    return table.get(activation) if isinstance(activation, Hashable) else None
