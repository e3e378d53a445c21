"""Shapes that give a wanted total derivative, and the published ones among them."""

import dataclasses
from typing import Any

import keras
from keras import ops

from gaaf_keras._core.checks import finite_number, non_negative_number
from gaaf_keras._core.derivatives import derivative_of, known_activations
from gaaf_keras._core.kinds import function_of
from gaaf_keras.shapes.base import Constant, Shape, require_shape

# Beyond this pre-activation the derivatives below have reached their limits, in every
# dtype; clipping there keeps infinity times zero out of the formulas.
_FAR = 1e4


@keras.saving.register_keras_serializable("gaaf_keras")
@dataclasses.dataclass(frozen=True)
class FromDerivative(Shape):
    """The shape that makes the total derivative what you want.

    `s(x) = derivative(x) - phi'(x)`, so that with `strength=1` the activation's
    derivative in the backward pass is `derivative(x)`; with another strength it lies
    between phi' and that.

    Args:
        derivative: The wanted total derivative: a callable of one tensor. To be saved
            with a model it must be a shape or a registered function.
        activation: The base activation phi. By default it is the one that the shape
            is given to; before that, the shape has no values.

    Raises:
        TypeError: If `derivative` is not callable, or is or contains a
            `FromDerivative`.
        ValueError: If phi has no known derivative, or the shape is given to another
            activation than its own.

    Examples:
        >>> from gaaf_keras import GAAFReLU
        >>> from gaaf_keras.shapes import Constant, FromDerivative
        >>> straight_through = GAAFReLU(shape_function=FromDerivative(Constant(1.0)))
    """

    derivative: Any
    activation: Any = dataclasses.field(default=None, hash=False)  # may be a mapping

    def __post_init__(self) -> None:
        require_shape("derivative", self.derivative)
        if _is_from_derivative(self.derivative):
            raise TypeError(
                "Argument `derivative` must be a total derivative, and not a shape "
                f"made from one. Received: derivative={self.derivative!r}"
            )
        if self.activation is None:
            return
        if derivative_of(self.activation) is None:
            raise ValueError(
                "A shape made from a total derivative needs a base activation whose "
                f"own derivative is known: {', '.join(known_activations())}. "
                f"Received: activation={self.activation!r}"
            )
        self._set(activation=keras.activations.serialize(function_of(self.activation)))

    def bound_to(self, activation: Any) -> "FromDerivative":
        bound = dataclasses.replace(self, activation=activation)
        if self.activation not in (None, bound.activation):
            raise ValueError(
                f"This shape was made for activation {self.activation!r}. "
                f"Received: activation={bound.activation!r}"
            )
        return bound

    def __call__(self, x: Any) -> Any:
        plain = None if self.activation is None else derivative_of(self.activation)
        if plain is None:
            raise ValueError(
                "A shape made from a total derivative depends on the activation. Give "
                f"it to one, or make it with activation=... Received: {self!r}"
            )
        return self.derivative(x) - plain(x)


def _is_from_derivative(shape: Any) -> bool:
    """Whether a shape is a `FromDerivative`, or made of one."""
    if isinstance(shape, FromDerivative) or not isinstance(shape, Shape):
        return isinstance(shape, FromDerivative)
    parts = (getattr(shape, field.name) for field in dataclasses.fields(shape))
    return any(_is_from_derivative(part) for part in parts)


@keras.saving.register_keras_serializable("gaaf_keras")
@dataclasses.dataclass(frozen=True)
class BSiLUDerivative(Shape):
    """`sigmoid(x) + (x + alpha) * sigmoid(x) * (1 - sigmoid(x))`: see `b_silu`."""

    alpha: float = 1.67

    def __post_init__(self) -> None:
        self._set(alpha=finite_number("alpha", self.alpha))

    def __call__(self, x: Any) -> Any:
        x = ops.clip(x, -_FAR, _FAR)
        gate = ops.sigmoid(x)
        return gate + (x + self.alpha) * (gate * (1.0 - gate))


@keras.saving.register_keras_serializable("gaaf_keras")
@dataclasses.dataclass(frozen=True)
class NeLUDerivative(Shape):
    """`1` for x > 0, else `2 * alpha * x / (1 + x^2)^2`: see `nelu`."""

    alpha: float = 0.1

    def __post_init__(self) -> None:
        self._set(alpha=non_negative_number("alpha", self.alpha))

    def __call__(self, x: Any) -> Any:
        x = ops.clip(x, -_FAR, _FAR)
        below = (2.0 * self.alpha) * x / ops.square(1.0 + ops.square(x))
        return ops.where(x > 0, ops.ones_like(x), below)


def b_silu(alpha: float = 1.67) -> Shape:
    """The derivative of B-SiLU, for ReLU: the surrogate SUGAR recommends.

    Total derivative: `sigmoid(x) + (x + alpha) * sigmoid(x) * (1 - sigmoid(x))`

    Args:
        alpha: Offset of the surrogate. Defaults to 1.67, as published.

    Returns:
        A shape for any activation with a known derivative.

    Reference:
        Horuz et al., "The Resurrection of the ReLU" (arXiv 2505.22074), B-SiLU.
    """
    return FromDerivative(BSiLUDerivative(alpha))


def nelu(alpha: float = 0.1) -> Shape:
    """The derivative of NeLU, for ReLU: the other surrogate of SUGAR.

    Total derivative: `1` for x > 0, else `2 * alpha * x / (1 + x^2)^2`

    Args:
        alpha: Size of the negative derivative below zero, 0 or greater. Defaults to
            0.1.

    Returns:
        A shape for any activation with a known derivative.

    Reference:
        Horuz et al., "The Resurrection of the ReLU" (arXiv 2505.22074), NeLU.
    """
    return FromDerivative(NeLUDerivative(alpha))


def helu(alpha: float = 0.5) -> Shape:
    """ReLU's derivative with its step moved down: hysteresis, HeLU.

    Total derivative: `1` for x > -alpha, else `0`

    Args:
        alpha: How far below zero the step lies, 0 or greater. Defaults to 0.5.

    Returns:
        A shape for any activation with a known derivative.

    Reference:
        "Hysteresis Activation Function for Efficient Inference" (arXiv 2411.10573).
    """
    step = Constant(1.0).one_sided("positive", at=-non_negative_number("alpha", alpha))
    return FromDerivative(step)


def leaky(slope: float = 0.3) -> Shape:
    """A leaky ReLU's derivative behind another activation, as in ProxyGrad.

    Total derivative: `1` for x > 0, else `slope`

    Args:
        slope: Derivative at and below zero, 0 or greater. Defaults to 0.3.

    Returns:
        A shape for any activation with a known derivative.

    Reference:
        "ProxyGrad" (arXiv 2410.16958).
    """
    above = Constant(1.0).one_sided("positive")
    return FromDerivative(above + Constant(slope).one_sided("negative"))


def straight_through() -> Shape:
    """A derivative of 1 everywhere, as of no activation at all.

    Returns:
        A shape for any activation with a known derivative.

    Reference:
        The straight-through estimator of "Estimating or Propagating Gradients Through
        Stochastic Neurons for Conditional Computation" (arXiv 1308.3432); "LinBP"
        (arXiv 2112.11018) uses it in chosen layers.
    """
    return FromDerivative(Constant(1.0))
