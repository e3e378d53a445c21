"""What goes into a model's activations and comes out of them, as the model runs."""

import collections
import contextlib
import dataclasses
import functools
from collections.abc import Callable, Iterator
from typing import Any

import keras

from gaaf_keras._accelerated.layer import AcceleratedLayer
from gaaf_keras._core.differentiation import derivative_by_differentiation
from gaaf_keras._core.exchange import Exchanges
from gaaf_keras._core.kinds import derivative_of, function_of, name_of
from gaaf_keras._core.known_activations import NOT_ELEMENTWISE
from gaaf_keras.layers import accelerated_by, is_activation

_MOVING_NODES = (keras.layers.Dense, keras.layers.EinsumDense, keras.layers.Reshape)
# They run their parts in loops, where single steps cannot be told apart.
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
        base: The base activation, without acceleration.
        is_accelerated: Whether the gradient is another than that of the base.
    """

    holder: Any
    applied: Any
    base: Any
    is_accelerated: bool

    @property
    def node_axis(self) -> int:
        """The axis of its values along which the nodes lie, if there are several.

        That of the layers before it that have a `data_format`, such as convolutions.
        """
        layer = self.holder
        while not hasattr(layer, "data_format"):
            below = _producers(layer)
            if len(below) != 1 or isinstance(layer, _MOVING_NODES):
                return -1
            layer = below[0]
        return 1 if layer.data_format == "channels_first" else -1

    @property
    def name(self) -> str:
        """Name of the layer that holds the activation."""
        return self.holder.name

    def derivative(self, x: Any) -> Any:
        """Returns phi'(x) of the base activation, elementwise."""
        known = derivative_of(self.base)
        return (
            derivative_by_differentiation(self.base)(x) if known is None else known(x)
        )

    def derivative_in_training(self, x: Any) -> Any:
        """Returns the derivative that the backward pass of training uses."""
        if not self.is_accelerated:
            return self.derivative(x)
        return derivative_by_differentiation(self.applied)(x)


def _producers(layer: Any) -> list[Any]:
    """Returns the layers whose outputs a layer takes, as far as that is known."""
    nodes = getattr(layer, "_inbound_nodes", [])
    tensors = nodes[0].input_tensors if nodes else []
    return [tensor._keras_history.operation for tensor in tensors]


def has_activations(model: Any) -> bool:
    """Whether a built model has activations that can be looked at."""
    return bool(_activations(model))


def observed_activations(model: Any) -> list[ObservedActivation]:
    """Returns the elementwise activations of a model, those of nested ones included.

    Left out are those inside of recurrent layers, `TimeDistributed` and
    `Bidirectional`, softmax and its like, and `"linear"`.

    Raises:
        TypeError: If `model` is none.
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
            "Argument `model` must have elementwise activations to look at: activation "
            "layers, or layers with `activation=`. Recurrent layers are not looked "
            f"into. Received: model={model.name!r}"
        )
    return activations


def _activations(model: Any) -> list[ObservedActivation]:
    found: dict[int, ObservedActivation] = {}
    taken: set[int] = set()  # arguments of others, however often they are met
    for holder in _parts(model):
        own = getattr(holder, "activation", None)
        if is_activation(holder):
            found[id(holder)] = ObservedActivation(holder, holder, *base_of(holder))
        elif callable(own):
            found[id(holder)] = ObservedActivation(holder, own, *base_of(own))
            taken.add(id(own))
    return [
        activation
        for key, activation in found.items()
        if key not in taken
        and name_of(activation.base) not in (*NOT_ELEMENTWISE, "linear")
    ]


def base_of(activation: Any) -> tuple[Any, bool]:
    """Returns the base of an activation, and whether that is another: accelerated."""
    accelerated = accelerated_by(getattr(activation, "call", None))  # in place
    if isinstance(activation, keras.layers.Activation):
        activation = activation.activation
    if isinstance(activation, AcceleratedLayer):
        accelerated = activation
    accelerated = accelerated or accelerated_by(activation)
    if accelerated is not None:
        return function_of(accelerated.activation), True
    return function_of(activation), False


def _parts(layer: Any) -> Iterator[Any]:
    """Yields a layer and all layers and operations inside of it, each once."""
    seen: set[int] = set()
    pending = [layer]
    while pending:
        part = pending.pop(0)
        if id(part) in seen or isinstance(part, _CLOSED):
            continue
        seen.add(id(part))
        yield part
        if isinstance(part, keras.layers.Layer) and not is_activation(part):
            pending += part._flatten_layers(include_self=False, recursive=False)
            pending += [
                operation
                for operation in getattr(part, "operations", ())
                if not isinstance(operation, keras.layers.Layer)
            ]


def numbered(name: str, times: collections.Counter[str]) -> str:
    """Returns `name`, `name (2)`, ... the more often a name has been there.

    Args:
        name: The name that is there once more.
        times: How often each has been there; is brought up to date.
    """
    times[name] += 1
    return f"{name} ({times[name]})" if times[name] > 1 else name


# Called with the name of an activation, what the tensor is and the tensor; returns
# what the model goes on with.
Observer = Callable[[str, str, Any], Any]
PRE_ACTIVATION, OUTPUT = "pre-activation", "output"


@contextlib.contextmanager
def observing(
    activations: list[ObservedActivation], observer: Observer
) -> Iterator[dict[str, ObservedActivation]]:
    """Shows an observer all pre-activations and outputs while a model is called.

    Gives a dictionary of the activations by name, which fills as the model computes.

    Args:
        activations: Those of the model that are to be looked at.
        observer: Is called in the order in which the model computes. An activation
            that is applied several times, and another of the same name, have the names
            `name`, `name (2)`, ...
    """
    times: collections.Counter[str] = collections.Counter()
    by_label: dict[str, ObservedActivation] = {}

    def observed(
        activation: ObservedActivation, apply: Callable[..., Any]
    ) -> Callable[..., Any]:
        @functools.wraps(apply)
        def call(x: Any, *args: Any, **kwargs: Any) -> Any:
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
