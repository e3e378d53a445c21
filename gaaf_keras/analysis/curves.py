"""Value and gradient of an activation, from the live object: figures 4 and 6."""

import dataclasses
from typing import Any

import numpy as np
from keras import ops

from gaaf_keras.analysis.model_activations import ObservedActivation, base_of
from gaaf_keras.analysis.stateless import to_numpy


@dataclasses.dataclass(frozen=True)
class Curve:
    """An activation at some pre-activations.

    Attributes:
        pre_activation: The pre-activations.
        value: phi at each, as the activation computes it.
        derivative: The derivative of the base activation.
        derivative_in_training: The derivative that the backward pass uses.
    """

    pre_activation: np.ndarray
    value: np.ndarray
    derivative: np.ndarray
    derivative_in_training: np.ndarray

    @property
    def added(self) -> np.ndarray:
        """What is added to the derivative: the shape function, times its strength."""
        return self.derivative_in_training - self.derivative


def curve(activation: Any, pre_activation: Any = None) -> Curve:
    """Returns value and gradient of an activation, as it computes them.

    Args:
        activation: The name of an activation, among them `"gaaf_tanh"` and its like, a
            function, an activation layer, or a `GAAF` layer.
        pre_activation: Array of pre-activations. Defaults to 401 from -8 to 8.

    Returns:
        The curves, in float32.

    Raises:
        ValueError: If there is no such activation.

    Examples:
        >>> from gaaf_keras import GAAFTanh, Gaussian, analysis
        >>> curve = analysis.curve(GAAFTanh(Gaussian(3.0)), [0.0, 3.0])
        >>> [round(float(s), 4) for s in curve.added]
        [1.0, 0.3679]

    Reference:
        The paper, figure 6.
    """
    from gaaf_keras import activations

    applied = activations.get(activation)
    observed = ObservedActivation(applied, applied, *base_of(applied))
    points = (
        np.linspace(-8, 8, 401)
        if pre_activation is None
        else np.asarray(pre_activation)
    )
    x = ops.convert_to_tensor(points.astype("float32"))
    return Curve(
        points,
        to_numpy(applied(x)),
        to_numpy(observed.derivative(x)),
        to_numpy(observed.derivative_in_training(x)),
    )
