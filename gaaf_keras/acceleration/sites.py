"""The places where a model applies activations."""

import dataclasses
import functools
import re
from collections.abc import Iterator
from typing import Any

import keras

from gaaf_keras._accelerated.activation import AcceleratedActivation
from gaaf_keras._accelerated.layer import AcceleratedLayer
from gaaf_keras._core.exchange import TuplePlace
from gaaf_keras._core.kinds import (
    graph_operations,
    is_activation_operation,
    name_of,
)
from gaaf_keras._core.known_activations import ACTIVATIONS
from gaaf_keras._core.types import Activation
from gaaf_keras.acceleration.recognition import recognised
from gaaf_keras.layers import GAAF, accelerated_by

# Layers keep activations under these names; under others only functions named like one.
_LIKE_AN_ACTIVATION = re.compile(
    r"(^|_)(actv?s?|activations?|non_?linear(ity|ities)?)(_|\d|$)"
    r"(?!.*(constraint|dropout|initializer|quantizer|regularizer|scale)$)"
)
_ACCELERATED = (AcceleratedLayer, AcceleratedActivation)
# Without "linear", a name with many other uses.
_NAMES = {
    name
    for known in ACTIVATIONS
    if known.function is not None and known.name != "linear"
    for name in (known.name, *known.other_names)
}
_SQUASHED = {name.replace("_", "") for name in _NAMES}
_LONG = 1000  # lists this long are data
_NO_FUNCTIONS = (
    *(keras.Operation, keras.Initializer, keras.Loss, keras.Metric, keras.Regularizer),
    *(keras.constraints.Constraint, type),
)
RECURRENT = (
    keras.layers.RNN,
    keras.layers.GRUCell,
    keras.layers.LSTMCell,
    keras.layers.SimpleRNNCell,
    keras.layers.StackedRNNCells,
)


@dataclasses.dataclass(frozen=True)
class Site:
    """A place in a model where an activation is applied.

    Attributes:
        holders: The layers that contain it, from the outermost model to the innermost:
            the activation layer or operation itself, or the layer that keeps the
            activation in an attribute.
        argument: The attribute; None for an activation layer or operation.
        container: The object that holds the activation, or the method that applies it.
        key: The place in the container.
        applied: What is called there.
    """

    holders: tuple[keras.Operation, ...]
    argument: str | None
    container: Any
    key: Any
    applied: Any

    @property
    def path(self) -> str:
        """The names of the holders below the outermost model, joined by slashes."""
        return "/".join(holder.name for holder in self.holders[1:] or self.holders)

    @property
    def accelerated(self) -> AcceleratedLayer | AcceleratedActivation | None:
        """What accelerates the activation; None if it is plain."""
        if self.argument is None and isinstance(self.holders[-1], _ACCELERATED):
            return self.holders[-1]
        return accelerated_by(self.applied)

    @functools.cached_property
    def activation(self) -> Activation | None:
        """The activation, of Keras if possible; None if it cannot be accelerated.

        For a layer or operation, it is the layer itself, whose parameters matter.
        """
        accelerated, holder = self.accelerated, self.holders[-1]
        if self.is_module:
            return None
        if accelerated is not None:
            return accelerated.activation
        if isinstance(self.applied, str):
            return self.applied
        return holder if self.is_method else recognised(self.applied)

    @property
    def is_method(self) -> bool:
        """Whether a layer or operation itself applies it, not an attribute of one."""
        return self.argument is None and self.key == "call"

    @property
    def is_module(self) -> bool:
        """Whether a `torch.nn` module applies it, which may write into its input."""
        return isinstance(self.holders[-1], keras.layers.TorchModuleWrapper)

    @property
    def is_recurrent(self) -> bool:
        """Whether it is applied again at every time step."""
        return any(isinstance(holder, RECURRENT) for holder in self.holders)


def sites_of(model: keras.layers.Layer) -> list[Site]:
    """Returns all places where a model, or a layer, applies an activation.

    Each once, by the first path to it. Not those in the code of a `call` method.
    """
    seen: set[int] = set()

    def inside(layer: Any, holders: tuple[Any, ...]) -> Iterator[Site]:
        if id(layer) in seen:
            return
        seen.add(id(layer))
        if isinstance(layer, _ACCELERATED) or (
            is_activation_operation(layer)
            and type(layer) is not keras.layers.Activation
        ):
            yield Site(holders, None, vars(layer), "call", layer.call)
            return
        if isinstance(layer, keras.layers.TorchModuleWrapper):
            if type(layer.module).__name__.lower() in _SQUASHED:
                yield Site(holders, None, vars(layer), "call", layer.module)
            return
        yield from _in_attributes(layer, holders)
        for part in _parts(layer):
            # A recurrent layer stands for its cell, whose name is always the same.
            is_cell = isinstance(layer, keras.layers.RNN) and part is layer.cell
            yield from inside(part, holders if is_cell else (*holders, part))

    return list(inside(model, (model,)))


def _parts(layer: Any) -> list[Any]:
    if not isinstance(layer, keras.layers.Layer):
        return []
    return [
        *graph_operations(layer),
        *(
            part
            for part in layer._flatten_layers(include_self=False, recursive=False)
            if isinstance(part, GAAF) or not isinstance(part, AcceleratedLayer)
        ),
    ]


def _in_attributes(layer: Any, holders: tuple[Any, ...]) -> Iterator[Site]:
    attributes = vars(layer)
    found = [
        Site(holders, argument, container, key, value)
        for name in list(attributes)
        if name not in _names_in_keras() and not name.startswith("__")
        for argument, container, key, value in _values(attributes, name, name)
        if _applies(argument, value)
    ]
    if type(layer) is keras.layers.Activation:
        found = [dataclasses.replace(site, argument=None) for site in found]
    functions = {name_of(site.activation) for site in found if callable(site.applied)}
    for site in found:
        # A name next to the function of that name is for the configuration.
        if callable(site.applied) or name_of(site.applied) not in functions:
            yield site


def _values(
    container: Any, key: Any, name: str, depth: int = 2
) -> Iterator[tuple[str, Any, Any, Any]]:
    """Yields the values in an attribute, also inside lists and dictionaries."""
    value = container[key]
    if not isinstance(value, (dict, list, tuple)):
        yield name, container, key, value
    elif depth and len(value) < _LONG:
        own = TuplePlace(container, key) if isinstance(value, tuple) else value
        for inner in list(value) if isinstance(value, dict) else range(len(value)):
            yield from _values(own, inner, f"{name}/{inner}", depth - 1)


@functools.cache
def _names_in_keras() -> set[str]:
    """Returns the names of attributes that Keras gives to every layer and model."""
    inputs = keras.Input((1,), name="inputs")
    layer = keras.layers.Identity(name="layer")
    return {*vars(keras.Model(inputs, layer(inputs), name="model")), *vars(layer)}


def _applies(argument: str, value: Any) -> bool:
    """Whether an attribute is an activation that the layer applies."""
    if accelerated_by(value) is not None:
        return True
    attribute = argument.partition("/")[0]
    like_one = (
        _LIKE_AN_ACTIVATION.search(attribute) is not None or attribute.lower() in _NAMES
    )
    if isinstance(value, str):
        return like_one and value.lower() in _NAMES
    if not callable(value) or isinstance(value, _NO_FUNCTIONS):
        return False
    name = getattr(value, "__name__", "").replace("_", "").lower()
    return like_one or name in _SQUASHED
