"""Activations for Keras with their gradient accelerated and their value kept."""

from gaaf_keras import activations, layers, shapes
from gaaf_keras.activations import gaaf, gaaf_relu, gaaf_tanh
from gaaf_keras.exporting import export
from gaaf_keras.layers import GAAF, GAAFReLU, GAAFTanh
from gaaf_keras.shapes import Gaussian, ShiftedSigmoid

__version__ = "0.1.0"

__all__ = [
    "GAAF",
    "GAAFReLU",
    "GAAFTanh",
    "Gaussian",
    "ShiftedSigmoid",
    "activations",
    "export",
    "gaaf",
    "gaaf_relu",
    "gaaf_tanh",
    "layers",
    "shapes",
]
