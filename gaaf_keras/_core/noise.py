"""Mean derivatives under Gaussian noise: `E[phi'(x + noise_std * e)]`.

For ReLU this is `Phi(x / noise_std)`, with the normal distribution function Phi. For
tanh, phi' is written as a sum of Gaussians, `1 - tanh(x)^2 = sum_i a_i exp(-x^2 / (2
v_i))` to 7e-7; noise turns each into `a_i sqrt(v_i / (v_i + noise_std^2)) exp(-x^2 /
(2 (v_i + noise_std^2)))`, which cannot increase the error. The sigmoid is a tanh of
half the height and twice the width.
"""

import numpy as np
from keras import ops

from gaaf_keras._core.types import Tensor

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


def tanh(x: Tensor, noise_std: float) -> Tensor:
    """Returns the mean derivative of tanh, to 7e-7."""
    variances = _VARIANCES + noise_std**2
    heights = _WEIGHTS * np.sqrt(_VARIANCES / variances)
    square = ops.square(x)
    terms = [
        float(height) * ops.exp(float(-0.5 / variance) * square)
        for height, variance in zip(heights, variances, strict=True)
    ]
    return sum(terms[1:], terms[0])


def sigmoid(x: Tensor, noise_std: float) -> Tensor:
    """Returns the mean derivative of the sigmoid, to 2e-7."""
    return 0.25 * tanh(0.5 * x, 0.5 * noise_std)


def relu(x: Tensor, noise_std: float) -> Tensor:
    """Returns the mean derivative of ReLU, exactly."""
    return 0.5 * (1.0 + ops.erf(x * float(np.sqrt(0.5)) / noise_std))
