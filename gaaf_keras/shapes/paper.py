"""The paper's two shape functions."""

import dataclasses
from typing import Any

import keras
from keras import ops

from gaaf_keras._core.checks import finite_number, positive_number
from gaaf_keras._core.compiling import is_compiling
from gaaf_keras.shapes.base import Shape


@keras.saving.register_keras_serializable("gaaf_keras")
@dataclasses.dataclass(frozen=True)
class Gaussian(Shape):
    """A bell around zero, the paper's shape function for tanh.

    `s(x) = exp(-(x / width)^2)`

    With the default width the accelerated tanh has a derivative of 2 at zero and
    still passes gradient at |x| = 3, where tanh alone has almost none left.

    Args:
        width: Pre-activation at which the shape has fallen to 1/e. Greater than 0.
            Defaults to 2, which is the paper's `exp(-x^2 / 4)`.

    Call arguments:
        x: Tensor of any shape and floating-point dtype, of any backend.

    Output shape:
        Same as `x`, in its dtype. Values from 0 to 1.

    Raises:
        TypeError: If `width` is not a number.
        ValueError: If `width` is not finite or not greater than 0.

    Examples:
        >>> from gaaf_keras import Gaussian
        >>> shape = Gaussian(width=2.0)
        >>> [round(float(shape(x)), 4) for x in (0.0, 2.0, 4.0)]
        [1.0, 0.3679, 0.0183]

    Reference:
        Hahn and Choi, "Gradient Acceleration in Activation Functions"
        (arXiv 1806.09783), the curve plotted for tanh; no formula is printed
        there, this one is fitted to the picture.
    """

    width: float = 2.0

    def __post_init__(self) -> None:
        self._set(width=positive_number("width", self.width))

    def __call__(self, x: Any) -> Any:
        return ops.exp(-ops.square(x / self.width))


@keras.saving.register_keras_serializable("gaaf_keras")
@dataclasses.dataclass(frozen=True)
class ShiftedSigmoid(Shape):
    """A smooth step, the paper's shape function for ReLU.

    `s(x) = sigmoid(slope * (x + shift))`

    With the defaults the accelerated ReLU passes gradient down to about x = -1.5.
    It also has a derivative of nearly 2 in every active unit, which compounds
    over the layers of a deep network and acts there like a larger learning rate.

    Args:
        slope: Steepness of the step, per unit of pre-activation. Greater than 0.
            Defaults to 5.
        shift: How far below zero the step lies, in units of pre-activation: the shape
            is 1/2 at `x = -shift`. Any finite number. Defaults to 0.5.

    Call arguments:
        x: Tensor of any shape and floating-point dtype, of any backend.

    Output shape:
        Same as `x`, in its dtype. Values from 0 to 1.

    Raises:
        TypeError: If an argument is not a number.
        ValueError: If an argument is not finite, or `slope` is not greater
            than 0.

    Examples:
        >>> from gaaf_keras import ShiftedSigmoid
        >>> shape = ShiftedSigmoid(slope=5.0, shift=0.5)
        >>> [round(float(shape(x)), 4) for x in (-1.5, -0.5, 0.0)]
        [0.0067, 0.5, 0.9241]

    Reference:
        Hahn and Choi, "Gradient Acceleration in Activation Functions"
        (arXiv 1806.09783), the "shifted sigmoid" plotted for ReLU; no formula is
        printed there, this one is fitted to the picture.
    """

    slope: float = 5.0
    shift: float = 0.5

    def __post_init__(self) -> None:
        self._set(
            slope=positive_number("slope", self.slope),
            shift=finite_number("shift", self.shift),
        )

    def __call__(self, x: Any) -> Any:
        return _sigmoid(self.slope * (x + self.shift))


def _sigmoid(x: Any) -> Any:
    """sigmoid(x), in single precision the way that XLA computes fastest.

    It takes two thirds of the time, for an absolute error of 3e-8, half a rounding of
    the derivative of an active unit.
    """
    if is_compiling() and keras.backend.standardize_dtype(x.dtype) == "float32":
        return 0.5 + 0.5 * ops.tanh(0.5 * x)
    return ops.sigmoid(x)
