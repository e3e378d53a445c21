"""Copies of a model in which some activations are others."""

import contextlib
import dataclasses
import random
import types
from collections.abc import Callable, Iterator
from typing import Any

import keras

from gaaf_keras.accelerated import AcceleratedActivation
from gaaf_keras.convert.graph import (
    config_of,
    is_graph,
    is_wrapper,
    rebuilt,
    require_graph,
    same_again,
)
from gaaf_keras.convert.state import copy_state
from gaaf_keras.kinds import NOT_ELEMENTWISE, function_of, name_of
from gaaf_keras.layers import GAAF, accelerated_layers, is_activation


@dataclasses.dataclass(frozen=True)
class Site:
    """A place in a model where an activation is applied.

    Attributes:
        holders: The layers it is in, from the outermost model to the innermost layer:
            the activation layer itself, or the layer that takes the activation as an
            argument.
        argument: The name of that argument, None for an activation layer.
        activation: The activation function, layer or operation.
    """

    holders: tuple[Any, ...]
    argument: str | None
    activation: Any

    @property
    def path(self) -> str:
        """The names of the holders below the outermost model, joined by slashes."""
        return "/".join(holder.name for holder in self.holders[1:])


# Returns what to put in an activation's place, or None to leave it. In a layer's
# argument that is a callable, elsewhere a layer or operation.
Exchange = Callable[[Site], Any]


def copy_model(model: Any, exchange: Exchange) -> tuple[Any, list[tuple[Site, Any]]]:
    """Returns a copy of a model, with activations exchanged.

    Names, weights, random states, trainable flags, compilation and optimizer state
    are those of the model; layers that it shares are shared in the copy.

    Args:
        model: A Functional or Sequential model.
        exchange: Says for an activation what to put there.

    Returns:
        The copy, and all activations with what was put there.

    Raises:
        TypeError: If `model` is of another kind, here or inside.
        ValueError: If a layer cannot be made from its configuration, or makes
            activations that should be exchanged where its configuration does not show.
    """
    require_graph(model)
    strategy = getattr(model, "distribute_strategy", None)
    scope = contextlib.nullcontext() if strategy is None else strategy.scope()
    random_state = random.getstate()  # from which Keras takes seeds of new layers
    try:
        with scope, keras.saving.custom_object_scope(_objects_by_name(model)):
            copier = _Copier(exchange)
            copy = copier.copy(model, ())
            copier.refuse_hidden()
            copy_state(model, copy, copier.copies)
    finally:
        random.setstate(random_state)
    return copy, copier.exchanges


class _Copier:
    """Copies layers and nested models, each once."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._copies: dict[int, tuple[Any, Any]] = {}
        self._converted: list[tuple[tuple[Any, ...], Any, set[str]]] = []
        self._for_names: list[tuple[Any, str, Any]] = []
        self.exchanges: list[tuple[Site, Any]] = []

    @property
    def copies(self) -> list[tuple[Any, Any]]:
        """Pairs of original and copy."""
        return list(self._copies.values())

    def copy(self, operation: Any, holders: tuple[Any, ...]) -> Any:
        """Returns the copy of a layer, model or operation, made when first asked."""
        if id(operation) not in self._copies:
            # The original is kept too, so that no other object can get its id.
            copy = self._new(operation, (*holders, operation))
            self._copies[id(operation)] = (operation, copy)
        return self._copies[id(operation)][1]

    def refuse_hidden(self) -> None:
        """Raises if a copied layer still has an activation that should not be there.

        Can be said only when all layers are built.
        """
        for layer, key, activation in self._for_names:
            # It may compare the name, and then does something else with a layer.
            if not activation._called:
                raise _not_exchanged(layer, key, "is not seen to apply")
        for holders, copy, left_alone in self._converted:
            layer = holders[-1]
            for activation in _plain_activations(copy):
                # Softmax, as in attention, is not what a name of the layer asks for.
                if name_of(activation) in (*left_alone, *NOT_ELEMENTWISE):
                    continue
                if self._exchange(Site(holders, "activation", activation)) is not None:
                    raise ValueError(
                        f"Layer {layer.name!r} ({type(layer).__name__}) makes an "
                        f"activation ({name_of(activation)}) that its configuration "
                        "does not show, so it cannot be exchanged. Give the class an "
                        "`activation` argument that is part of `get_config`, or leave "
                        f"the layer out: `layers=lambda layer: layer.name != "
                        f"{layer.name!r}`."
                    )

    def _new(self, operation: Any, holders: tuple[Any, ...]) -> Any:
        if is_graph(operation):
            return rebuilt(operation, lambda part: self.copy(part, holders))
        if is_activation(operation):
            new = self._exchanged(Site(holders, None, operation))
            return same_again(operation) if new is None else new
        if isinstance(operation, keras.Model):
            self._refuse_if_wanted(operation, holders)
        is_lambda = isinstance(operation, keras.layers.Lambda)
        if is_lambda or not isinstance(operation, keras.layers.Layer):
            return same_again(operation)
        return self._new_layer(operation, holders)

    def _refuse_if_wanted(self, model: Any, holders: tuple[Any, ...]) -> None:
        """Raises if activations in a nested model would be exchanged but not found."""
        site = Site(holders, "activation", keras.activations.relu)
        if self._exchange(site) is not None:
            raise TypeError(
                f"Model {model.name!r}, a part of the model, is neither Functional nor "
                f"Sequential but a class of its own ({type(model).__name__}), whose "
                "activations cannot be found. Put GAAF layers in its constructor, or "
                f"leave it out: `layers=lambda layer: layer.name != {model.name!r}`."
            )

    def _exchanged(self, site: Site) -> Any:
        new = self._exchange(site)
        self.exchanges.append((site, new))
        return new

    def _new_layer(self, layer: Any, holders: tuple[Any, ...]) -> Any:
        config = config_of(layer)
        before = len(self.exchanges)
        expected = {}
        for key, value in config.items():
            if key == "activation" or key.endswith("_activation"):
                activation = _activation_in(layer, key, value)
                if activation is None:
                    continue
                new = self._new_argument(activation, key, holders)
                if new is not None:
                    config[key] = expected[key] = new
                elif _read(value) is not activation:
                    # By itself and not by its name, which another has too.
                    config[key] = activation
            elif key == "layer" and is_wrapper(layer):
                # The very layer, which may be used without the wrapper too.
                config[key] = self.copy(layer.layer, holders)
            else:
                config[key] = self._walk(value, holders)
        copy = _made(layer, config, expected)
        for key, activation in expected.items():
            if not _has(copy, key, activation):
                raise _not_exchanged(layer, key, "does not keep")
            if isinstance(getattr(layer, key, None), str):
                self._for_names.append((layer, key, activation))
        left_alone = {
            name_of(site.activation)
            for site, new in self.exchanges[before:]
            if new is None
        }
        self._converted.append((holders, copy, left_alone))
        return copy

    def _new_argument(self, activation: Any, key: str, holders: tuple[Any, ...]) -> Any:
        """Returns what takes the place of an `activation=`, None for no change."""
        if not isinstance(activation, keras.Operation):
            return self._exchanged(Site(holders, key, activation))
        if not isinstance(activation, (GAAF, AcceleratedActivation)):
            return self.copy(activation, holders)
        if id(activation) not in self._copies:  # several layers may have the same
            new = self._exchanged(Site(holders, key, activation))
            new = same_again(activation) if new is None else new
            self._copies[id(activation)] = (activation, new)
        return self._copies[id(activation)][1]

    def _walk(self, value: Any, holders: tuple[Any, ...]) -> Any:
        """Copies the layers that another layer's configuration contains."""
        if isinstance(value, (list, tuple)):
            return type(value)(self._walk(item, holders) for item in value)
        if not isinstance(value, dict):
            return value
        if _describes_layer(value):
            layer = keras.saving.deserialize_keras_object(value, safe_mode=False)
            return keras.saving.serialize_keras_object(self.copy(layer, holders))
        return {key: self._walk(item, holders) for key, item in value.items()}


def _plain_activations(layer: Any) -> Iterator[Any]:
    """Yields the activations in a layer that are not in a GAAF layer."""
    inside_gaaf = {
        id(part)
        for gaaf in accelerated_layers(layer)
        for part in gaaf._flatten_layers(include_self=False)
    }
    for part in layer._flatten_layers():
        if id(part) in inside_gaaf:
            continue
        if is_activation(part):
            yield part
        else:
            for value in keras.tree.flatten(list(vars(part).values())):
                name = getattr(value, "__name__", "")
                ours = (
                    getattr(of, name, None) for of in (keras.activations, keras.ops)
                )
                is_function = any(value is function for function in ours)
                if is_function and function_of(value).__module__.startswith("keras."):
                    yield value


def _activation_in(layer: Any, key: str, value: Any) -> Any:
    """Returns the activation that a layer has under a key of its configuration."""
    activation = getattr(layer, key, None)
    if callable(activation):
        return activation
    return None if value is None else _read(value)


def _read(value: Any) -> Any:
    """Returns the activation that a value in a configuration stands for."""
    try:
        return keras.activations.get(value)
    except (TypeError, ValueError):
        return None  # no activation, in spite of its name


def _made(layer: Any, config: dict[str, Any], exchanged: dict[str, Any]) -> Any:
    """Returns a layer like another, with activations exchanged in its configuration."""
    try:
        return same_again(layer, config)
    except ValueError as error:
        if not exchanged:
            raise
        same_again(layer)  # raises if the activations are not to blame
        raise _not_exchanged(layer, next(iter(exchanged)), "does not take") from error


def _not_exchanged(layer: Any, key: str, reason: str) -> ValueError:
    return ValueError(
        f"Layer {layer.name!r} ({type(layer).__name__}) {reason} what it is given as "
        f"`{key}` in place of its own, so that cannot be exchanged. Change the class "
        f"so that `{key}` may be any callable, or leave the layer out: "
        f"`layers=lambda layer: layer.name != {layer.name!r}`."
    )


def _has(layer: Any, key: str, activation: Any) -> bool:
    """Whether a layer took over an activation as it was given."""
    return (
        getattr(layer, key, None) is activation
        or any(part is activation for part in layer._flatten_layers())
        or layer.get_config().get(key) == keras.activations.serialize(activation)
    )


def _describes_layer(value: dict[str, Any]) -> bool:
    config = value.get("config")
    return (
        "class_name" in value
        and isinstance(config, dict)
        and "name" in config
        and ("trainable" in config or "layers" in config)
    )


def _objects_by_name(model: Any) -> dict[str, Any]:
    """Returns the classes and functions of the user's that a model is made of.

    Without those that share a name: better not found than taken for each other.
    """
    layers = model._flatten_layers()
    used = (value for layer in layers for value in vars(layer).values())
    objects: list[Any] = [type(layer) for layer in layers]
    objects += [value for value in used if isinstance(value, types.FunctionType)]
    by_name: dict[str, set[Any]] = {}
    for item in objects:
        if not item.__module__.startswith("keras."):
            by_name.setdefault(item.__name__, set()).add(item)
    return {name: items.pop() for name, items in by_name.items() if len(items) == 1}
