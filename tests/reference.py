"""Activations, derivatives and shapes in float64 NumPy, written independently.

None of these formulas is taken from the package: derivatives use other, equivalent
expressions where they exist, so that a shared mistake shows.
"""

import math

import numpy as np


def tanh_derivative(x):
    decay = np.exp(-2 * np.abs(x))
    return 4 * decay / (1 + decay) ** 2


def relu_derivative(x):
    return np.where(x > 0, 1.0, 0.0)


def gaussian(x, width=2.0):
    return np.exp(-x * x / (width * width))


def shifted_sigmoid(x, slope=5.0, shift=0.5):
    net = slope * x + slope * shift
    decay = np.exp(-np.abs(net))
    return np.where(net >= 0, 1.0, decay) / (1 + decay)


def gaaf_tanh(x, upstream, strength=1.0):
    return upstream * tanh_derivative(x) + upstream * strength * gaussian(x)


def gaaf_relu(x, upstream, strength=1.0):
    return upstream * relu_derivative(x) + upstream * strength * shifted_sigmoid(x)


def _complex_step(function):
    """The derivative of an analytic function, exact to rounding: Im f(x + ih) / h."""

    def derivative(x):
        step = 1e-30
        return np.imag(function(np.asarray(x, "float64") + 1j * step)) / step

    return derivative


def _normal_probability(x):
    return np.vectorize(lambda value: 0.5 * math.erfc(-value / math.sqrt(2)))(x)


mish_derivative = _complex_step(lambda z: z * np.tanh(np.log(1 + np.exp(z))))


_SELU = (1.0507009873554804934193349852946, 1.6732632423543772848170429916717)

DERIVATIVES = {
    "tanh": tanh_derivative,
    "sigmoid": lambda x: tanh_derivative(x / 2) / 4,
    "hard_tanh": lambda x: np.where((x > -1) & (x < 1), 1.0, 0.0),
    "hard_sigmoid": lambda x: np.where((x > -3) & (x < 3), 1 / 6, 0.0),
    "softsign": lambda x: (np.abs(x) + 1.0) ** -2,
    "relu": relu_derivative,
    "relu6": lambda x: np.where((x > 0) & (x < 6), 1.0, 0.0),
    "leaky_relu": lambda x: np.where(x > 0, 1.0, 0.2),
    "elu": lambda x: np.where(x < 0, np.exp(np.minimum(x, 0)), 1.0),
    "selu": lambda x: np.where(
        x < 0, _SELU[0] * _SELU[1] * np.exp(np.minimum(x, 0)), _SELU[0]
    ),
    "softplus": lambda x: shifted_sigmoid(x, 1.0, 0.0),
    "silu": lambda x: _complex_step(lambda z: z / (1 + np.exp(-z)))(
        np.maximum(x, -700)
    ),
    "hard_silu": lambda x: np.where(x >= 3, 1.0, np.where(x > -3, (2 * x + 3) / 6, 0)),
    "gelu": lambda x: (
        _normal_probability(x) + x * np.exp(-x * x / 2) / math.sqrt(2 * math.pi)
    ),
    "linear": lambda x: np.ones_like(x, "float64"),
}

DEFAULT_SHAPES = {
    "tanh": gaussian,
    "sigmoid": lambda x: gaussian(x, 4.0) / 4,
    "hard_tanh": gaussian,
    "hard_sigmoid": lambda x: gaussian(x, 6.0) / 6,
    "softsign": lambda x: gaussian(x, 2.75),
    "relu": shifted_sigmoid,
    "relu6": lambda x: shifted_sigmoid(x) - shifted_sigmoid(x, 5.0, -6.5),
    "leaky_relu": shifted_sigmoid,
    "elu": lambda x: shifted_sigmoid(x, 5.0, 3.2),
    "selu": lambda x: shifted_sigmoid(x, 5.0, 3.7),
    "softplus": lambda x: shifted_sigmoid(x, 5.0, 3.1),
    "silu": lambda x: shifted_sigmoid(x, 5.0, 1.5),
    "hard_silu": lambda x: shifted_sigmoid(x, 5.0, 1.8),
    "gelu": lambda x: shifted_sigmoid(x, 5.0, 1.1),
    "linear": lambda x: np.zeros_like(x, "float64"),
}


def slope(name, strength=1.0):
    """The derivative of an activation with its default shape, as a function of x."""
    return lambda x: DERIVATIVES[name](x) + strength * DEFAULT_SHAPES[name](x)
