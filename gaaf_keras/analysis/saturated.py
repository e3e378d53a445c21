"""Where a layer's pre-activations lie, and how many of them are saturated: figure 5."""

import dataclasses
from typing import Any

import numpy as np

from gaaf_keras._core.checks import positive_number
from gaaf_keras.analysis import measuring

THRESHOLD = 0.07  # the derivative of tanh at 2


@dataclasses.dataclass(frozen=True)
class Saturation:
    """The pre-activations of a layer.

    Attributes:
        pre_activations: Their distribution, without those that are not finite.
        share: Share of these in the saturation area, where |phi'| is below the
            threshold; phi' is the derivative of the base activation, whether it is
            accelerated or not.
        dead_nodes: Nodes that are there with every example. For ReLU: never active.
        nodes: How many nodes the layer has: units, or channels of a convolution.
        accelerated_share: Share of pre-activations where the derivative used in
            training is below the threshold too. The same as `share` without
            acceleration.
    """

    pre_activations: measuring.Distribution
    share: float
    dead_nodes: int
    nodes: int
    accelerated_share: float


def saturation(
    model: Any, x: Any, threshold: float = THRESHOLD
) -> dict[str, Saturation]:
    """Measures where the pre-activations of each layer lie, at inference.

    Args:
        model: A built Keras model.
        x: Inputs, as arrays that the model can be called on.
        threshold: A pre-activation z is in the saturation area if |phi'(z)| is below
            this. Greater than 0. Defaults to 0.07, which puts that area of tanh at
            |z| > 2, and of ReLU at z <= 0.

    Returns:
        What was found by the name of the layer that holds the activation, in the order
        in which the model computes them.

    Raises:
        ValueError: If the threshold is not greater than 0, or the model has no
            activations to look at.

    Examples:
        >>> import keras, numpy
        >>> from gaaf_keras import analysis
        >>> tanh = keras.layers.Activation("tanh", name="tanh")
        >>> model = keras.Sequential([keras.Input((1,)), tanh])
        >>> x = numpy.array([[0.0], [1.0], [3.0], [-4.0]], "float32")
        >>> analysis.saturation(model, x)["tanh"].share
        0.5

    Reference:
        The paper, section 3 and figure 5.
    """
    positive_number("threshold", threshold)
    observation = measuring.Observation(model, derivatives=True)
    total = measuring.check_data(x)
    samples: dict[str, measuring.Sample] = {}
    counts: dict[str, Any] = {}  # values, saturated ones, and those so in training
    dead: dict[str, Any] = {}
    for batch in measuring.in_batches(x):
        for name, (values, *derivatives) in observation(batch).items():
            finite = np.isfinite(values)
            flat, flat_in_training = (
                (np.abs(d) < threshold) & finite for d in derivatives
            )
            expected = values.size // len(values) * total
            samples.setdefault(name, measuring.Sample(expected)).add(values)
            found = np.array([finite.sum(), flat.sum(), flat_in_training.sum()])
            counts[name] = counts.get(name, 0) + found
            nodes = observation.nodes(name, flat).all(axis=0)
            dead[name] = dead.get(name, True) & nodes
    return {
        name: Saturation(
            pre_activations=sample.distribution(),
            share=float(counts[name][1] / max(counts[name][0], 1)),
            dead_nodes=int(dead[name].sum()),
            nodes=dead[name].size,
            accelerated_share=float(counts[name][2] / max(counts[name][0], 1)),
        )
        for name, sample in samples.items()
    }
