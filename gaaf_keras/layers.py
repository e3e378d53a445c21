"""Keras layers that apply an activation and accelerate its gradient in training."""

from typing import Any

import keras

from gaaf_keras.activations import gaaf


@keras.saving.register_keras_serializable("gaaf_keras")
class GAAF(keras.layers.Layer):
    """An activation layer with an accelerated gradient.

    - Forward: `phi(x)`, exactly the base activation.
    - Backward: `upstream * (phi'(x) + strength * s(x))`, unless the layer is called
      with `training=False`; then it *is* the base activation, with its own
      gradient and nothing else in the graph.

    So `fit`, and calls that say nothing about training, accelerate; `predict`,
    `evaluate` and calls with `training=False` do not.

    Args:
        activation: The base activation phi: the name of a Keras activation, or a
            callable that maps a tensor elementwise.
        shape: The shape function s: an object such as `gaaf_keras.Gaussian(2.0)`,
            a name, or a callable of one tensor. Defaults to the paper's shape:
            `Gaussian()` for tanh, `ShiftedSigmoid()` for ReLU; must be given for
            other activations.
        strength: Factor on the shape, 0 or greater; at 0 the gradient is that of
            the base activation. Defaults to 1, as in the paper.
        **kwargs: Base layer keyword arguments, such as `name` and `dtype`.

    Call arguments:
        inputs: Floating-point tensor of any shape: the net input.
        training: Whether the layer runs in training. Only `False` turns the
            acceleration off.

    Input shape:
        Arbitrary. Masks are passed on.

    Output shape:
        Same as the input, in the layer's compute dtype.

    Raises:
        ValueError: If there is no such activation, if `shape` is missing or is no
            shape function, or if `strength` is negative or not finite.
        TypeError: If `strength` is not a number, or the input is not
            floating-point.

    Example:
    >>> import keras
    >>> from gaaf_keras import GAAF, Gaussian
    >>> model = keras.Sequential([
    ...     keras.Input((784,)),
    ...     keras.layers.Dense(512),
    ...     GAAF("tanh", shape=Gaussian(width=3.0)),
    ...     keras.layers.Dense(10),
    ... ])
    >>> model.output_shape
    (None, 10)

    Reference:
        Hahn and Choi, "Gradient Acceleration in Activation Functions"
        (arXiv 1806.09783), section 3, in the limit of an infinite frequency.
    """

    def __init__(
        self, activation: Any, shape: Any = None, strength: float = 1.0, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.supports_masking = True
        self._accelerated = gaaf(activation, shape, strength)
        self.activation = self._accelerated.activation
        self.shape = self._accelerated.shape
        self.strength = self._accelerated.strength
        self.built = True

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        if training is None or training:
            return self._accelerated(inputs)
        return self.activation(inputs)

    def compute_output_shape(self, input_shape: Any) -> Any:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        return {**self._accelerated.get_config(), **super().get_config()}


class _PaperGAAF(GAAF):
    """A GAAF layer whose base activation is given by its class."""

    base_activation: str

    def __init__(self, shape: Any = None, strength: float = 1.0, **kwargs: Any) -> None:
        super().__init__(self.base_activation, shape, strength, **kwargs)

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        del config["activation"]
        return config


@keras.saving.register_keras_serializable("gaaf_keras")
class GAAFTanh(_PaperGAAF):
    """Hyperbolic tangent layer with the paper's accelerated gradient.

    - Forward: `tanh(x)`
    - Backward: `upstream * (1 - tanh(x)^2 + strength * s(x))` with
      `s(x) = exp(-x^2 / 4)`, or the plain tanh gradient when called with
      `training=False`.

    Args:
        shape: The shape function s. Defaults to `gaaf_keras.Gaussian(width=2.0)`.
        strength: Factor on the shape, 0 or greater. Defaults to 1.
        **kwargs: Base layer keyword arguments, such as `name` and `dtype`.

    Call arguments, shapes, dtypes and errors are those of `gaaf_keras.GAAF`.

    Example:
    >>> import keras
    >>> from gaaf_keras import GAAFTanh
    >>> layer = keras.layers.Dense(64, activation=GAAFTanh())

    Reference:
        Hahn and Choi, "Gradient Acceleration in Activation Functions"
        (arXiv 1806.09783), section 3.
    """

    base_activation = "tanh"


@keras.saving.register_keras_serializable("gaaf_keras")
class GAAFReLU(_PaperGAAF):
    """Rectified linear layer with the paper's accelerated gradient.

    - Forward: `max(x, 0)`
    - Backward: `upstream * ([x > 0] + strength * s(x))` with
      `s(x) = sigmoid(5 * (x + 0.5))`, or the plain ReLU gradient when called with
      `training=False`.

    In active units the derivative is nearly 2 instead of 1. Over several layers
    that compounds, so that a deep network usually needs a smaller learning rate
    than with plain ReLU.

    Args:
        shape: The shape function s. Defaults to
            `gaaf_keras.ShiftedSigmoid(slope=5.0, shift=0.5)`.
        strength: Factor on the shape, 0 or greater. Defaults to 1.
        **kwargs: Base layer keyword arguments, such as `name` and `dtype`.

    Call arguments, shapes, dtypes and errors are those of `gaaf_keras.GAAF`.

    Example:
    >>> import keras
    >>> from gaaf_keras import GAAFReLU
    >>> layer = keras.layers.Conv2D(32, 3, activation=GAAFReLU())

    Reference:
        Hahn and Choi, "Gradient Acceleration in Activation Functions"
        (arXiv 1806.09783), section 3.
    """

    base_activation = "relu"
