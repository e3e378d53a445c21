"""Keras activations with another gradient and the same value."""

from gaaf_keras import activations, callbacks, convert, derivatives, layers, shapes
from gaaf_keras._version import __version__
from gaaf_keras.activations import gaaf, gaaf_relu, gaaf_tanh
from gaaf_keras.calibration import calibrate
from gaaf_keras.callbacks import AccelerationSchedule
from gaaf_keras.convert import accelerate, restore
from gaaf_keras.exporting import export
from gaaf_keras.layers import GAAF, GAAFReLU, GAAFTanh
from gaaf_keras.sawtooth import gradient_acceleration
from gaaf_keras.shapes import Gaussian, ShiftedSigmoid, recommended

__all__ = [
    "GAAF",
    "AccelerationSchedule",
    "GAAFReLU",
    "GAAFTanh",
    "Gaussian",
    "ShiftedSigmoid",
    "__version__",
    "accelerate",
    "activations",
    "calibrate",
    "callbacks",
    "convert",
    "derivatives",
    "export",
    "gaaf",
    "gaaf_relu",
    "gaaf_tanh",
    "gradient_acceleration",
    "layers",
    "recommended",
    "restore",
    "shapes",
]
