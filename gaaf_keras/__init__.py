"""Keras activations with another gradient and the same value."""

from gaaf_keras import acceleration, activations, callbacks, layers, shapes
from gaaf_keras._core.sawtooth import gradient_acceleration
from gaaf_keras._version import __version__
from gaaf_keras.acceleration import accelerate, restore, summary
from gaaf_keras.activations import gaaf, gaaf_relu, gaaf_tanh
from gaaf_keras.callbacks import AccelerationSchedule
from gaaf_keras.dropout_matching import match_dropout
from gaaf_keras.exporting import export
from gaaf_keras.layers import GAAF, GAAFReLU, GAAFTanh
from gaaf_keras.shapes import Gaussian, ShiftedSigmoid

__all__ = [
    "GAAF",
    "AccelerationSchedule",
    "GAAFReLU",
    "GAAFTanh",
    "Gaussian",
    "ShiftedSigmoid",
    "__version__",
    "accelerate",
    "acceleration",
    "activations",
    "callbacks",
    "export",
    "gaaf",
    "gaaf_relu",
    "gaaf_tanh",
    "gradient_acceleration",
    "layers",
    "match_dropout",
    "restore",
    "shapes",
    "summary",
]
