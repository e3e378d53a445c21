"""Activation functions that keep their value and accelerate their gradient."""

import contextlib
import difflib

import keras

from gaaf_keras._accelerated.activation import AcceleratedActivation
from gaaf_keras._core.kinds import derivative_of
from gaaf_keras._core.known_activations import (
    ACTIVATIONS,
    Derivative,
    known_activations,
)
from gaaf_keras._core.types import Activation, Config, Function, Tensor
from gaaf_keras.shapes import ShapeLike

__all__ = [
    "AcceleratedActivation",
    "Derivative",
    "derivative_of",
    "gaaf",
    "gaaf_relu",
    "gaaf_tanh",
    "get",
    "known_activations",
]


def gaaf(
    activation: Activation,
    shape_function: ShapeLike | None = None,
    strength: float = 1.0,
    *,
    frequency: float | None = None,
    unit_gain: bool = False,
) -> AcceleratedActivation:
    """Returns an activation function with an accelerated gradient.

    - Forward: `phi(x)`, exactly the plain activation.
    - Backward: `upstream * (phi'(x) + strength * s(x))`

    The function always accelerates. For plain gradients at inference, use the layer
    form, `gaaf_keras.GAAF`. The function takes a floating-point tensor of any shape, or
    a symbolic one, returns one of the same shape and dtype, and is saved with a model.

    For the activations of `gaaf_keras.activations.known_activations` the whole
    backward pass is one closed expression. For any other activation the backend
    differentiates `phi`, and the shape's part is added.

    Forward-mode differentiation does not follow custom gradients: TensorFlow's
    `tf.autodiff.ForwardAccumulator` silently returns the derivative of the base
    activation, and JAX's `jax.jvp` raises an error.

    Args:
        activation: The plain activation phi: the name of a Keras activation, or a
            callable that maps a tensor elementwise.
        shape_function: s: an object such as `gaaf_keras.Gaussian(2.0)`, a name, or a
            callable of one tensor. Defaults to
            `gaaf_keras.shapes.default_for(activation)`, which is the paper's for tanh
            and ReLU. Required for callables of your own.
        strength: Factor on the shape, 0 or greater; at 0 the gradient is that of
            the plain activation. Defaults to 1, as in the paper.
        frequency: None for the exact limit above, or K for the paper's literal
            formula, whose forward pass is `phi(x) + strength * g(x) * s(x)` with the
            sawtooth g of `gaaf_keras.gradient_acceleration`. Its value differs from
            phi by at most `strength * max(s) / (2 K)`, its derivative from the exact
            one by at most `strength * max|s'| / (2 K)`. Not for half precision.
        unit_gain: Whether to multiply the total derivative by
            `sup |phi'| / sup |phi' + strength * s|` where that is below 1, so that no
            unit passes more gradient than the plain activation could. The paper's ReLU
            shape makes the derivative of every active unit 2, which over n layers is a
            factor of 2^n; with unit gain only the shape of the gradient changes.
            Defaults to False, as in the paper.

    Raises:
        ValueError: If there is no such activation; if `shape_function` is missing, is
            not a shape function or is for another activation; if `strength` is
            negative or not finite; if `frequency` or `unit_gain` cannot be used; or
            if `activation` is a layer that may have weights, which only the layer
            `gaaf_keras.GAAF` can train.
        TypeError: If `strength` or `frequency` is not a number, if an argument is a
            tensor (brackets forgotten), or if the function is called on a tensor that
            is not floating-point.

    Examples:
        >>> import keras
        >>> from gaaf_keras import Gaussian, gaaf
        >>> layer = keras.layers.Dense(64, activation=gaaf("tanh", strength=0.5))
        >>> softsign = gaaf("softsign", shape_function=Gaussian(width=4.0))
        >>> float(softsign(1.0))
        0.5

    Reference:
        Hahn and Choi, "Gradient Acceleration in Activation Functions"
        (arXiv 1806.09783), section 3; without a frequency, its limit as K goes to
        infinity.
    """
    accelerated = AcceleratedActivation(
        activation, shape_function, strength, frequency=frequency, unit_gain=unit_gain
    )
    base = accelerated.activation
    if isinstance(base, keras.layers.Layer) and derivative_of(base) is None:
        raise ValueError(
            "Argument `activation` must not be a layer that may have weights, because "
            "a function cannot train them. Use the layer `gaaf_keras.GAAF` instead. "
            f"Received: activation={activation!r}"
        )
    return accelerated


@keras.saving.register_keras_serializable("gaaf_keras")
def gaaf_tanh(x: Tensor) -> Tensor:
    """The function `gaaf("tanh")`: tanh with the paper's accelerated gradient.

    - Forward: `tanh(x)`
    - Backward: `upstream * (1 - tanh(x)^2 + exp(-x^2 / 4))`

    Args:
        x: Floating-point tensor of any shape, or a symbolic Keras tensor.

    Raises:
        TypeError: If `x` is not floating-point.

    Examples:
        >>> import keras
        >>> from gaaf_keras import gaaf_tanh
        >>> layer = keras.layers.Dense(64, activation=gaaf_tanh)
        >>> float(gaaf_tanh(0.0))
        0.0
    """
    return _TANH(x)


@keras.saving.register_keras_serializable("gaaf_keras")
def gaaf_relu(x: Tensor) -> Tensor:
    """The function `gaaf("relu")`: ReLU with the paper's accelerated gradient.

    - Forward: `max(x, 0)`
    - Backward: `upstream * ([x > 0] + sigmoid(5 * (x + 0.5)))`, where `[x > 0]` is
      1 for positive x and 0 elsewhere, including x = 0.

    Args:
        x: Floating-point tensor of any shape, or a symbolic Keras tensor.

    Raises:
        TypeError: If `x` is not floating-point.

    Examples:
        >>> import keras
        >>> from gaaf_keras import gaaf_relu
        >>> layer = keras.layers.Conv2D(32, 3, activation=gaaf_relu)
        >>> float(gaaf_relu(-1.0)), float(gaaf_relu(2.0))
        (0.0, 2.0)
    """
    return _RELU(x)


_TANH = AcceleratedActivation("tanh", name="gaaf_tanh")
_RELU = AcceleratedActivation("relu", name="gaaf_relu")

# The functions above, with the names of their plain activations.
FUNCTION_FORMS: dict[Function, str] = {gaaf_tanh: "tanh", gaaf_relu: "relu"}


def get(identifier: Activation | Config) -> Function:
    """Returns an activation function from a name, a configuration or a callable.

    Args:
        identifier: `"gaaf_NAME"` for the accelerated form of the Keras activation
            NAME, with its default shape (`"gaaf_tanh"`, `"gaaf_relu"`,
            `"gaaf_elu"`, ...); the name of a Keras activation; a configuration; or a
            callable, which is returned as it is.

    Keras layers do not know the names `"gaaf_NAME"`: pass them the result instead.

    Raises:
        ValueError: If there is no such activation. The message lists the names.

    Examples:
        >>> from gaaf_keras import activations
        >>> activations.get("gaaf_tanh").__name__
        'gaaf_tanh'
    """
    if isinstance(identifier, str) and identifier.startswith("gaaf_"):
        base = identifier.removeprefix("gaaf_")
        for function, name in FUNCTION_FORMS.items():
            if name == base:
                return function
        with contextlib.suppress(ValueError):
            return gaaf(base)
    try:
        return keras.activations.get(identifier)
    except ValueError as error:
        names = [f"gaaf_{each.name}" for each in ACTIVATIONS if each.default_shape]
        close = difflib.get_close_matches(str(identifier), names, n=1)
        hint = f". Did you mean {close[0]!r}?" if close else ""
        raise ValueError(
            "Argument `identifier` must be the name of a Keras activation, one of "
            f"{', '.join(names)}, a configuration or a callable. "
            f"Received: identifier={identifier!r}{hint}"
        ) from error
