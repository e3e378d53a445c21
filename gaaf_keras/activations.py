"""Activation functions whose value is kept and whose gradient is accelerated."""

import dataclasses
from collections.abc import Callable, Hashable
from typing import Any

import keras
from keras import ops

from gaaf_keras import shapes
from gaaf_keras._checks import non_negative_number


@dataclasses.dataclass(frozen=True)
class _Known:
    """What is known of a base activation: its derivative and its default shape."""

    derivative: Callable[[Any], Any]
    default_shape: shapes.Shape


_KNOWN = {
    keras.activations.tanh: _Known(
        derivative=lambda x: 1.0 - ops.square(ops.tanh(x)),
        default_shape=shapes.Gaussian(),
    ),
    keras.activations.relu: _Known(
        derivative=lambda x: ops.cast(x > 0, x.dtype),
        default_shape=shapes.ShiftedSigmoid(),
    ),
}


@keras.saving.register_keras_serializable("gaaf_keras")
class AcceleratedActivation(keras.Operation):
    """What `gaaf_keras.gaaf` returns: a saveable function of one tensor.

    See `gaaf_keras.gaaf` for the formulas and the arguments. It is an object and
    not a closure so that a model that contains it can be saved, and an operation
    so that it can be called on symbolic Keras tensors.
    """

    def __init__(
        self,
        activation: Any,
        shape: Any = None,
        strength: float = 1.0,
        name: str | None = None,
    ) -> None:
        super().__init__(name=name)
        self.activation = keras.activations.get(activation)
        if shape is None:
            shape = _default_shape(self.activation)
        self.shape = shapes.get(shape)
        self.strength = non_negative_number("strength", strength)

    def call(self, x: Any) -> Any:
        x = ops.convert_to_tensor(x)
        dtype = keras.backend.standardize_dtype(x.dtype)
        if not keras.backend.is_float_dtype(dtype):
            raise TypeError(
                "An accelerated activation needs a floating-point tensor, because "
                "others have no gradient. Cast it first, for example with "
                f"`keras.ops.cast(x, 'float32')`. Received: x of dtype {dtype}"
            )
        known = _known(self.activation)
        return self._appended(x) if known is None else self._fused(x, known.derivative)

    def _fused(self, x: Any, derivative: Callable[[Any], Any]) -> Any:
        """The activation with one closed-form expression for its backward pass."""

        @ops.custom_gradient
        def accelerated(x: Any) -> Any:
            def gradient(*args: Any, upstream: Any = None) -> Any:
                upstream = args[-1] if upstream is None else upstream
                return upstream * (derivative(x) + self.strength * self.shape(x))

            return self.activation(x), gradient

        return accelerated(x)

    def _appended(self, x: Any) -> Any:
        """The activation as the backend differentiates it, plus the shape's part."""
        value = self.activation(x)
        if tuple(value.shape) != tuple(x.shape):
            raise ValueError(
                "Argument `activation` must be an elementwise function, whose output "
                f"has the shape of its input. Received: activation={self.activation}, "
                f"which turned shape {tuple(x.shape)} into {tuple(value.shape)}"
            )

        @ops.custom_gradient
        def accelerated(value: Any, x: Any) -> Any:
            def gradient(*args: Any, upstream: Any = None) -> Any:
                upstream = args[-1] if upstream is None else upstream
                return upstream, upstream * (self.strength * self.shape(x))

            return value, gradient

        return accelerated(value, x)

    def compute_output_spec(self, x: Any) -> keras.KerasTensor:
        return keras.KerasTensor(x.shape, dtype=x.dtype)

    def get_config(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "activation": keras.activations.serialize(self.activation),
            "shape": keras.saving.serialize_keras_object(self.shape),
            "strength": self.strength,
        }

    def __repr__(self) -> str:
        base = getattr(self.activation, "__name__", self.activation)
        return f"gaaf({base!r}, shape={self.shape!r}, strength={self.strength})"


def _known(activation: Any) -> _Known | None:
    return _KNOWN.get(activation) if isinstance(activation, Hashable) else None


def _default_shape(activation: Any) -> shapes.Shape:
    known = _known(activation)
    if known is None:
        names = ", ".join(repr(function.__name__) for function in _KNOWN)
        raise ValueError(
            "Argument `shape` must be given for an activation without a default "
            f"shape (those with one: {names}). "
            f"Received: activation={activation!r}, shape=None"
        )
    return known.default_shape


def gaaf(
    activation: Any, shape: Any = None, strength: float = 1.0
) -> AcceleratedActivation:
    """Returns an activation function with its gradient accelerated.

    - Forward: `phi(x)`, exactly the base activation.
    - Backward: `upstream * (phi'(x) + strength * s(x))`

    The function always accelerates. To have the plain gradients at inference, use
    the layer form, `gaaf_keras.GAAF`.

    For `"tanh"` and `"relu"` the whole backward pass is one closed expression. For
    any other activation the backend's own differentiation gives `phi'`.

    Args:
        activation: The base activation phi: the name of a Keras activation, or a
            callable that maps a tensor elementwise.
        shape: The shape function s: an object such as `gaaf_keras.Gaussian(2.0)`,
            a name, or a callable of one tensor. Defaults to the paper's shape:
            `Gaussian()` for tanh, `ShiftedSigmoid()` for ReLU; must be given for
            other activations.
        strength: Factor on the shape, 0 or greater; at 0 the gradient is that of
            the base activation. Defaults to 1, as in the paper.

    Returns:
        A callable that takes a floating-point tensor of any shape (or a symbolic
        Keras tensor) and returns one of the same shape and dtype. It can be given
        as `activation=` to a Keras layer and is saved with the model.

    Raises:
        ValueError: If there is no such activation, if `shape` is missing or is no
            shape function, or if `strength` is negative or not finite.
        TypeError: If `strength` is not a number, or the function is called on a
            tensor that is not floating-point.

    Example:
    >>> import keras
    >>> from gaaf_keras import Gaussian, gaaf
    >>> layer = keras.layers.Dense(64, activation=gaaf("tanh", strength=0.5))
    >>> softsign = gaaf("softsign", shape=Gaussian(width=4.0))
    >>> float(softsign(1.0))
    0.5

    Reference:
        Hahn and Choi, "Gradient Acceleration in Activation Functions"
        (arXiv 1806.09783), section 3, in the limit of an infinite frequency.
    """
    return AcceleratedActivation(activation, shape, strength)


@keras.saving.register_keras_serializable("gaaf_keras")
def gaaf_tanh(x: Any) -> Any:
    """Hyperbolic tangent with the paper's accelerated gradient.

    - Forward: `tanh(x)`
    - Backward: `upstream * (1 - tanh(x)^2 + exp(-x^2 / 4))`

    The function always accelerates. To have the plain gradients at inference, use
    the layer form, `gaaf_keras.GAAFTanh`.

    Args:
        x: Floating-point tensor of any shape, or a symbolic Keras tensor.

    Returns:
        A tensor with the shape and dtype of `x`, with values from -1 to 1.

    Raises:
        TypeError: If `x` is not floating-point.

    Example:
    >>> import keras
    >>> from gaaf_keras import gaaf_tanh
    >>> layer = keras.layers.Dense(64, activation=gaaf_tanh)
    >>> float(gaaf_tanh(0.0))
    0.0

    Reference:
        Hahn and Choi, "Gradient Acceleration in Activation Functions"
        (arXiv 1806.09783), section 3.
    """
    return gaaf("tanh")(x)


@keras.saving.register_keras_serializable("gaaf_keras")
def gaaf_relu(x: Any) -> Any:
    """Rectified linear unit with the paper's accelerated gradient.

    - Forward: `max(x, 0)`
    - Backward: `upstream * ([x > 0] + sigmoid(5 * (x + 0.5)))`, where `[x > 0]` is
      1 for positive x and 0 elsewhere, also at x = 0.

    The function always accelerates. To have the plain gradients at inference, use
    the layer form, `gaaf_keras.GAAFReLU`.

    Args:
        x: Floating-point tensor of any shape, or a symbolic Keras tensor.

    Returns:
        A tensor with the shape and dtype of `x`, with values from 0 up.

    Raises:
        TypeError: If `x` is not floating-point.

    Example:
    >>> import keras
    >>> from gaaf_keras import gaaf_relu
    >>> layer = keras.layers.Conv2D(32, 3, activation=gaaf_relu)
    >>> float(gaaf_relu(-1.0)), float(gaaf_relu(2.0))
    (0.0, 2.0)

    Reference:
        Hahn and Choi, "Gradient Acceleration in Activation Functions"
        (arXiv 1806.09783), section 3.
    """
    return gaaf("relu")(x)
