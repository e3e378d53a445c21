"""Shapes that give a chosen total derivative, including the published surrogates."""

import dataclasses

import keras
from keras import ops

from gaaf_keras._core.checks import finite_number, non_negative_number
from gaaf_keras._core.kinds import derivative_of, function_of
from gaaf_keras._core.known_activations import known_activations
from gaaf_keras._core.types import Activation, Config, Function, Tensor
from gaaf_keras.shapes.base import (
    Constant,
    Shape,
    require_shape,
    shape_function,
)

# Beyond this pre-activation the surrogates' derivatives have reached their limits in
# every dtype; clipping there keeps infinity times zero out of the formulas.
_FAR = 1e4


@shape_function("from_derivative", example="from_derivative(gaussian)", on="tanh")
class FromDerivative(Shape):
    """The shape that makes the total derivative a function of your choice.

    `s(x) = derivative(x) - phi'(x)`, so that with `strength=1` the activation's
    derivative in the backward pass is `derivative(x)`; with a smaller strength it lies
    between the two.

    Args:
        derivative: The total derivative: a callable of one tensor. To be saved with a
            model it must be a shape or a registered function.
        activation: The plain activation phi. By default, the activation that the shape
            is given to; until then, the shape cannot be evaluated.

    Raises:
        TypeError: If `derivative` is not callable, or is or contains a
            `FromDerivative`.
        ValueError: If phi has no known derivative, or the shape is given to an
            activation other than its own.

    Examples:
        >>> from gaaf_keras import GAAFReLU
        >>> from gaaf_keras.shapes import Constant, FromDerivative
        >>> straight_through = GAAFReLU(shape_function=FromDerivative(Constant(1.0)))
    """

    derivative: Function
    # Kept as a configuration, which may be a mapping.
    activation: Activation | Config | None = dataclasses.field(default=None, hash=False)

    def __post_init__(self) -> None:
        require_shape("derivative", self.derivative)
        if _is_from_derivative(self.derivative):
            raise TypeError(
                "Argument `derivative` must be a total derivative, not a shape made "
                f"from one. Received: derivative={self.derivative!r}"
            )
        if self.activation is None:
            return
        if derivative_of(self.activation) is None:
            raise ValueError(
                "A shape made from a total derivative needs a plain activation whose "
                f"derivative is known: {', '.join(known_activations())}. "
                f"Received: activation={self.activation!r}"
            )
        self._set(activation=keras.activations.serialize(function_of(self.activation)))

    def bound_to(self, activation: Activation) -> "FromDerivative":
        bound = dataclasses.replace(self, activation=activation)
        if self.activation not in (None, bound.activation):
            raise ValueError(
                f"This shape was made for activation {self.activation!r}. "
                f"Received: activation={bound.activation!r}"
            )
        return bound

    def __call__(self, x: Tensor) -> Tensor:
        plain = None if self.activation is None else derivative_of(self.activation)
        if plain is None:
            raise ValueError(
                "A shape made from a total derivative depends on the activation. Give "
                "the shape to an activation, or make it with activation=... "
                f"Received: {self!r}"
            )
        return self.derivative(x) - plain(x)


def _is_from_derivative(shape: object) -> bool:
    """Whether a shape is or contains a `FromDerivative`."""
    if isinstance(shape, FromDerivative) or not isinstance(shape, Shape):
        return isinstance(shape, FromDerivative)
    parts = (getattr(shape, field.name) for field in dataclasses.fields(shape))
    return any(_is_from_derivative(part) for part in parts)


@shape_function("b_silu_derivative")
class BSiLUDerivative(Shape):
    """The total derivative of `b_silu`.

    `s(x) = sigmoid(x) + (x + alpha) * sigmoid(x) * (1 - sigmoid(x))`
    """

    alpha: float = 1.67

    def __post_init__(self) -> None:
        self._set(alpha=finite_number("alpha", self.alpha))

    def __call__(self, x: Tensor) -> Tensor:
        x = ops.clip(x, -_FAR, _FAR)
        gate = ops.sigmoid(x)
        return gate + (x + self.alpha) * (gate * (1.0 - gate))


@shape_function("nelu_derivative")
class NeLUDerivative(Shape):
    """The total derivative of `nelu`.

    `s(x) = 1` for x > 0, else `2 * alpha * x / (1 + x^2)^2`
    """

    alpha: float = 0.1

    def __post_init__(self) -> None:
        self._set(alpha=non_negative_number("alpha", self.alpha))

    def __call__(self, x: Tensor) -> Tensor:
        x = ops.clip(x, -_FAR, _FAR)
        below = (2.0 * self.alpha) * x / ops.square(1.0 + ops.square(x))
        return ops.where(x > 0, ops.ones_like(x), below)


@shape_function("b_silu", example="b_silu(alpha=1.67)")
def b_silu(alpha: float = 1.67) -> Shape:
    """The derivative of B-SiLU, for ReLU: the surrogate that SUGAR recommends.

    Total derivative: `sigmoid(x) + (x + alpha) * sigmoid(x) * (1 - sigmoid(x))`

    Args:
        alpha: Offset of the surrogate. Defaults to 1.67, as published.

    Reference:
        Horuz et al., "The Resurrection of the ReLU" (arXiv 2505.22074), B-SiLU.
    """
    return FromDerivative(BSiLUDerivative(alpha))


@shape_function("nelu", example="nelu(alpha=0.1)")
def nelu(alpha: float = 0.1) -> Shape:
    """The derivative of NeLU, for ReLU: the other surrogate of SUGAR.

    Total derivative: `1` for x > 0, else `2 * alpha * x / (1 + x^2)^2`

    Args:
        alpha: Size of the negative derivative below zero, 0 or greater. Defaults to
            0.1.

    Reference:
        Horuz et al., "The Resurrection of the ReLU" (arXiv 2505.22074), NeLU.
    """
    return FromDerivative(NeLUDerivative(alpha))


@shape_function("helu", example="helu(alpha=0.5)")
def helu(alpha: float = 0.5) -> Shape:
    """ReLU's derivative with its step moved down: hysteresis, HeLU.

    Total derivative: `1` for x > -alpha, else `0`

    Args:
        alpha: How far below zero the step lies, 0 or greater. Defaults to 0.5.

    Reference:
        "Hysteresis Activation Function for Efficient Inference" (arXiv 2411.10573).
    """
    step = Constant(1.0).one_sided("positive", at=-non_negative_number("alpha", alpha))
    return FromDerivative(step)


@shape_function("leaky", example="leaky(slope=0.3)")
def leaky(slope: float = 0.3) -> Shape:
    """The derivative of leaky ReLU for another activation, as in ProxyGrad.

    Total derivative: `1` for x > 0, else `slope`

    Args:
        slope: Derivative at and below zero, 0 or greater. Defaults to 0.3.

    Reference:
        "ProxyGrad" (arXiv 2410.16958).
    """
    above = Constant(1.0).one_sided("positive")
    return FromDerivative(above + Constant(slope).one_sided("negative"))


@shape_function("straight_through", example="straight_through")
def straight_through() -> Shape:
    """A derivative of 1 everywhere, as if there were no activation.

    Total derivative: `1`

    Reference:
        The straight-through estimator of "Estimating or Propagating Gradients Through
        Stochastic Neurons for Conditional Computation" (arXiv 1308.3432); "LinBP"
        (arXiv 2112.11018) uses it in chosen layers.
    """
    return FromDerivative(Constant(1.0))
