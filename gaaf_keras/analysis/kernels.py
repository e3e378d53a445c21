"""How a model's weights are distributed: figure 1."""

import collections
from typing import Any

from gaaf_keras.analysis.isolation import to_numpy
from gaaf_keras.analysis.measuring import Distribution
from gaaf_keras.analysis.observation import numbered

_NOT_KERNELS = ("bias", "beta", "gamma", "scale")


def weights(model: Any) -> dict[str, Distribution]:
    """Returns the distribution of the kernels of each layer of a model.

    Kernels are the trainable weights with two dimensions or more that are no biases and
    no scales: those of dense, convolution, recurrent, embedding and attention layers.
    Ask before and after training to see what it changed.

    Args:
        model: A built Keras model.

    Returns:
        The distributions by the path of the weight, such as `"dense_1/kernel"`. Others
        of the same path have the names `"dense_1/kernel (2)"`, ...

    Examples:
        >>> import keras
        >>> from gaaf_keras import analysis
        >>> dense = keras.layers.Dense(32, name="dense")
        >>> model = keras.Sequential([keras.Input((64,)), dense], name="model")
        >>> before = analysis.weights(model)["model/dense/kernel"]
        >>> before.edges[-1] <= (6 / (64 + 32)) ** 0.5  # Glorot uniform
        True

    Reference:
        The paper, figure 1.
    """
    times: collections.Counter[str] = collections.Counter()
    return {
        numbered(variable.path, times): Distribution.of(to_numpy(variable.value))
        for variable in model.trainable_variables
        if len(variable.shape) > 1 and not variable.name.startswith(_NOT_KERNELS)
    }
