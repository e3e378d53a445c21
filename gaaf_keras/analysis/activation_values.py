"""What goes into a model's activations and comes out of them."""

from typing import Any

import numpy as np
from keras import ops

from gaaf_keras.analysis.model_activations import (
    PRE_ACTIVATION,
    ObservedActivation,
    observed_activations,
    observing,
)
from gaaf_keras.analysis.stateless import isolated, to_numpy


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
