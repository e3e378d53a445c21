"""Distributions of values, such as those of a model's weights: figure 1."""

import collections
import dataclasses

import keras
import numpy as np

from gaaf_keras.analysis.model_activations import numbered
from gaaf_keras.analysis.stateless import to_numpy

_NARROWEST = 1e-9  # width of a histogram, relative to its values
_TAILS = 0.0005  # share of the values left out of a histogram at each end
_MOST_VALUES = 200_000  # kept of each layer for its histogram
_NOT_KERNELS = ("bias", "beta", "gamma", "scale")


@dataclasses.dataclass(frozen=True)
class Distribution:
    """The distribution of values, without those that are not finite.

    Attributes:
        mean: Their mean.
        standard_deviation: Their standard deviation.
        edges: Bounds of the histogram's bins, one more than there are bins. All but a
            thousandth of the values lie between them.
        density: Height of each bin: share of the values divided by the bin's width.
    """

    mean: float
    standard_deviation: float
    edges: list[float]
    density: list[float]

    @classmethod
    def of(cls, values: np.ndarray) -> "Distribution":
        """Returns the distribution of an array of any shape, in at most 80 bins."""
        values = np.asarray(values, "float64").ravel()
        values = values[np.isfinite(values)]
        if not values.size:
            return cls(float("nan"), float("nan"), [0.0, 1.0], [0.0])
        low, high = np.quantile(values, [_TAILS, 1 - _TAILS])
        if high - low < _NARROWEST * max(1.0, abs(high)):
            low, high = low - 0.5, high + 0.5
        bins = min(80, 8 + values.size // 100)
        counts, edges = np.histogram(values, bins, (low, high))
        density = counts / values.size / np.diff(edges)
        return cls(
            float(values.mean()), float(values.std()), edges.tolist(), density.tolist()
        )


class Sample:
    """Collects the distribution of more values than can be kept.

    Mean and standard deviation are those of all values, the histogram that of a random
    part. Values that are not finite are left out.

    Args:
        expected: The number of values to come.
    """

    def __init__(self, expected: int) -> None:
        self._share = min(1.0, _MOST_VALUES / expected)
        self._random = np.random.default_rng(0)
        self._kept: list[np.ndarray] = []
        self._sums = np.zeros(3)  # of ones, values and squares

    def add(self, values: np.ndarray) -> None:
        """Adds values."""
        values = values[np.isfinite(values)].astype("float64")
        self._sums += values.size, values.sum(), np.square(values).sum()
        if self._share < 1:
            values = self._random.choice(values, round(self._share * values.size))
        self._kept.append(values)

    def distribution(self) -> Distribution:
        """Returns the distribution of all values added."""
        found = Distribution.of(np.concatenate(self._kept))
        if not self._sums[0]:
            return found
        mean, square = (self._sums[1:] / self._sums[0]).tolist()
        deviation = max(square - mean**2, 0.0) ** 0.5
        return dataclasses.replace(found, mean=mean, standard_deviation=deviation)


def weights(model: keras.Model) -> dict[str, Distribution]:
    """Returns the distribution of the kernels of each layer of a model: figure 1.

    Kernels are the trainable weights with two dimensions or more that are neither
    biases nor scales: those of dense, convolution, recurrent, embedding and attention
    layers.
    Call it before and after training to see what training changed.

    Args:
        model: A built Keras model.

    Returns:
        The distributions by the path of the weight, such as `"dense_1/kernel"`. Further
        weights with the same path are called `"dense_1/kernel (2)"`, ...

    Examples:
        >>> import keras
        >>> from gaaf_keras import analysis
        >>> dense = keras.layers.Dense(32, name="dense")
        >>> model = keras.Sequential([keras.Input((64,)), dense], name="model")
        >>> before = analysis.weights(model)["model/dense/kernel"]
        >>> before.edges[-1] <= (6 / (64 + 32)) ** 0.5  # Glorot uniform
        True
    """
    times: collections.Counter[str] = collections.Counter()
    return {
        numbered(variable.path, times): Distribution.of(to_numpy(variable.value))
        for variable in model.trainable_variables
        if len(variable.shape) > 1 and not variable.name.startswith(_NOT_KERNELS)
    }
