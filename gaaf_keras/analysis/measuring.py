"""What the analyses share: data in batches, losses, node values, distributions."""

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
from keras import ops

from gaaf_keras.analysis.accuracy import classification
from gaaf_keras.analysis.isolation import isolated, replicas, to_numpy
from gaaf_keras.analysis.observation import (
    PRE_ACTIVATION,
    ObservedActivation,
    observed_activations,
    observing,
)

BATCH = 256  # examples computed at once where that makes no difference
_NARROWEST = 1e-9  # of a histogram, relative to its values
_TAILS = 0.0005  # share of the values left out of a histogram at either end
_MOST_VALUES = 200_000  # kept of a layer, for its histogram


@dataclasses.dataclass(frozen=True)
class Distribution:
    """How values are distributed.

    Values that are not finite are left out.

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
        if high - low < _NARROWEST * max(1.0, abs(high)):
            low, high = low - 0.5, high + 0.5
        counts, edges = np.histogram(values, bins, (low, high))
        density = counts / values.size / np.diff(edges)
        return cls(
            float(values.mean()), float(values.std()), edges.tolist(), density.tolist()
        )


class Sample:
    """Takes in more values than can be kept, for their distribution.

    Mean and standard deviation are those of all values, the histogram that of a random
    part. What is not finite is left out.

    Args:
        expected: How many values there will be.
    """

    def __init__(self, expected: int) -> None:
        self._share = min(1.0, _MOST_VALUES / expected)
        self._random = np.random.default_rng(0)
        self._kept: list[np.ndarray] = []
        self._count = 0
        self._mean = 0.0
        self._squares = 0.0  # sum of the squared distances from the mean

    def add(self, values: np.ndarray) -> None:
        """Takes in some more values."""
        values = values[np.isfinite(values)].astype("float64")
        if not values.size:
            return
        mean, total = values.mean(), self._count + values.size
        distance = mean - self._mean
        self._squares += np.sum((values - mean) ** 2)
        self._squares += distance**2 * self._count * values.size / total
        self._mean += distance * values.size / total
        self._count = total
        if self._share < 1:
            chosen = round(self._share * values.size)
            values = values[self._random.integers(0, values.size, chosen)]
        self._kept.append(values)

    def distribution(self) -> Distribution:
        """Returns how all the values are distributed."""
        kept = np.concatenate(self._kept) if self._kept else np.array([])
        found = Distribution.of(kept)
        if not self._count:
            return found
        deviation = float(np.sqrt(self._squares / self._count))
        return dataclasses.replace(
            found, mean=float(self._mean), standard_deviation=deviation
        )


def check_data(x: Any, y: Any = None) -> int:
    """Returns how many examples arrays hold.

    Args:
        x: Inputs: an array, or a list or dictionary of arrays.
        y: Targets likewise; None for none.

    Raises:
        TypeError: If they are no arrays.
        ValueError: If they hold no examples, or not as many.
    """
    sizes: set[int] = set()
    given = {"x": x} if y is None else {"x": x, "y": y}
    for name, data in given.items():
        for array in keras.tree.flatten(data):
            if not getattr(array, "shape", ()):
                raise TypeError(
                    f"Argument `{name}` must be an array, or a list or dictionary of "
                    "arrays, with the examples along the first axis; of a data set, "
                    f"give a batch. Received: {name} of type {type(array).__name__}"
                )
            sizes.add(int(array.shape[0]))
    if len(sizes) != 1 or 0 in sizes:
        raise ValueError(
            "Arguments `x` and `y` must hold as many examples, at least one. "
            f"Received arrays with: {', '.join(map(str, sorted(sizes)))}"
        )
    return sizes.pop()


def count(data: Any) -> int:
    """Returns how many examples arrays hold that have been checked."""
    return len(keras.tree.flatten(data)[0])


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
        kind: Which tensors to return: `PRE_ACTIVATION` or `OUTPUT`.
        training: Whether the model runs as in training.
        derivatives: Whether to return, after the pre-activation, also the derivative of
            the base activation there and the derivative used in training.
    """

    def __init__(
        self,
        model: Any,
        kind: str = PRE_ACTIVATION,
        *,
        training: bool = False,
        derivatives: bool = False,
    ) -> None:
        self._activations = observed_activations(model)
        self._by_label: dict[str, ObservedActivation] = {}
        self._labels: list[str] = []
        states = [v for v in model.variables if v.name == "seed_generator_state"]
        self._states = [to_numpy(state.value) for state in states]

        def forward(x: Any, before: list[Any]) -> tuple[list[list[Any]], list[Any]]:
            for state, value in zip(states, before, strict=True):
                state.assign(value)  # in the isolated run alone
            values: dict[str, list[Any]] = {}

            def observe(name: str, of_kind: str, tensor: Any) -> Any:
                if of_kind == kind:
                    values[name] = [tensor]
                return tensor

            with observing(self._activations, observe) as self._by_label:
                model(x, training=training)
            for name in values if derivatives else ():
                (tensor,) = values[name]
                activation = self.activation(name)
                values[name].append(activation.derivative(tensor))
                values[name].append(activation.derivative_in_training(tensor))
            # Apart from their names, which JAX would bring into alphabetical order.
            self._labels = list(values)
            return list(values.values()), [state.value for state in states]

        self._forward = isolated(model, forward)

    def __call__(self, x: Any) -> dict[str, list[np.ndarray]]:
        """Returns values by the name of an activation, in the order computed."""
        values, self._states = self._forward(x, self._states)
        return dict(zip(self._labels, values, strict=True))

    def activation(self, label: str) -> ObservedActivation:
        """Returns the activation that a name in the results is of."""
        return self._by_label[label]

    def nodes(self, label: str, values: np.ndarray) -> np.ndarray:
        """Returns a layer's values as a matrix with a column for each of its nodes.

        A node is a unit of a dense layer or a channel of a convolution, of which every
        position is a row of its own.
        """
        return nodes_last(values, self.activation(label).node_axis)


def nodes_last(values: np.ndarray, axis: int = -1) -> np.ndarray:
    """Returns values as a matrix with a column for each node along an axis."""
    values = np.moveaxis(values, axis, -1)
    return values.reshape(-1, values.shape[-1])


def along_nodes(vector: Any, values: Any, axis: int) -> Any:
    """Returns a value a node so that it fits a layer's values."""
    if axis == -1:
        return vector
    return ops.reshape(vector, (-1, *[1] * (len(values.shape) - 1 - axis)))


def loss_function(model: Any, loss: Any, training: bool) -> Callable[..., Any]:
    """Returns what computes the loss of a batch from inputs, targets and outputs.

    Args:
        model: A built Keras model.
        loss: A Keras loss, its name, or a function of targets and outputs; for a model
            with several outputs a function of all of them. Defaults to what the model
            was compiled with, regularisation included.
        training: Whether the loss is that of training.

    Raises:
        ValueError: If there is no loss, or several are given; when it is called, if a
            loss of Keras is given to a model with several outputs.
    """
    if loss is not None:
        return _given_loss(model, loss)
    overridden = type(model).compute_loss is not keras.Model.compute_loss
    if model.loss is None and not overridden:
        raise ValueError(
            "Argument `loss` must be given for a model that is not compiled with one. "
            f"Received: loss=None, model={model.name!r}"
        )

    def compiled(x: Any, y: Any, outputs: Any) -> Any:
        return replicas() * model.compute_loss(x, y, outputs, training=training)

    return compiled


def _given_loss(model: Any, loss: Any) -> Callable[..., Any]:
    message = (
        "Argument `loss` must be one loss, for a model with one output. If it has "
        "several, compile it with its losses and leave `loss` out, or give a function "
        f"of all targets and outputs. Received: loss={loss!r}, model={model.name!r}"
    )
    if keras.tree.is_nested(loss) and "class_name" not in loss:
        raise ValueError(message)
    given = keras.losses.get(loss)
    shared = replicas() if isinstance(given, keras.Loss) else 1
    is_from_keras = getattr(given, "__module__", "").startswith("keras.")

    def mean(_: Any, y: Any, outputs: Any) -> Any:
        if is_from_keras and len(keras.tree.flatten(outputs)) > 1:
            raise ValueError(message)
        return shared * ops.mean(given(y, outputs))

    return mean


def prepare_loss(model: Any, loss: Any, x: Any, y: Any) -> None:
    """Lets a compiled model make what it needs to compute its loss.

    Args:
        model: A built Keras model.
        loss: As for `loss_function`.
        x: Inputs, as many as will be computed at once: a model may take no others.
        y: Their targets.
    """
    compiled = getattr(model, "_compile_loss", None)
    if loss is None and compiled is not None and not compiled.built:
        outputs = isolated(model, lambda x: model(x, training=False))(x)
        compiled.build(y, outputs)


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
        share of predictions that are right.
    """
    prepare_loss(model, loss, *next(in_batches((x, y))))
    loss_of = loss_function(model, loss, training=False)
    tally = classification(model.loss if loss is None else loss)

    def measure(x: Any, y: Any, *others: Any) -> list[Any]:
        outputs = forward(x, *others)
        counts = [] if tally is None else tally(y, outputs)
        return [loss_of(x, y, outputs), *counts]

    compiled = isolated(model, measure, often=True)

    def evaluate(x: Any, y: Any, *others: Any) -> np.ndarray:
        batches = list(in_batches((x, y)))
        rows = np.array([compiled(*batch, *others) for batch in batches], "float64")
        sizes = [count(batch) for batch in batches]
        loss, *counts = rows.T
        results = [np.average(loss, weights=sizes)]
        if counts:
            right, counted = np.sum(counts, axis=1)
            results.append(right / max(counted, 1))
        return np.array(results)

    return evaluate
