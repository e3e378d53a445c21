"""The activations in a model."""

import collections
import dataclasses
from collections.abc import Iterator
from typing import Any

import keras

from gaaf_keras._accelerated.layer import AcceleratedLayer
from gaaf_keras._core.differentiation import derivative_by_differentiation
from gaaf_keras._core.kinds import (
    derivative_of,
    function_of,
    graph_operations,
    name_of,
)
from gaaf_keras._core.known_activations import NOT_ELEMENTWISE
from gaaf_keras._core.types import Function, Tensor
from gaaf_keras.layers import accelerated_by, is_activation

_MOVING_NODES = (keras.layers.Dense, keras.layers.EinsumDense, keras.layers.Reshape)
# They run their parts in loops, where the steps cannot be told apart.
_CLOSED = (
    keras.layers.RNN,
    keras.layers.Bidirectional,
    keras.layers.TimeDistributed,
)


@dataclasses.dataclass(frozen=True)
class ObservedActivation:
    """An activation in a model.

    Attributes:
        holder: The activation layer or operation, or the layer that was given the
            activation as an argument.
        applied: What is applied to the pre-activation: the activation itself, with its
            accelerated gradient if it has one.
        base: The plain activation, without acceleration.
        is_accelerated: Whether the gradient differs from that of the base.
    """

    holder: Any
    applied: Function
    base: Function
    is_accelerated: bool

    @classmethod
    def of(cls, applied: Any, holder: Any = None) -> "ObservedActivation":
        """Returns the activation that an object applies, alone or in a holder."""
        accelerated = accelerated_by(getattr(applied, "call", None))  # in place
        plain = applied
        if isinstance(plain, keras.layers.Activation):
            plain = plain.activation
        if isinstance(plain, AcceleratedLayer):
            accelerated = plain
        accelerated = accelerated or accelerated_by(plain)
        base: Any = function_of(
            plain if accelerated is None else accelerated.activation
        )
        holder = applied if holder is None else holder
        return cls(holder, applied, base, accelerated is not None)

    @property
    def node_axis(self) -> int:
        """The axis of its values along which the nodes lie.

        It follows the layers before it that have a `data_format`, such as convolutions.
        """
        layer = self.holder
        while not hasattr(layer, "data_format"):
            nodes = getattr(layer, "_inbound_nodes", [])
            tensors = nodes[0].input_tensors if nodes else []
            if len(tensors) != 1 or isinstance(layer, _MOVING_NODES):
                return -1
            layer = tensors[0]._keras_history.operation
        return 1 if layer.data_format == "channels_first" else -1

    @property
    def name(self) -> str:
        """Name of the layer that holds the activation."""
        return self.holder.name

    def derivative(self, x: Tensor) -> Tensor:
        """Returns phi'(x) of the plain activation, elementwise."""
        known = derivative_of(self.base) or derivative_by_differentiation(self.base)
        return known(x)

    def derivative_in_training(self, x: Tensor) -> Tensor:
        """Returns the derivative that the backward pass of training uses."""
        if not self.is_accelerated:
            return self.derivative(x)
        return derivative_by_differentiation(self.applied)(x)


def has_activations(model: keras.Model) -> bool:
    """Whether a built model has activations that can be analysed."""
    return bool(_activations(model))


def observed_activations(model: keras.Model) -> list[ObservedActivation]:
    """Returns the elementwise activations of a model, including nested models.

    This leaves out those inside recurrent layers, `TimeDistributed` and
    `Bidirectional`, softmax and the like, and `"linear"`.

    Raises:
        TypeError: If `model` is not a Keras model.
        ValueError: If it has no such activations, or is not built.
    """
    if not isinstance(model, keras.layers.Layer):
        raise TypeError(
            "Argument `model` must be a Keras model. "
            f"Received: {model!r} (of type {type(model).__name__})"
        )
    if not model.built:
        raise ValueError(
            "Argument `model` must be built: call it once on some inputs. "
            f"Received: model={model.name!r}, which has no weights yet"
        )
    activations = _activations(model)
    if not activations:
        raise ValueError(
            "Argument `model` must have elementwise activations to analyse: activation "
            "layers, or layers with `activation=`, outside recurrent layers. "
            f"Received: model={model.name!r}"
        )
    return activations


def _activations(model: keras.Model) -> list[ObservedActivation]:
    found: dict[int, ObservedActivation] = {}
    taken: set[int] = set()  # arguments of other layers, however often they occur
    for holder in _parts(model):
        own = getattr(holder, "activation", None)
        if is_activation(holder):
            found[id(holder)] = ObservedActivation.of(holder)
        elif callable(own):
            found[id(holder)] = ObservedActivation.of(own, holder)
            taken.add(id(own))
    return [
        activation
        for key, activation in found.items()
        if key not in taken
        and name_of(activation.base) not in (*NOT_ELEMENTWISE, "linear")
    ]


def _parts(model: keras.Model) -> Iterator[Any]:
    """Yields a model and all layers and operations inside it, each once."""
    seen: set[int] = set()
    pending: list[Any] = [model]
    while pending:
        part = pending.pop(0)
        if id(part) in seen or isinstance(part, _CLOSED):
            continue
        seen.add(id(part))
        yield part
        if isinstance(part, keras.layers.Layer) and not is_activation(part):
            pending += part._flatten_layers(include_self=False, recursive=False)
            pending += graph_operations(part)


def numbered(name: str, times: collections.Counter[str]) -> str:
    """Counts a name, and returns `name`, `name (2)`, ... for each time it occurs."""
    times[name] += 1
    return f"{name} ({times[name]})" if times[name] > 1 else name
