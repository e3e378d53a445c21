"""Activations, derivatives and shapes in float64 NumPy, written independently.

None of these formulas is taken from the package: derivatives use other, equivalent
expressions where there are any, so that a common slip shows.
"""

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
