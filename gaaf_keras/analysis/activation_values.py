"""The inputs and outputs of a model's activations, observed as the model runs."""

import collections
import contextlib
import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import keras
import numpy as np

from gaaf_keras._core.exchange import Exchanges
from gaaf_keras._core.types import Tensor
from gaaf_keras.analysis.data import Data
from gaaf_keras.analysis.model_activations import (
    ObservedActivation,
    numbered,
    observed_activations,
)
from gaaf_keras.analysis.stateless import stateless, to_numpy

# Called with the name of an activation, the kind of tensor and the tensor; returns the
# tensor that the model uses in its place.
Observer = Callable[[str, str, Tensor], Tensor]
PRE_ACTIVATION, OUTPUT = "pre-activation", "output"


@contextlib.contextmanager
def observing(
    activations: list[ObservedActivation], observer: Observer
) -> Iterator[dict[str, ObservedActivation]]:
    """Shows an observer all pre-activations and outputs while a model is called.

    They come in the order computed. Activations applied several times, and different
    activations of one name, are called `name`, `name (2)`, ... Yields a dictionary of
    the activations by name, which fills as the model computes.
    """
    times: collections.Counter[str] = collections.Counter()
    by_label: dict[str, ObservedActivation] = {}

    def observed(
        activation: ObservedActivation, apply: Callable[..., Tensor]
    ) -> Callable[..., Tensor]:
        @functools.wraps(apply)
        def call(x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
            label = numbered(activation.name, times)
            by_label[label] = activation
            x = observer(label, PRE_ACTIVATION, x)
            return observer(label, OUTPUT, apply(x, *args, **kwargs))

        return call

    exchanges = Exchanges()
    try:
        for activation in activations:
            holder = activation.holder
            is_argument = activation.applied is not holder
            attribute = "activation" if is_argument else "call"
            apply = observed(activation, getattr(holder, attribute))
            exchanges.put(vars(holder), attribute, apply)
        yield by_label
    finally:
        exchanges.undo()


class Observation:
    """Runs a model and returns the inputs or outputs of its activations.

    The model stays as it is. Each call draws new random noise; each object draws the
    same sequence.

    Args:
        model: A built Keras model.
        kind: Which tensors to return: `PRE_ACTIVATION` or `OUTPUT`.
        training: Whether the model runs in training mode.
        derivatives: Whether to return, after the pre-activation, also the derivative of
            the plain activation there and the derivative used in training.
    """

    def __init__(
        self,
        model: keras.Model,
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

        def forward(
            x: Data, before: list[Tensor]
        ) -> tuple[list[list[Tensor]], list[Tensor]]:
            for state, value in zip(states, before, strict=True):
                state.assign(value)  # only in this stateless run
            values: dict[str, list[Tensor]] = {}

            def observe(name: str, of_kind: str, tensor: Tensor) -> Tensor:
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
            # Separate from their names, which JAX would sort.
            self._labels = list(values)
            return list(values.values()), [state.value for state in states]

        self._forward = stateless(model, forward)

    def __call__(self, x: Data) -> dict[str, list[np.ndarray]]:
        """Returns values by the name of an activation, in the order computed."""
        values, self._states = self._forward(x, self._states)
        return dict(zip(self._labels, values, strict=True))

    def sums(
        self, batches: Iterable[Data], terms: Callable[..., Sequence[Any]]
    ) -> dict[str, list[Any]]:
        """Returns sums over batches of `terms` of a name and its values."""
        sums: dict[str, list[Any]] = {}
        for batch in batches:
            for name, values in self(batch).items():
                found = terms(name, *values)
                before = sums.get(name, [0] * len(found))
                sums[name] = [a + b for a, b in zip(before, found, strict=True)]
        return sums

    def activation(self, label: str) -> ObservedActivation:
        """Returns the activation behind a name in the results."""
        return self._by_label[label]

    def nodes(self, label: str, values: np.ndarray) -> np.ndarray:
        """Returns a layer's values as a matrix with a column for each of its nodes.

        A node is a unit of a dense layer or a channel of a convolution, where each
        position is a separate row.
        """
        values = np.moveaxis(values, self.activation(label).node_axis, -1)
        return values.reshape(-1, values.shape[-1])
