"""How much the nodes of a layer depend on each other.

The paper looks at the correlations between the values of two nodes (figure 2). Two
nodes can be correlated and still work independently, and a node can depend on several
others together without being correlated with any. What co-adaptation means, that a node
is of use only in the company of particular others, is seen when the others are taken
away: so `ablation` holds a random part of a layer's nodes at their means, and measures
how much accuracy is left. The more the nodes need each other, the sooner it falls.
"""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from keras import ops

from gaaf_keras._core.checks import positive_integer
from gaaf_keras.analysis.activation_values import Observation, along_nodes
from gaaf_keras.analysis.data import check_data, in_batches
from gaaf_keras.analysis.distributions import Distribution
from gaaf_keras.analysis.losses import evaluation
from gaaf_keras.analysis.model_activations import (
    OUTPUT,
    observed_activations,
    observing,
)

_CONSTANT = 1e-6  # deviation of a node, relative to the layer's largest


@dataclasses.dataclass(frozen=True)
class Correlations:
    """The correlations between the values of a layer's nodes, two at a time.

    Attributes:
        distribution: How they are distributed.
        mean_absolute: Mean of their absolute values; NaN if there are no pairs.
        nodes: How many nodes the layer has: units, or channels of a convolution.
        constant_nodes: How many of these never change, and so have no correlations.
    """

    distribution: Distribution
    mean_absolute: float
    nodes: int
    constant_nodes: int


def correlations(model: Any, x: Any) -> dict[str, Correlations]:
    """Measures how the values of a layer's nodes go together, at inference.

    Of a convolution the nodes are the channels, and each position counts as an example.

    Args:
        model: A built Keras model.
        x: Inputs, as arrays that the model can be called on. Give several times as many
            as a layer has nodes.

    Returns:
        What was found by the name of the layer that holds the activation, in the order
        in which the model computes them.

    Raises:
        ValueError: If the model has no activations to look at.

    Examples:
        ```python
        analysis.correlations(model, x_test)["activation_2"].mean_absolute
        ```

    Reference:
        The paper, figure 2.
    """
    check_data(x)
    observation = Observation(model, OUTPUT)
    moments: dict[str, list[Any]] = {}
    first: dict[str, np.ndarray] = {}
    for batch in in_batches(x):
        for name, (values,) in observation(batch).items():
            rows = observation.nodes(name, values).astype("float64")
            # Around a value nearby, so that no digits are lost in the difference.
            rows = rows - first.setdefault(name, rows.mean(axis=0))
            terms = [len(rows), rows.sum(axis=0), rows.T @ rows]
            before = moments.get(name, [0, 0, 0])
            moments[name] = [a + b for a, b in zip(before, terms, strict=True)]
    return {name: _correlations(*terms) for name, terms in moments.items()}


def _correlations(count: int, sums: np.ndarray, products: np.ndarray) -> Correlations:
    pairs, alive = _pairs(count, sums, products)
    return Correlations(
        distribution=Distribution.of(pairs),
        mean_absolute=float(np.abs(pairs).mean()) if pairs.size else math.nan,
        nodes=len(alive),
        constant_nodes=int((~alive).sum()),
    )


def correlations_of(nodes: np.ndarray) -> np.ndarray:
    """Returns the correlations of pairs of columns: of the nodes of a layer."""
    rows = nodes.astype("float64")
    rows = rows - rows.mean(axis=0)
    return _pairs(len(rows), rows.sum(axis=0), rows.T @ rows)[0]


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
    """What is left of a model when a part of one layer's nodes says nothing.

    Attributes:
        shares: Shares of the nodes that are held at their means; the first is 0.
        losses: Loss at each share, mean over the repeats.
        accuracies: Accuracy likewise, from 0 to 1. Empty if the model does not
            classify.
    """

    shares: list[float]
    losses: list[float]
    accuracies: list[float]


def ablation(
    model: Any,
    x: Any,
    y: Any,
    *,
    loss: Any = None,
    shares: Sequence[float] = (0.25, 0.5, 0.75),
    repeats: int = 3,
    seed: int = 0,
) -> dict[str, Ablation]:
    """Measures what a model can do without a part of a layer's nodes, at inference.

    A random part of one layer's nodes is held at the mean values that they have on the
    same inputs, the same part for all examples. Which ones, is the beginning of
    `numpy.random.default_rng([seed, repeat]).permutation(nodes)`.

    Args:
        model: A built Keras model.
        x: Inputs, as arrays that the model can be called on.
        y: Targets.
        loss: A Keras loss, its name, or a function of targets and outputs; for a model
            with several outputs a function of all of them. Defaults to what the model
            was compiled with.
        shares: Shares of the nodes, above 0 and at most 1. At least one node is held.
        repeats: How many random parts of each size to try.
        seed: Seed of the choice.

    Returns:
        What was found by the name of the layer that holds the activation, in the order
        in which the model computes them.

    Raises:
        ValueError: If a share is out of range, or the model has no activations to look
            at, or no loss.

    Examples:
        ```python
        analysis.ablation(model, x_test, y_test)["activation_2"].accuracies
        ```

    Reference:
        Cumulative ablation is from Morcos et al., "On the importance of single
        directions for generalization" (arXiv 1803.06959), section 3. Of the paper's
        correlations reviewers had asked whether they are co-adaptation.
    """
    if not all(0 < share <= 1 for share in shares):
        raise ValueError(
            "Argument `shares` must be numbers above 0 and at most 1. "
            f"Received: shares={shares}"
        )
    positive_integer("repeats", repeats)
    check_data(x, y)
    means = _mean_outputs(model, x)
    evaluate = _evaluation_with_replacements(model, x, y, loss, list(means))
    keep = {name: np.ones_like(mean) for name, mean in means.items()}
    intact = evaluate(x, y, list(keep.values()), list(means.values()))
    found = {}
    for name, mean in means.items():
        rows = [intact]
        for share in shares:
            results = []
            for repeat in range(repeats):
                order = np.random.default_rng([seed, repeat]).permutation(len(mean))
                mask = np.ones_like(mean)
                mask[order[: max(1, round(share * len(mean)))]] = 0
                masks = [*{**keep, name: mask}.values()]
                results.append(evaluate(x, y, masks, list(means.values())))
            rows.append(np.mean(results, axis=0))
        losses, *accuracies = np.transpose(rows).tolist()
        found[name] = Ablation(
            [0.0, *shares], losses, accuracies[0] if accuracies else []
        )
    return found


def _mean_outputs(model: Any, x: Any) -> dict[str, np.ndarray]:
    observation = Observation(model, OUTPUT)
    sums: dict[str, Any] = {}
    counts: dict[str, int] = {}
    for batch in in_batches(x):
        for name, (values,) in observation(batch).items():
            rows = observation.nodes(name, values)
            sums[name] = sums.get(name, 0) + rows.sum(axis=0, dtype="float64")
            counts[name] = counts.get(name, 0) + len(rows)
    return {name: (sums[name] / counts[name]).astype("float32") for name in sums}


def _evaluation_with_replacements(
    model: Any, x: Any, y: Any, loss: Any, names: list[str]
) -> Any:
    """Returns what computes loss and accuracy with some nodes held at their means."""
    activations = observed_activations(model)

    def forward(x: Any, masks: list[Any], means: list[Any]) -> Any:
        def observe(name: str, kind: str, tensor: Any) -> Any:
            if kind != OUTPUT:
                return tensor
            index = names.index(name)
            axis = by_label[name].node_axis
            mask, mean = (
                along_nodes(ops.cast(vector, tensor.dtype), tensor, axis)
                for vector in (masks[index], means[index])
            )
            return ops.where(mask > 0, tensor, mean)

        with observing(activations, observe) as by_label:
            return model(x, training=False)

    return evaluation(model, forward, x, y, loss)
