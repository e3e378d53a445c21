"""How much the nodes of a layer depend on each other.

The paper looks at the correlations between the values of two nodes (figure 2). Two
nodes can be correlated and still work independently, and a node can depend on several
others together without being correlated with any of them. Co-adaptation means that a
node is useful only together with particular others, and shows when the others are taken
away. So `ablation` holds a random part of a layer's nodes at their means and measures
the remaining accuracy. The more the nodes need each other, the sooner it falls.
"""

import dataclasses
import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from gaaf_keras._core.checks import positive_integer
from gaaf_keras._core.types import Tensor
from gaaf_keras.analysis.activation_values import OUTPUT, Observation, observing
from gaaf_keras.analysis.data import Data, Loss, check_data, in_batches
from gaaf_keras.analysis.distributions import Distribution
from gaaf_keras.analysis.losses import at_each, evaluation
from gaaf_keras.analysis.model_activations import observed_activations

_CONSTANT = 1e-6  # deviation of a constant node, relative to the layer's largest


@dataclasses.dataclass(frozen=True)
class Correlations:
    """The correlations between the values of each pair of a layer's nodes.

    Attributes:
        distribution: Their distribution.
        mean_absolute: Mean of their absolute values; NaN if there are no pairs.
        nodes: Number of nodes in the layer: units, or channels of a convolution.
        constant_nodes: How many of these never change, and so have no correlations.
    """

    distribution: Distribution
    mean_absolute: float
    nodes: int
    constant_nodes: int


def correlations(model: keras.Model, x: Data) -> dict[str, Correlations]:
    """Measures the correlations between a layer's nodes, at inference: figure 2.

    The nodes of a convolution are its channels, and each position counts as an example.

    Args:
        model: A built Keras model.
        x: Inputs: an array, or a list or dictionary of arrays. Give several times as
            many examples as a layer has nodes.

    Returns:
        The correlations by the name of the layer that holds the activation, in the
        order computed.

    Raises:
        ValueError: If the model has no activations to analyse.

    Examples:
        ```python
        analysis.correlations(model, x_test)["activation_2"].mean_absolute
        ```
    """
    check_data(x)
    observation = Observation(model, OUTPUT)
    first: dict[str, np.ndarray] = {}

    def moments(name: str, values: np.ndarray) -> list[Any]:
        rows = observation.nodes(name, values).astype("float64")
        # Relative to a nearby value, so that the difference loses no digits.
        return _moments(rows - first.setdefault(name, rows.mean(axis=0)))

    found = {}
    for name, sums in observation.sums(in_batches(x), moments).items():
        pairs, alive = _pairs(*sums)
        found[name] = Correlations(
            distribution=Distribution.of(pairs),
            mean_absolute=float(np.abs(pairs).mean()) if pairs.size else math.nan,
            nodes=len(alive),
            constant_nodes=int((~alive).sum()),
        )
    return found


def correlations_of(nodes: np.ndarray) -> np.ndarray:
    """Returns the correlations of pairs of columns, which are a layer's nodes."""
    rows = nodes.astype("float64")
    return _pairs(*_moments(rows - rows.mean(axis=0)))[0]


def _moments(rows: np.ndarray) -> list[Any]:
    return [len(rows), rows.sum(axis=0), rows.T @ rows]


def _pairs(
    count: int, sums: np.ndarray, products: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the correlations of all pairs of nodes that vary, and which do."""
    mean = sums / count
    covariance = products / count - np.outer(mean, mean)
    deviation = np.sqrt(np.maximum(np.diag(covariance), 0))
    alive = deviation > _CONSTANT * deviation.max(initial=0)
    scale = deviation[alive]
    matrix = covariance[np.ix_(alive, alive)] / np.outer(scale, scale)
    pairs = matrix[np.triu_indices(len(matrix), k=1)]
    return np.clip(pairs, -1.0, 1.0), alive


@dataclasses.dataclass(frozen=True)
class Ablation:
    """Loss and accuracy of a model while part of a layer's nodes is held constant.

    Attributes:
        shares: Shares of the nodes held at their means; the first is 0.
        losses: Loss at each share, mean over the repeats.
        accuracies: Accuracy likewise, from 0 to 1. Empty if the model does not
            classify.
    """

    shares: list[float]
    losses: list[float]
    accuracies: list[float]


def ablation(
    model: keras.Model,
    x: Data,
    y: Data,
    *,
    loss: Loss | None = None,
    shares: Sequence[float] = (0.25, 0.5, 0.75),
    repeats: int = 3,
    seed: int = 0,
) -> dict[str, Ablation]:
    """Measures a model without a part of one layer's nodes, at inference.

    A random part of the nodes is held at its mean values on the same inputs, the same
    part for all examples: the first nodes of
    `numpy.random.default_rng([seed, repeat]).permutation(nodes)`.

    Args:
        model: A built Keras model.
        x: Inputs: an array, or a list or dictionary of arrays.
        y: Targets likewise.
        loss: A Keras loss, its name, or a function of all targets and outputs. Defaults
            to what the model was compiled with.
        shares: Shares of the nodes, above 0 and at most 1. At least one node is held.
        repeats: Number of random parts of each size.
        seed: Seed of the choice.

    Returns:
        By the name of the layer that holds the activation, in the order computed.

    Raises:
        ValueError: If a share is out of range, or the model has no activations to
            analyse, or no loss.

    Examples:
        ```python
        analysis.ablation(model, x_test, y_test)["activation_2"].accuracies
        ```

    Reference:
        Morcos et al., "On the importance of single directions for generalization"
        (arXiv 1803.06959), section 3: cumulative ablation.
    """
    if not all(0 < share <= 1 for share in shares):
        raise ValueError(
            "Argument `shares` must be numbers above 0 and at most 1. "
            f"Received: shares={shares}"
        )
    positive_integer("repeats", repeats)
    check_data(x, y)
    means = _mean_outputs(model, x)
    forward = _with_replacements(model, list(means))
    evaluate = evaluation(model, forward, x, y, loss)
    keep = {name: np.ones_like(mean) for name, mean in means.items()}
    intact = evaluate(x, y, [*keep.values()], [*means.values()])

    def without(name: str, share: float, repeat: int) -> np.ndarray:
        if not share:
            return intact
        nodes = keep[name].size
        order = np.random.default_rng([seed, repeat]).permutation(nodes)
        mask = np.ones_like(keep[name])
        mask[order[: max(1, round(share * nodes))]] = 0
        masks = [*{**keep, name: mask}.values()]
        return evaluate(x, y, masks, [*means.values()])

    found = {}
    for name in means:
        at = functools.partial(without, name)
        losses, _, accuracies = at_each(shares, repeats, at)
        found[name] = Ablation([0.0, *shares], losses, accuracies)
    return found


def _mean_outputs(model: keras.Model, x: Data) -> dict[str, np.ndarray]:
    observation = Observation(model, OUTPUT)

    def terms(name: str, values: np.ndarray) -> list[Any]:
        rows = observation.nodes(name, values)
        return [rows.sum(axis=0, dtype="float64"), len(rows)]

    return {
        name: (total / count).astype("float32")
        for name, (total, count) in observation.sums(in_batches(x), terms).items()
    }


def _with_replacements(model: keras.Model, names: list[str]) -> Callable[..., Tensor]:
    """Returns a function that runs a model with masked nodes at their means."""
    activations = observed_activations(model)

    def forward(x: Data, masks: list[Tensor], means: list[Tensor]) -> Tensor:
        def observe(name: str, kind: str, tensor: Tensor) -> Tensor:
            if kind != OUTPUT:
                return tensor
            shape = [1] * len(tensor.shape)
            shape[by_label[name].node_axis] = -1
            mask, mean = (
                ops.reshape(ops.cast(vectors[names.index(name)], tensor.dtype), shape)
                for vectors in (masks, means)
            )
            return ops.where(mask > 0, tensor, mean)

        with observing(activations, observe) as by_label:
            return model(x, training=False)

    return forward
