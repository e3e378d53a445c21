"""Closed-form derivatives phi'(x) of the Keras activations.

At a kink the derivative is that of the flatter side: 0 for ReLU at 0 and for hard tanh
at -1 and 1. (The backends do not agree with each other there.)
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
from keras import ops

from gaaf_keras._core.kinds import function_of, looked_up, name_of, parameters_of

_SELU_SCALE = 1.0507009873554805
_SELU_ALPHA = 1.6732632423543772
_SQRT_HALF = 0.7071067811865476
_NORMAL_DENSITY_AT_0 = 0.3989422804014327


@dataclass(frozen=True)
class Derivative:
    """phi' of an activation, a function of x, and the cheaper ways to have it.

    Attributes:
        of_input: phi' as a function of x.
        of_value: phi' as a function of phi(x), where that is cheaper.
        where_one: The condition on x under which phi' is 1, if it is 0 elsewhere.
    """

    of_input: Callable[[Any], Any]
    of_value: Callable[[Any], Any] | None = None
    where_one: Callable[[Any], Any] | None = None

    def __call__(self, x: Any) -> Any:
        return self.of_input(x)


def _by_value(
    activation: Callable[[Any], Any], of_value: Callable[[Any], Any]
) -> Derivative:
    return Derivative(lambda x: of_value(activation(x)), of_value=of_value)


def _step(condition: Callable[[Any], Any]) -> Derivative:
    return Derivative(lambda x: ops.cast(condition(x), x.dtype), where_one=condition)


def _hard_sigmoid(x: Any) -> Any:
    return ops.cast(ops.abs(x) < 3, x.dtype) / 6.0  # noqa: PLR2004


def _softsign(x: Any) -> Any:
    return 1.0 / ops.square(1.0 + ops.abs(x))


def _relu(x: Any) -> Any:
    return ops.cast(x > 0, x.dtype)


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


_DERIVATIVES: dict[Any, Derivative] = {
    keras.activations.tanh: _by_value(ops.tanh, lambda value: 1.0 - ops.square(value)),
    keras.activations.sigmoid: _by_value(
        ops.sigmoid, lambda value: value * (1.0 - value)
    ),
    keras.activations.hard_tanh: _step(lambda x: ops.abs(x) < 1),
    keras.activations.hard_sigmoid: Derivative(_hard_sigmoid),
    keras.activations.softsign: Derivative(_softsign),
    keras.activations.relu: _step(lambda x: x > 0),
    keras.activations.relu6: _step(lambda x: ops.logical_and(x > 0, x < 6)),  # noqa: PLR2004
    keras.activations.leaky_relu: Derivative(_leaky_relu),
    keras.activations.elu: Derivative(_elu),
    keras.activations.selu: Derivative(_selu),
    keras.activations.softplus: Derivative(ops.sigmoid),
    keras.activations.silu: Derivative(_silu),
    keras.activations.hard_silu: Derivative(_hard_silu),
    keras.activations.gelu: Derivative(_gelu),
    keras.activations.linear: Derivative(ops.ones_like),
}


@functools.cache
def _rectifier(
    negative_slope: float, max_value: float | None, threshold: float
) -> Derivative:
    def is_active(x: Any) -> Any:
        active = x > threshold
        if max_value is not None:
            active = ops.logical_and(active, x < max_value)
        return active

    def derivative(x: Any) -> Any:
        below = ops.cast(x <= threshold, x.dtype)
        return ops.cast(is_active(x), x.dtype) + negative_slope * below

    return Derivative(derivative) if negative_slope else _step(is_active)


@functools.cache
def _leaky_rectifier(negative_slope: float) -> Derivative:
    return Derivative(lambda x: negative_slope + (1.0 - negative_slope) * _relu(x))


@functools.cache
def _scaled_elu(alpha: float) -> Derivative:
    def derivative(x: Any) -> Any:
        below = x <= 0 if alpha < 1 else x < 0
        return ops.where(below, alpha * _decay(x), 1.0)

    return Derivative(derivative)


_WITH_PARAMETERS: dict[str, Callable[..., Derivative]] = {
    "relu": _rectifier,
    "leaky_relu": _leaky_rectifier,
    "elu": _scaled_elu,
}


def known_activations() -> list[str]:
    """Returns the names of the Keras activations with a closed-form derivative."""
    return [function.__name__ for function in _DERIVATIVES]


def derivative_of(activation: Any) -> Derivative | None:
    """Returns phi' of a Keras activation as a function of x, or None if unknown.

    Args:
        activation: Name of a Keras activation, or a callable, such as a function in
            `keras.activations` or the layer `keras.layers.ReLU(max_value=6)`.
    """
    derivative = looked_up(_DERIVATIVES, activation)
    if derivative is not None:
        return derivative
    activation = function_of(activation)
    parameters = parameters_of(activation)
    with_parameters = _WITH_PARAMETERS.get(name_of(activation)) if parameters else None
    return with_parameters(**parameters) if with_parameters else None
