"""Value and gradient of an activation, from the live object: figures 4 and 6."""

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
from keras import ops

from gaaf_keras import activations
from gaaf_keras._core.types import Tensor
from gaaf_keras.analysis.model_activations import ObservedActivation
from gaaf_keras.analysis.stateless import to_numpy


@dataclasses.dataclass(frozen=True)
class Curve:
    """An activation at some pre-activations.

    Attributes:
        pre_activation: The pre-activations.
        value: phi at each, as the activation computes it.
        derivative: The derivative of the plain activation.
        derivative_in_training: The derivative that the backward pass uses.
    """

    pre_activation: np.ndarray
    value: np.ndarray
    derivative: np.ndarray
    derivative_in_training: np.ndarray

    @property
    def added(self) -> np.ndarray:
        """The term added to the derivative: the shape function times its strength."""
        return self.derivative_in_training - self.derivative


def curve(
    activation: str | Callable[[Tensor], Tensor],
    pre_activation: np.ndarray | Sequence[float] | None = None,
) -> Curve:
    """Returns the value and gradient of an activation, as it computes them: figure 6.

    Args:
        activation: The name of an activation (also `"gaaf_tanh"` and the like), a
            function, an activation layer, or a `GAAF` layer.
        pre_activation: Pre-activations. Defaults to 401 from -8 to 8.

    Returns:
        The curves, in float32.

    Raises:
        ValueError: If there is no such activation.

    Examples:
        >>> from gaaf_keras import GAAFTanh, Gaussian, analysis
        >>> curve = analysis.curve(GAAFTanh(Gaussian(3.0)), [0.0, 3.0])
        >>> [round(float(s), 4) for s in curve.added]
        [1.0, 0.3679]
    """
    found = ObservedActivation.of(activations.get(activation))
    if pre_activation is None:
        pre_activation = np.linspace(-8, 8, 401)
    points = np.asarray(pre_activation)
    x = ops.convert_to_tensor(points.astype("float32"))
    return Curve(
        points,
        to_numpy(found.applied(x)),
        to_numpy(found.derivative(x)),
        to_numpy(found.derivative_in_training(x)),
    )
