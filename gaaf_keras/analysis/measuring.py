"""What the analyses share: data in batches, losses, node values, distributions."""

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
from keras import ops

from gaaf_keras.analysis.differentiation import isolated, to_numpy
from gaaf_keras.analysis.observation import (
    NET_INPUT,
    ObservedActivation,
    observed_activations,
    observing,
)

BATCH = 256  # examples computed at once where that makes no difference
_TAILS = 0.0005  # share of the values left out of a histogram at either end
_MOST_VALUES = 200_000  # kept of a layer, for its histogram


@dataclasses.dataclass(frozen=True)
class Distribution:
    """How values are distributed.

    Attributes:
        mean: Their mean.
        standard_deviation: Their standard deviation.
        edges: Bounds of the histogram's bins, one more than there are bins. All but a
            thousandth of the values lie within.
        density: Height of each bin: share of the values, divided by the bin's width.
    """

    mean: float
    standard_deviation: float
    edges: list[float]
    density: list[float]

    @classmethod
    def of(cls, values: np.ndarray, bins: int | None = None) -> "Distribution":
        """Returns the distribution of an array of any shape.

        By default it has 80 bins, of a few thousand values and less fewer.
        """
        values = np.asarray(values, "float64").ravel()
        values = values[np.isfinite(values)]
        bins = min(80, 8 + values.size // 100) if bins is None else bins
        if not values.size:
            return cls(float("nan"), float("nan"), [0.0, 1.0], [0.0])
        low, high = np.quantile(values, [_TAILS, 1 - _TAILS])
        if low == high:
            low, high = low - 0.5, high + 0.5
        counts, edges = np.histogram(values, bins, (low, high))
        density = counts / values.size / np.diff(edges)
        return cls(
            float(values.mean()), float(values.std()), edges.tolist(), density.tolist()
        )


class Sample:
    """A part of many values, taken evenly, for a distribution."""

    def __init__(self, expected: int) -> None:
        self._step = max(1, expected // _MOST_VALUES)
        self._kept: list[np.ndarray] = []

    def add(self, values: np.ndarray) -> None:
        """Takes in some more values."""
        self._kept.append(values.ravel()[:: self._step])

    @property
    def values(self) -> np.ndarray:
        """The values kept."""
        return np.concatenate(self._kept)


def count(data: Any) -> int:
    """Returns how many examples arrays hold.

    Raises:
        ValueError: If they hold none, or do not agree.
    """
    sizes = {len(array) for array in keras.tree.flatten(data)}
    if len(sizes) != 1 or sizes == {0}:
        raise ValueError(
            "Data must be one array or several with as many examples, at least one. "
            f"Received arrays with: {sorted(sizes)}"
        )
    return sizes.pop()


def part(data: Any, first: int, last: int) -> Any:
    """Returns some of the examples in arrays."""
    return keras.tree.map_structure(lambda array: array[first:last], data)


def in_batches(data: Any, most: int = BATCH) -> Iterator[Any]:
    """Yields all examples in arrays, in as few batches of one size as possible.

    (What is compiled is compiled anew for a batch of another size.)
    """
    total = count(data)
    size = -(-total // -(-total // most))
    for first in range(0, total, size):
        yield part(data, first, first + size)


class Observation:
    """Runs a model and returns what goes into its activations or comes out of them.

    The model stays as it is. Random noise is that of running the model again and again,
    and begins anew with each object.

    Args:
        model: A built Keras model.
        kind: Which tensors to return: `NET_INPUT` or `OUTPUT`.
        training: Whether the model runs as in training.
        derivatives: Whether to return, after the net input, also the derivative of the
            base activation there and the derivative used in training.
    """

    def __init__(
        self,
        model: Any,
        kind: str = NET_INPUT,
        *,
        training: bool = False,
        derivatives: bool = False,
    ) -> None:
        self.activations = observed_activations(model)
        states = [v for v in model.variables if v.name == "seed_generator_state"]
        self._states = [to_numpy(state.value) for state in states]

        def forward(x: Any, before: list[Any]) -> tuple[dict[str, list[Any]], Any]:
            for state, value in zip(states, before, strict=True):
                state.assign(value)  # in the isolated run alone
            values: dict[str, list[Any]] = {}

            def observe(name: str, of_kind: str, tensor: Any) -> Any:
                if of_kind == kind:
                    values[name] = [tensor]
                return tensor

            with observing(self.activations, observe):
                model(x, training=training)
            for name in values if derivatives else ():
                (tensor,) = values[name]
                activation = self.activation(name)
                values[name].append(activation.derivative(tensor))
                values[name].append(activation.derivative_in_training(tensor))
            return values, [state.value for state in states]

        self._forward = isolated(model, forward)

    def __call__(self, x: Any) -> dict[str, list[np.ndarray]]:
        """Returns arrays of values by the name of an activation."""
        values, self._states = self._forward(x, self._states)
        return values

    def activation(self, name: str) -> ObservedActivation:
        """Returns the activation that a name, perhaps ending in ` (2)`, is of."""
        names = (name, name.rpartition(" (")[0])
        return next(a for a in self.activations if a.name in names)


def nodes_last(values: np.ndarray) -> np.ndarray:
    """Returns a layer's values as a matrix with a column for each of its nodes.

    A node is a unit of a dense layer or a channel of a convolution, of which every
    position is a row of its own.
    """
    channels_first = keras.config.image_data_format() == "channels_first"
    if channels_first and values.ndim > len(("batch", "step", "unit")):
        values = np.moveaxis(values, 1, -1)
    return values.reshape(-1, values.shape[-1])


def along_nodes(vector: Any, values: Any) -> Any:
    """Returns a value a node so that it fits a layer's values."""
    channels_first = keras.config.image_data_format() == "channels_first"
    rank = len(values.shape)
    if channels_first and rank > len(("batch", "step", "unit")):
        return ops.reshape(vector, (-1, *[1] * (rank - 2)))
    return vector


def loss_function(model: Any, loss: Any, training: bool) -> Callable[..., Any]:
    """Returns what computes the loss of a batch from inputs, targets and outputs.

    Args:
        model: A built Keras model.
        loss: A Keras loss, its name, or a function of targets and outputs. Defaults to
            what the model was compiled with, regularisation included.
        training: Whether the loss is that of training.

    Raises:
        ValueError: If there is no loss.
    """
    if loss is not None:
        given = keras.losses.get(loss)
        return lambda _, y, outputs: ops.mean(given(y, outputs))
    if getattr(model, "loss", None) is None:
        raise ValueError(
            "Argument `loss` must be given for a model that is not compiled with one. "
            f"Received: loss=None, model={model.name!r}"
        )

    def compiled(x: Any, y: Any, outputs: Any) -> Any:
        return model.compute_loss(x, y, outputs, training=training)

    return compiled


def prepare_loss(model: Any, loss: Any, x: Any, y: Any) -> None:
    """Lets a compiled model make what it needs to compute its loss."""
    if loss is None and getattr(model, "loss", None) is not None:
        first_x, first_y = part((x, y), 0, 1)
        model.compute_loss(first_x, first_y, model(first_x, training=False))


def evaluation(
    model: Any, forward: Callable[..., Any], x: Any, y: Any, loss: Any
) -> Callable[..., np.ndarray]:
    """Returns what computes the loss of a model on data, and its accuracy.

    Args:
        model: A built Keras model.
        forward: Maps inputs, and perhaps more tensors, to the model's outputs.
        x: Inputs to be expected.
        y: Targets to be expected.
        loss: As for `loss_function`.

    Returns:
        A function of inputs, targets and the other arrays that `forward` takes. It
        returns the loss, mean over all examples, and, if the model classifies, the
        share of examples that are classified rightly.
    """
    prepare_loss(model, loss, x, y)
    loss_of = loss_function(model, loss, training=False)

    def measure(x: Any, y: Any, *others: Any) -> list[Any]:
        outputs = forward(x, *others)
        results = [loss_of(x, y, outputs)]
        if is_classification(y, outputs):
            results.append(ops.mean(correct(y, outputs)))
        return results

    compiled = isolated(model, measure, often=True)

    def evaluate(x: Any, y: Any, *others: Any) -> np.ndarray:
        batches = list(in_batches((x, y)))
        results = [compiled(*batch, *others) for batch in batches]
        sizes = [count(batch) for batch in batches]
        return np.average(np.array(results, "float64"), axis=0, weights=sizes)

    return evaluate


def is_classification(y: Any, outputs: Any) -> bool:
    """Whether outputs have a value a class, and targets are classes or one-hot."""
    if not hasattr(outputs, "shape") or not hasattr(y, "shape"):
        return False
    _, *classes = outputs.shape
    _, *targets = y.shape
    several = len(classes) == 1 and classes[0] > 1
    return several and targets in ([], [1], classes)


def correct(y: Any, outputs: Any) -> Any:
    """Returns for each example whether its class has the largest output, as a float."""
    one_hot = tuple(y.shape) == tuple(outputs.shape)
    labels = ops.argmax(y, axis=-1) if one_hot else ops.reshape(y, (-1,))
    right = ops.equal(ops.argmax(outputs, axis=-1), ops.cast(labels, "int32"))
    return ops.cast(right, "float32")
