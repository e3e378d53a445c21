"""Shapes that did better than the plain activation in our trainings."""

from typing import Any

import keras

from gaaf_keras.kinds import function_of
from gaaf_keras.shapes.base import Shape
from gaaf_keras.shapes.paper import Gaussian

_RECOMMENDED: dict[Any, Shape] = {
    keras.activations.tanh: 0.3 * Gaussian(2.0),
}


def recommended(activation: Any) -> Shape:
    """Returns the shape that is recommended for an activation.

    Args:
        activation: Name of a Keras activation, the Keras function, or an activation
            layer such as `keras.layers.ReLU()`.

    Raises:
        ValueError: If no shape is recommended for the activation.
    """
    function = function_of(activation)
    for known, shape in _RECOMMENDED.items():
        if function is known:
            return shape
    names = " and ".join(known.__name__ for known in _RECOMMENDED)
    raise ValueError(
        f"A shape is recommended only for {names}, with which trainings were made. "
        "Leave `shape` out for the default shape, or give another. "
        f"Received: activation={activation!r}"
    )
