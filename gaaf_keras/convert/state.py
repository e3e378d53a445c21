"""The state of a model, given to a copy of it."""

import functools
import tempfile
import warnings
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np

from gaaf_keras.convert.graph import is_graph, is_wrapper
from gaaf_keras.forms import written_as
from gaaf_keras.layers import is_activation


def copy_state(model: Any, copy: Any, layers: list[tuple[Any, Any]]) -> None:
    """Gives a copy the variables, compilation and optimizer state of a model.

    Args:
        model: The original.
        copy: Its copy.
        layers: Pairs of a layer of the model and its copy.
    """
    originals = {id(variable) for variable in model.variables}
    if any(id(variable) in originals for variable in copy.variables):
        raise ValueError(
            "A layer's `get_config` returns a layer as it is, which the copy would "
            "share with the model. Have it return "
            "`keras.saving.serialize_keras_object(layer)`."
        )
    if len(model.weights) < len(copy.weights):
        _refuse_shared(layers)
    _copy_variables(model.weights, copy.weights)
    for old, new in layers:
        _copy_random_state(old, new)
        for part, its_copy in _parts(old, new):
            # Without those of its variables, which may differ and are there already.
            its_copy._trainable = part._trainable
            if hasattr(part, "lora_alpha"):  # Keras makes layers without it
                its_copy.lora_alpha = part.lora_alpha
            if hasattr(part, "finalize_state"):
                _copy_adapted_state(part, its_copy)
    if model.compiled:
        _copy_compilation(model, copy)
    for old, new in layers:
        if is_graph(old):
            _copy_attributes(old, new)


def _refuse_shared(layers: list[tuple[Any, Any]]) -> None:
    """Raises if layers share a part that each of their copies has for itself."""
    seen = set()
    for host, _ in layers:
        if not isinstance(host, keras.layers.Layer) or is_graph(host):
            continue
        for part in [] if is_wrapper(host) else host._flatten_layers():
            if id(part) in seen and part.weights and not is_activation(part):
                raise ValueError(
                    f"Layer {part.name!r} ({type(part).__name__}) is a part of layer "
                    f"{host.name!r} and is used elsewhere too. A copy, made from their "
                    "configurations, would have one in each place. Use it in one, or "
                    "put GAAF layers in the model by hand."
                )
            seen.add(id(part))


def _copy_variables(old: list[Any], new: list[Any]) -> None:
    """Gives variables the values and trainable flags of others."""
    if [tuple(v.shape) for v in old] != [tuple(v.shape) for v in new]:
        raise ValueError(
            "The model's variables are not those of a copy made from its "
            "configuration. If the model was not built by `keras.Input` or "
            f"`model.build`, do that first. Its variables: {[v.path for v in old]}; "
            f"the copy's: {[v.path for v in new]}"
        )
    for source, target in zip(old, new, strict=True):
        # A copy: JAX and PyTorch would share the memory, and JAX free it in training.
        target.assign(keras.ops.copy(source))
        if target.trainable != source.trainable:
            target.trainable = source.trainable


def _copy_random_state(old: Any, new: Any) -> None:
    states = [_random_states(layer) for layer in (old, new)]
    # A dropout layer whose rate was set to 0 has one, but its copy needs none.
    if len(states[0]) == len(states[1]):
        _copy_variables(*states)


def _random_states(layer: Any) -> list[Any]:
    if not isinstance(layer, keras.layers.Layer):
        return []
    weights = {id(weight) for weight in layer.weights}
    with written_as("plain"):  # in which strengths are no variables
        variables = layer.variables
    return [variable for variable in variables if id(variable) not in weights]


def _parts(old: Any, new: Any) -> Iterator[tuple[Any, Any]]:
    """Yields pairs of the layers in a layer, itself among them, but for activations."""
    if not isinstance(old, keras.layers.Layer) or type(old) is not type(new):
        return
    yield old, new
    inside = [
        [
            part
            for part in layer._flatten_layers(include_self=False, recursive=False)
            if not is_activation(part)
        ]
        for layer in (old, new)
    ]
    if len(inside[0]) == len(inside[1]):
        for part, its_copy in zip(*inside, strict=True):
            yield from _parts(part, its_copy)


def _copy_adapted_state(old: Any, new: Any) -> None:
    """Copies what a preprocessing layer has learned beside its weights."""
    if not (old.built and new.built):
        return
    variables: dict[str, Any] = {}
    old.save_own_variables(variables)
    new.load_own_variables(variables)
    if hasattr(old, "get_vocabulary") and old.get_vocabulary(
        include_special_tokens=False
    ):
        with tempfile.TemporaryDirectory() as folder:
            old.save_assets(folder)
            new.load_assets(folder)


def _copy_compilation(model: Any, copy: Any) -> None:
    """Compiles a copy as its original is, with metrics and optimizer of its own.

    Not from the serialised configuration, which Keras does not read back if a loss is a
    function that is not registered.
    """

    def own(value: Any) -> Any:
        stateful = isinstance(value, (keras.Metric, keras.Optimizer))
        return type(value).from_config(value.get_config()) if stateful else value

    try:
        copy.compile(**keras.tree.map_structure(own, model._compile_config.config))
    except Exception as error:  # of compile methods and metrics of the user's own
        warnings.warn(
            f"The copy of model {model.name!r} is not compiled, compile it yourself: "
            f"{error}",
            stacklevel=4,
        )
        return
    if model.optimizer is None:
        return
    _copy_exclusions(model, copy)
    if not model.optimizer.built:
        return
    copy.optimizer.build(copy.trainable_variables)
    copies = {id(old): new for old, new in _weights(model, copy)}
    known = [copies.get(id(old)) for old in model.optimizer._trainable_variables]
    if [id(new) for new in known] != [id(new) for new in copy.trainable_variables]:
        warnings.warn(
            f"The copy of model {model.name!r} starts with a new optimizer state, "
            "since layers were made trainable or not after `compile`.",
            stacklevel=4,
        )
        return
    _copy_variables(model.optimizer.variables, copy.optimizer.variables)


def _copy_exclusions(model: Any, copy: Any) -> None:
    """Copies what weight decay leaves alone, no part of a configuration."""
    # That of a model that scales its losses has another inside.
    old, new = (
        getattr(each.optimizer, "inner_optimizer", each.optimizer)
        for each in (model, copy)
    )
    excluded = getattr(old, "_exclude_from_weight_decay", ())
    pattern = getattr(old, "_exclude_from_weight_decay_pattern", None)
    if excluded or pattern is not None:
        new.exclude_from_weight_decay(
            var_list=[
                its_copy
                for variable, its_copy in _weights(model, copy)
                if old._var_key(variable) in excluded
            ],
            var_names=None if pattern is None else [pattern.pattern],
        )


def _weights(model: Any, copy: Any) -> Iterator[tuple[Any, Any]]:
    return zip(model.weights, copy.weights, strict=True)


def _copy_attributes(model: Any, copy: Any) -> None:
    """Gives a copy the data that the user, or a class of the user's, keeps in a model.

    What is no data may belong to the model, as a layer or a method of it does. The
    copy's constructor made such things anew, or they are missing.
    """
    missing, in_keras = [], _names_in_keras()
    for name, value in vars(model).items():
        if name.startswith("_") or name in in_keras:
            continue
        if _is_data(value):
            setattr(copy, name, _own(value))
        elif name not in vars(copy) and not type(value).__module__.startswith("keras."):
            missing.append(name)
    if missing:
        warnings.warn(
            f"The copy of model {model.name!r} has no {', '.join(missing)}: attributes "
            "that are not numbers, strings or the like are not copied. Set them in it.",
            stacklevel=4,
        )


@functools.cache
def _names_in_keras() -> set[str]:
    """Returns the names of attributes that Keras gives to every model."""
    tensor = keras.Input((1,), name="reference")
    return {*vars(keras.Model(tensor, tensor, name="reference")), "stop_training"}


def _is_data(value: Any) -> bool:
    if isinstance(value, dict):
        return all(map(_is_data, value.values()))
    if isinstance(value, (list, tuple, set)):
        return all(map(_is_data, value))
    return isinstance(value, _DATA)


_DATA = (bool, int, float, complex, str, bytes, np.generic, np.ndarray, type(None))


def _own(data: Any) -> Any:
    """Returns data of which changes do not show in what is given."""
    if isinstance(data, dict):
        return {key: _own(value) for key, value in data.items()}
    if isinstance(data, list):
        return [_own(value) for value in data]
    return data.copy() if isinstance(data, (set, np.ndarray)) else data
