"""Recognises Keras activations by their values.

`tf.nn.relu`, `torch.relu`, a `functools.partial` or a lambda are not Keras objects, but
may be the same function.
"""

import functools

import keras
import numpy as np
from keras import ops

from gaaf_keras._core.kinds import known_as, name_of
from gaaf_keras._core.known_activations import ACTIVATIONS, NOT_ELEMENTWISE, Known
from gaaf_keras._core.types import Activation, Function

_POINTS = np.concatenate(
    [np.linspace(-8.13, 7.77, 240), np.geomspace(9, 2e4, 9), -np.geomspace(9, 2e4, 9)]
).astype("float32")


def recognised(function: Function) -> Activation | None:
    """Returns the Keras activation with the values of a function, else the function.

    None if the function is not elementwise, or cannot be tried.
    """
    if isinstance(function, keras.Operation) or name_of(function) in NOT_ELEMENTWISE:
        return function
    if known_as(function) is not None:
        return function
    values = _values(function)
    if values is None:
        return None
    for known in ACTIVATIONS:
        for activation in _forms(known):
            if _same(_known_values(activation), values):
                return activation
    return _with_parameters(values) or function


def _forms(known: Known) -> list[Function]:
    """Returns the functions of an activation with a default shape."""
    if known.function is None or known.default_shape is None:
        return []
    differs = known.operation_parameters is not None
    return [known.function, *([getattr(keras.ops, known.name)] if differs else [])]


def _with_parameters(values: np.ndarray) -> keras.layers.Layer | None:
    """Returns the rectifier, with its parameters, that has some values; else None."""
    largest = float(values.max())
    slope = round(float(np.interp(-1.0, _POINTS[:240], -values[:240])), 6)
    if _same(np.clip(_POINTS, 0, largest), values):
        return keras.layers.ReLU(max_value=largest, name="relu")
    if 0 < slope < 1 and _same(np.maximum(_POINTS, slope * _POINTS), values):
        return keras.layers.LeakyReLU(negative_slope=slope, name="leaky_relu")
    return None


@functools.cache
def _known_values(activation: Function) -> np.ndarray:
    values = _values(activation)
    assert values is not None
    return values


def _values(function: Function) -> np.ndarray | None:
    """Returns the values of an elementwise function; None if it is not elementwise."""
    try:
        with keras.StatelessScope():  # keeps random states as they are
            values, reversed_values, some = (
                ops.convert_to_numpy(function(ops.convert_to_tensor(points)))
                for points in (_POINTS, _POINTS[::-1].copy(), _POINTS[:7])
            )
    except Exception:
        return None
    is_elementwise = (
        values.shape == _POINTS.shape
        and np.issubdtype(values.dtype, np.floating)
        and _same(values[::-1], reversed_values)
        and _same(values[:7], some)
    )
    return values if is_elementwise else None


def _same(expected: np.ndarray, values: np.ndarray) -> bool:
    return expected.shape == values.shape and np.allclose(
        expected, values, rtol=1e-5, atol=5e-6
    )
