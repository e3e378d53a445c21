"""The shape that gives the derivative which dropout gives on average.

Dropout of rate p before a layer with weights w and activities a adds to its
pre-activation a noise of variance `p / (1 - p) * sum_i (w_i a_i)^2`. Under noise of
standard deviation sigma that is close to Gaussian, the derivative that a pre-activation
x meets on average is `E[phi'(x + sigma e)]` with e standard normal. What this exceeds
phi'(x) by is the shape.

For ReLU the expectation is `Phi(x / sigma)`, Phi being the normal distribution
function. For tanh, phi' is written as a sum of Gaussians,
`1 - tanh(x)^2 = sum_i a_i exp(-x^2 / (2 v_i))` to 7e-7; noise turns each into
`a_i sqrt(v_i / (v_i + sigma^2)) exp(-x^2 / (2 (v_i + sigma^2)))`, which cannot increase
the error. The sigmoid is a tanh of half the height and twice the width.
"""

import dataclasses
from typing import Any

import keras
import numpy as np
from keras import ops

from gaaf_keras._core.checks import positive_number
from gaaf_keras._core.derivatives import derivative_of
from gaaf_keras._core.kinds import function_of, name_of
from gaaf_keras.shapes.base import Shape

# Minimax fit of 1 - tanh(x)^2; tests/core/test_dropout_matched.py holds it to 7e-7.
_VARIANCES = np.array(
    [
        0.15955668840790033,
        0.2845418689150292,
        0.5030977463731002,
        0.9031475375580067,
        1.6481217890757252,
        3.0900631017806175,
    ]
)
_WEIGHTS = np.array(
    [
        0.02410093937734937,
        0.2000848752975271,
        0.3850174938109991,
        0.2906446057977323,
        0.09244950698641029,
        0.007701953987487337,
    ]
)


def _expected_tanh(x: Any, noise_std: float) -> Any:
    variances = _VARIANCES + noise_std**2
    heights = _WEIGHTS * np.sqrt(_VARIANCES / variances)
    square = ops.square(x)
    terms = [
        float(height) * ops.exp(float(-0.5 / variance) * square)
        for height, variance in zip(heights, variances, strict=True)
    ]
    return sum(terms[1:], terms[0])


def _expected_sigmoid(x: Any, noise_std: float) -> Any:
    return 0.25 * _expected_tanh(0.5 * x, 0.5 * noise_std)


def _expected_relu(x: Any, noise_std: float) -> Any:
    return 0.5 * (1.0 + ops.erf(x * float(np.sqrt(0.5)) / noise_std))


_EXPECTED = {
    "tanh": _expected_tanh,
    "sigmoid": _expected_sigmoid,
    "relu": _expected_relu,
}


MATCHED_ACTIVATIONS = tuple(_EXPECTED)


@keras.saving.register_keras_serializable("gaaf_keras")
@dataclasses.dataclass(frozen=True)
class DropoutMatched(Shape):
    """The shape whose total derivative is the one that dropout gives on average.

    `s(x) = E[phi'(x + noise_std * e)] - phi'(x)`, e standard normal

    The expectation is closed: exact for ReLU, and to 7e-7 for tanh and 2e-7 for the
    sigmoid. The shape is negative where noise lowers the derivative (at 0 for tanh,
    just above 0 for ReLU). The noise of a real, finite layer is not quite Gaussian;
    docs/shapes.md reports how much that changes.

    Args:
        activation: `"tanh"`, `"relu"` or `"sigmoid"`: the only activation to which
            the shape can be given.
        noise_std: Standard deviation of the pre-activation under dropout, in units of
            pre-activation. Greater than 0. `gaaf_keras.match_dropout` measures it.

    Raises:
        TypeError: If `noise_std` is not a number.
        ValueError: If `noise_std` is not finite and greater than 0, or the activation
            is another.

    Examples:
        >>> from gaaf_keras import GAAFTanh
        >>> from gaaf_keras.shapes import DropoutMatched
        >>> layer = GAAFTanh(shape_function=DropoutMatched("tanh", noise_std=0.8))

    Reference:
        The paper, section 3, asks for a shape that follows the dropout rate and gives
        no formula; this derivation is ours.
    """

    activation: str
    noise_std: float

    def __post_init__(self) -> None:
        if not isinstance(self.activation, str) or self.activation not in _EXPECTED:
            raise ValueError(
                f"Argument `activation` must be one of {', '.join(_EXPECTED)}. "
                f"Received: activation={self.activation!r}"
            )
        self._set(noise_std=positive_number("noise_std", self.noise_std))

    def bound_to(self, activation: Any) -> "DropoutMatched":
        if function_of(activation) is not function_of(self.activation):
            name = name_of(activation)
            raise ValueError(
                f"This shape is matched to activation {self.activation!r} and fits no "
                f"other. Received: activation={name!r}"
            )
        return self

    def __call__(self, x: Any) -> Any:
        plain = derivative_of(self.activation)
        assert plain is not None
        return _EXPECTED[self.activation](x, self.noise_std) - plain(x)
