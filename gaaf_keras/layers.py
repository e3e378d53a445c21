"""Keras layers that apply an activation with an accelerated gradient in training."""

import types
from typing import Any

import keras

from gaaf_keras._accelerated.activation import AcceleratedActivation
from gaaf_keras._accelerated.layer import IN_PLACE, AcceleratedLayer
from gaaf_keras._core.kinds import is_activation_operation
from gaaf_keras._core.sawtooth import require_floating_point
from gaaf_keras._core.types import Activation, Config, Tensor
from gaaf_keras.activations import FUNCTION_FORMS, gaaf
from gaaf_keras.shapes import ShapeLike

__all__ = ["GAAF", "GAAFReLU", "GAAFTanh", "accelerated_layers", "is_activation"]


@keras.saving.register_keras_serializable("gaaf_keras")
class GAAF(AcceleratedLayer):
    """An activation layer with an accelerated gradient.

    - Forward: `phi(x)`, exactly the plain activation.
    - Backward: `upstream * (phi'(x) + strength * s(x))`, unless the layer is called
      with `training=False`; then it *is* the plain activation, with its own
      gradient and nothing else in the graph.

    So `fit`, and calls without a `training` argument, accelerate; `predict`,
    `evaluate` and calls with `training=False` do not. (As the activation of an `LSTM`,
    `GRU` or `SimpleRNN` it follows that layer, which runs its parts with
    `training=False` when called without `training`.)

    The layer computes in the dtype of its input, so as the `activation=` of another
    layer it keeps that layer's precision. If you give it a `dtype`, it casts its input
    to that, like any Keras layer. It passes masks on, unless `activation` is a Keras
    operation that is not a layer.

    Args:
        activation: The plain activation phi, which may be a layer with weights.
        shape_function: s. Defaults to `gaaf_keras.shapes.default_for(activation)`.
        strength: Factor on the shape, 0 or greater. Defaults to 1. To change it during
            training use `gaaf_keras.AccelerationSchedule`.
        frequency: None for the exact limit, or teeth per unit of the paper's sawtooth.
        unit_gain: Whether to scale the derivative so that no unit passes more gradient
            than the plain activation could. Defaults to False.
        **kwargs: Base layer keyword arguments, such as `name` and `dtype`.

    See `gaaf_keras.gaaf` for details of the first five, and the errors they raise.

    Call arguments:
        inputs: Floating-point tensor of any shape: the pre-activation.
        training: Whether the layer runs in training mode. Only `False` turns the
            acceleration off.

    Examples:
        >>> import keras
        >>> from gaaf_keras import GAAF, Gaussian
        >>> model = keras.Sequential([
        ...     keras.Input((784,)),
        ...     keras.layers.Dense(512),
        ...     GAAF("tanh", shape_function=Gaussian(width=3.0)),
        ...     keras.layers.Dense(10),
        ... ])
        >>> model.output_shape
        (None, 10)
    """

    def __init__(
        self,
        activation: Activation,
        shape_function: ShapeLike | None = None,
        strength: float = 1.0,
        *,
        frequency: float | None = None,
        unit_gain: bool = False,
        **kwargs: Any,
    ) -> None:
        accelerated = AcceleratedActivation(
            activation,
            shape_function,
            strength,
            frequency=frequency,
            unit_gain=unit_gain,
        )
        super().__init__(accelerated, **kwargs)
        self._base = accelerated.activation  # tracked if it is a layer
        self.built = not isinstance(self._base, keras.layers.Layer)

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        if isinstance(self._base, keras.layers.Layer) and not self._base.built:
            self._base.build(input_shape)

    def compute_mask(self, inputs: Tensor, previous_mask: Tensor) -> Tensor:
        # An operation that is not a layer passes no mask on; neither does this one.
        is_layer = isinstance(self._base, keras.layers.Layer)
        operation = isinstance(self._base, keras.Operation) and not is_layer
        return None if operation else previous_mask

    def compute_output_shape(
        self, input_shape: tuple[int | None, ...]
    ) -> tuple[int | None, ...]:
        return input_shape

    def compute_output_spec(
        self, inputs: Tensor, training: bool | None = None
    ) -> keras.KerasTensor:
        require_floating_point(inputs)
        dtype = self.compute_dtype if self.autocast else inputs.dtype
        return keras.KerasTensor(inputs.shape, dtype=dtype)

    def get_config(self) -> Config:
        return {
            **self._accelerated.get_config(),
            "autocast": self.autocast,
            **super().get_config(),
        }


class _PaperGAAF(GAAF):
    """A GAAF layer whose class sets the plain activation."""

    base_activation: str

    def __init__(
        self,
        shape_function: ShapeLike | None = None,
        strength: float = 1.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(self.base_activation, shape_function, strength, **kwargs)

    def get_config(self) -> Config:
        config = super().get_config()
        del config["activation"]
        return config


@keras.saving.register_keras_serializable("gaaf_keras")
class GAAFTanh(_PaperGAAF):
    """The layer `GAAF("tanh")`: tanh with the paper's accelerated gradient.

    - Forward: `tanh(x)`
    - Backward: `upstream * (1 - tanh(x)^2 + strength * s(x))` with
      `s(x) = exp(-x^2 / 4)`, or the plain tanh gradient when called with
      `training=False`.

    Args:
        shape_function: s. Defaults to `gaaf_keras.Gaussian(width=2.0)`.
        strength: Factor on the shape, 0 or greater. Defaults to 1.
        **kwargs: `frequency`, `unit_gain` and the base layer keyword arguments, such
            as `name` and `dtype`.

    Examples:
        >>> import keras
        >>> from gaaf_keras import GAAFTanh
        >>> layer = keras.layers.Dense(64, activation=GAAFTanh())
    """

    base_activation = "tanh"


@keras.saving.register_keras_serializable("gaaf_keras")
class GAAFReLU(_PaperGAAF):
    """The layer `GAAF("relu")`: ReLU with the paper's accelerated gradient.

    - Forward: `max(x, 0)`
    - Backward: `upstream * ([x > 0] + strength * s(x))` with
      `s(x) = sigmoid(5 * (x + 0.5))`, or the plain ReLU gradient when called with
      `training=False`.

    In active units the derivative is nearly 2 instead of 1. This compounds over the
    layers, so a deep network usually needs a smaller learning rate than with plain
    ReLU.

    Args:
        shape_function: s. Defaults to
            `gaaf_keras.ShiftedSigmoid(slope=5.0, shift=0.5)`.
        strength: Factor on the shape, 0 or greater. Defaults to 1.
        **kwargs: `frequency`, `unit_gain` and the base layer keyword arguments, such
            as `name` and `dtype`.

    Examples:
        >>> import keras
        >>> from gaaf_keras import GAAFReLU
        >>> layer = keras.layers.Conv2D(32, 3, activation=GAAFReLU())
    """

    base_activation = "relu"


def is_activation(operation: keras.Operation) -> bool:
    """Whether a layer or operation applies an activation, accelerated or plain."""
    return isinstance(
        operation, (AcceleratedLayer, AcceleratedActivation)
    ) or is_activation_operation(operation)


def accelerated_layers(model: keras.layers.Layer) -> list[AcceleratedLayer]:
    """Returns the layers that accelerate activations in a model or layer, at any depth.

    These are the `GAAF` layers and, for activations accelerated in place, objects with
    the same attributes `name`, `activation`, `shape_function` and `strength`. Each is
    listed once, in the order in which Keras lists the layers.
    """
    found: dict[int, AcceleratedLayer] = {}
    for layer in model._flatten_layers():
        own = [layer] if isinstance(layer, AcceleratedLayer) else []
        found.update(
            (id(each), each) for each in (*own, *vars(layer).get(IN_PLACE, ()))
        )
    return list(found.values())


def accelerated_by(
    function: object,
) -> AcceleratedLayer | AcceleratedActivation | None:
    """Returns what accelerates a function that is not a layer; None if it is plain."""
    if isinstance(function, AcceleratedActivation):
        return function
    if isinstance(function, types.FunctionType) and function in FUNCTION_FORMS:
        return gaaf(FUNCTION_FORMS[function])
    if isinstance(function, keras.layers.Layer):
        return None
    return getattr(function, "__dict__", {}).get(IN_PLACE)
