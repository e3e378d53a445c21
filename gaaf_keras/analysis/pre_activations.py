"""Where pre-activations lie: saturation (figure 5), and the noise of dropout.

The paper's mechanism: noise sometimes moves pre-activations out of the saturation area,
so on average they have a derivative there. `pre_activation_variance` measures this: for
each pre-activation, its mean and variance over many draws of the noise, the derivative
at the mean, and the mean of the derivative (figure 4).
"""

import dataclasses
import math
from typing import Any

import keras
import numpy as np
from keras import ops

from gaaf_keras._core.checks import positive_integer, positive_number
from gaaf_keras.analysis.activation_values import Observation
from gaaf_keras.analysis.data import Data, check_data, in_batches
from gaaf_keras.analysis.distributions import Distribution, Sample
from gaaf_keras.analysis.model_activations import ObservedActivation
from gaaf_keras.analysis.stateless import to_numpy

THRESHOLD = 0.07  # the derivative of tanh at 2
_BINS = 40
_FEWEST_IN_A_BIN = 20


@dataclasses.dataclass(frozen=True)
class Saturation:
    """The pre-activations of a layer.

    Attributes:
        pre_activations: Their distribution, without those that are not finite.
        share: Share of these in the saturation area, where |phi'| is below the
            threshold; phi' is the derivative of the plain activation, whether it is
            accelerated or not.
        dead_nodes: Number of nodes saturated with every example. For ReLU: never
            active.
        nodes: Number of nodes in the layer: units, or channels of a convolution.
        accelerated_share: Share of pre-activations where the derivative used in
            training is below the threshold too. Equal to `share` without acceleration.
    """

    pre_activations: Distribution
    share: float
    dead_nodes: int
    nodes: int
    accelerated_share: float


def saturation(
    model: keras.Model, x: Data, threshold: float = THRESHOLD
) -> dict[str, Saturation]:
    """Measures where the pre-activations of each layer lie, at inference: figure 5.

    Args:
        model: A built Keras model.
        x: Inputs: an array, or a list or dictionary of arrays.
        threshold: A pre-activation z is in the saturation area if |phi'(z)| is below
            this. Greater than 0. Defaults to 0.07, which puts that area of tanh at
            |z| > 2, and of ReLU at z <= 0.

    Returns:
        The saturation by the name of the layer that holds the activation, in the order
        computed.

    Raises:
        ValueError: If the threshold is not greater than 0, or the model has no
            activations to analyse.

    Examples:
        >>> import keras, numpy
        >>> from gaaf_keras import analysis
        >>> tanh = keras.layers.Activation("tanh", name="tanh")
        >>> model = keras.Sequential([keras.Input((1,)), tanh])
        >>> x = numpy.array([[0.0], [1.0], [3.0], [-4.0]], "float32")
        >>> analysis.saturation(model, x)["tanh"].share
        0.5
    """
    positive_number("threshold", threshold)
    observation = Observation(model, derivatives=True)
    total = check_data(x)
    samples: dict[str, Sample] = {}

    def terms(name: str, values: np.ndarray, *derivatives: np.ndarray) -> list[Any]:
        finite = np.isfinite(values)
        flat, flat_in_training = (finite & (np.abs(d) < threshold) for d in derivatives)
        expected = values.size // len(values) * total
        samples.setdefault(name, Sample(expected)).add(values)
        alive = (~observation.nodes(name, flat)).sum(axis=0)
        return [finite.sum(), flat.sum(), flat_in_training.sum(), alive]

    sums = observation.sums(in_batches(x), terms)
    return {
        name: Saturation(
            pre_activations=samples[name].distribution(),
            share=float(flat / max(finite, 1)),
            dead_nodes=int((alive == 0).sum()),
            nodes=alive.size,
            accelerated_share=float(flat_in_training / max(finite, 1)),
        )
        for name, (finite, flat, flat_in_training, alive) in sums.items()
    }


@dataclasses.dataclass(frozen=True)
class ExpectedDerivative:
    """The mean derivative under noise, by the size of the pre-activation.

    Attributes:
        pre_activation: Mean pre-activation over the draws, one value per bin.
        plain: phi' at that mean.
        under_noise: Mean of phi' over the draws.
    """

    pre_activation: list[float]
    plain: list[float]
    under_noise: list[float]


@dataclasses.dataclass(frozen=True)
class PreActivationVariance:
    """The variance of a layer's pre-activations under noise, and its effect.

    Attributes:
        variance: Variance of a pre-activation over the draws, mean over examples and
            nodes.
        noise_std: Its square root, as `DropoutMatched` takes it.
        derivative: phi' at the mean pre-activation, mean over examples and nodes.
        derivative_under_noise: Mean of phi' over the draws as well.
        derivative_in_training: The derivative used in training at the mean
            pre-activation: more than `derivative` if the activation is accelerated.
        saturated: Share of pre-activations whose mean is in the saturation area.
        saturated_derivative: As `derivative`, over only those. NaN if there are none.
        saturated_derivative_under_noise: As `derivative_under_noise`, over only those.
        saturated_derivative_in_training: As `derivative_in_training`, over only those.
        curve: The derivatives by pre-activation.
    """

    variance: float
    noise_std: float
    derivative: float
    derivative_under_noise: float
    derivative_in_training: float
    saturated: float
    saturated_derivative: float
    saturated_derivative_under_noise: float
    saturated_derivative_in_training: float
    curve: ExpectedDerivative


def pre_activation_variance(
    model: keras.Model, x: Data, draws: int = 32, threshold: float = THRESHOLD
) -> dict[str, PreActivationVariance]:
    """Measures the variance that a model's noise gives to its pre-activations.

    It runs the model several times on the same inputs in training mode: with dropout
    and any other noise it has. Without noise all variances are 0. The draws are those
    of calling the model repeatedly from its current state; the model and its random
    generators stay as they are.

    Args:
        model: A built Keras model.
        x: Inputs: an array, or a list or dictionary of arrays, all computed at once. A
            few hundred examples suffice.
        draws: Number of times to run the model, 2 or more.
        threshold: A pre-activation z is in the saturation area if |phi'(z)| is below
            this.

    Returns:
        The results by the name of the layer that holds the activation, in the order
        computed. Variances are those of a sample (n - 1).

    Raises:
        ValueError: If there are too few draws, or the model has no activations to
            analyse.

    Examples:
        ```python
        analysis.pre_activation_variance(model, x_test[:500])["activation_2"].noise_std
        ```
    """
    positive_integer("draws", draws, least=2)
    positive_number("threshold", threshold)
    check_data(x)
    observation = Observation(model, training=True, derivatives=True)

    def terms(
        _: str, values: np.ndarray, slope: np.ndarray, __: np.ndarray
    ) -> list[np.ndarray]:
        values = values.astype("float64")
        return [values, np.square(values), slope.astype("float64")]

    return {
        name: _variance(observation.activation(name), draws, threshold, sums)
        for name, sums in observation.sums([x] * draws, terms).items()
    }


def _variance(
    activation: ObservedActivation,
    draws: int,
    threshold: float,
    sums: list[np.ndarray],
) -> PreActivationVariance:
    total, of_squares, of_slopes = sums
    mean = total / draws
    variance = max(0.0, float(np.mean(of_squares - total * mean)) / (draws - 1))
    tensor = ops.convert_to_tensor(mean.astype("float32"))
    plain = to_numpy(activation.derivative(tensor)).astype("float64")
    in_training = to_numpy(activation.derivative_in_training(tensor))
    noisy = of_slopes / draws
    flat = np.abs(plain) < threshold

    def where_flat(values: np.ndarray) -> float:
        return float(values[flat].mean()) if flat.any() else math.nan

    return PreActivationVariance(
        variance=variance,
        noise_std=variance**0.5,
        derivative=float(plain.mean()),
        derivative_under_noise=float(noisy.mean()),
        derivative_in_training=float(in_training.mean()),
        saturated=float(flat.mean()),
        saturated_derivative=where_flat(plain),
        saturated_derivative_under_noise=where_flat(noisy),
        saturated_derivative_in_training=where_flat(in_training),
        curve=_by_pre_activation(mean, plain, noisy),
    )


def _by_pre_activation(
    mean: np.ndarray, plain: np.ndarray, noisy: np.ndarray
) -> ExpectedDerivative:
    low, high = np.quantile(mean, [0.001, 0.999])
    edges = np.linspace(low, high, _BINS + 1)
    places = np.digitize(mean.ravel(), edges)
    rows = [
        [float(values.ravel()[inside].mean()) for values in (mean, plain, noisy)]
        for place in range(1, _BINS + 1)
        if (inside := places == place).sum() >= _FEWEST_IN_A_BIN
    ]
    columns = [list(column) for column in zip(*rows, strict=True)] or [[], [], []]
    return ExpectedDerivative(*columns)
