"""What is accelerated in a model, and the model without acceleration."""

import random
import tempfile
import types
import warnings
from collections.abc import Iterator
from typing import Any

import keras

from gaaf_keras._accelerated.activation import AcceleratedActivation
from gaaf_keras._core.kinds import name_of
from gaaf_keras._core.types import Config
from gaaf_keras.acceleration.in_place import InPlace
from gaaf_keras.acceleration.sites import sites_of
from gaaf_keras.activations import FUNCTION_FORMS
from gaaf_keras.layers import GAAF, GAAFReLU, GAAFTanh

_FUNCTIONS = {
    keras.saving.get_registered_name(function): name
    for function, name in FUNCTION_FORMS.items()
}
_OBJECTS = [
    keras.saving.get_registered_name(kind)
    for kind in (GAAF, GAAFReLU, GAAFTanh, AcceleratedActivation)
]
_LAYER_ARGUMENTS = ("name", "trainable", "dtype", "activity_regularizer")
_NODE_KEYS = ("name", "inbound_nodes", "build_config")


def described(model: keras.Model) -> Iterator[dict[str, Any]]:
    """Yields the description of each accelerated activation for exported files."""
    for site in sites_of(model):
        accelerated = site.accelerated
        if accelerated is not None:
            yield {
                "layer": site.holders[-1].name,
                "activation": name_of(accelerated.activation),
                "shape_function": str(accelerated.shape_function),
                "strength": accelerated.strength,
                "unit_gain": accelerated.unit_gain,
                "frequency": accelerated.frequency,
            }


def plain_model(model: keras.Model) -> keras.Model:
    """Returns a model that can be saved and loaded without this package.

    This is the model itself if its configuration has nothing of this package; otherwise
    a new model with the same names, weights, compilation and optimizer state, and base
    activations in place of accelerated ones.
    """
    _refuse_lambdas(model)
    config = keras.saving.serialize_keras_object(model)
    config.pop("compile_config", None)
    plain, plain_config = model, _plain(config)
    if plain_config != config:
        random_state = random.getstate()  # Keras takes the seeds of new layers from it
        try:
            with keras.saving.custom_object_scope(_own_objects(model)):
                plain = keras.saving.deserialize_keras_object(
                    plain_config, safe_mode=False
                )
                plain.set_weights(model.get_weights())
                _copy_lookups(model, plain)
                _copy_compilation(model, plain)
        except Exception as error:  # of any kind, in layers of the user's own
            raise ValueError(
                f"Model {model.name!r} cannot be rebuilt from its configuration with "
                "plain activations. Give your own layers a `get_config` with all their "
                "arguments, use another format, or keep the accelerated activations "
                f"with `model.save`. Error: {error}"
            ) from error
        finally:
            random.setstate(random_state)
    _refuse_hidden(plain)
    return plain


def _refuse_lambdas(model: keras.Model) -> None:
    """Raises if Keras would write an activation that it cannot read."""
    for site in sites_of(model):
        function = site.applied
        if isinstance(site.accelerated, (GAAF, AcceleratedActivation)):
            function = site.accelerated.activation
        elif not type(site.holders[-1]).__module__.startswith("keras."):
            continue  # its `get_config` may keep a lambda
        if getattr(function, "__name__", "") == "<lambda>":
            raise ValueError(
                f"Layer {site.path!r} has a lambda as its activation, which a "
                "'.keras' file cannot keep. Use a named function, or another format."
            )


def _refuse_hidden(model: keras.Model) -> None:
    """Raises if a layer or model creates an accelerated activation in its own code."""
    for site in sites_of(model):
        if site.accelerated is None or isinstance(site.accelerated, InPlace):
            continue
        is_layer = site.argument is None and len(site.holders) > 1
        holder = site.holders[-2 if is_layer else -1]
        raise ValueError(
            f"Layer {holder.name!r} ({type(holder).__name__}) has an accelerated "
            f"activation that the configuration of model {model.name!r} does not show, "
            "so it cannot be replaced by a plain one. Pass the activation as an "
            "argument to the class, and return it from `get_config`; or use another "
            "format."
        )


def _plain(value: Any, key: str = "") -> Any:
    """Returns the value of a key in a configuration, with plain activations."""
    if isinstance(value, (list, tuple)):
        return type(value)(_plain(item, key) for item in value)
    if not isinstance(value, dict):
        return value
    name, kind = value.get("config"), value.get("registered_name")
    if kind not in _OBJECTS:
        if value.get("class_name") == "function" and name in _FUNCTIONS:
            return _function(_FUNCTIONS[name])
        return {key: _plain(part, key) for key, part in value.items()}
    config = _plain(value["config"])
    default = "relu" if kind == keras.saving.get_registered_name(GAAFReLU) else "tanh"
    base = config.get("activation", default)
    if isinstance(base, str):
        base = _function(base)
    is_operation = value["class_name"] == AcceleratedActivation.__name__
    if "inbound_nodes" not in value and (is_operation or key.endswith("activation")):
        return base
    kept = {name: config[name] for name in _LAYER_ARGUMENTS if name in config}
    layer = base
    if not (isinstance(base["config"], dict) and "trainable" in base["config"]):
        layer = {"module": "keras.layers", "class_name": "Activation", "config": {}}
        kept["activation"] = base
    node = {name: value[name] for name in _NODE_KEYS if name in value}
    return {**layer, **node, "config": {**layer["config"], **kept}}


def _function(name: str) -> Config:
    return {
        "module": "builtins",
        "class_name": "function",
        "config": name,
        "registered_name": "function",
    }


def _own_objects(model: keras.Model) -> dict[str, Any]:
    """Returns the user's classes and functions that a model is made of.

    Without those that share a name: better not found than confused.
    """
    layers = model._flatten_layers()
    used = [value for layer in layers for value in vars(layer).values()]
    if model.compiled:
        used += keras.tree.flatten(list(model._compile_config.config.values()))
    objects: list[Any] = [type(layer) for layer in layers]
    objects += [value for value in used if isinstance(value, types.FunctionType)]
    by_name: dict[str, set[Any]] = {}
    for item in objects:
        if not item.__module__.startswith("keras."):
            by_name.setdefault(item.__name__, set()).add(item)
    return {name: items.pop() for name, items in by_name.items() if len(items) == 1}


def _copy_lookups(model: keras.Model, plain: keras.Model) -> None:
    """Copies what preprocessing layers have learned besides their weights."""
    layers = [
        [layer for layer in each._flatten_layers() if hasattr(layer, "finalize_state")]
        for each in (model, plain)
    ]
    for old, new in zip(*layers, strict=True):
        variables: dict[str, Any] = {}
        old.save_own_variables(variables)
        new.load_own_variables(variables)
        if hasattr(old, "get_vocabulary") and old.get_vocabulary(
            include_special_tokens=False
        ):
            with tempfile.TemporaryDirectory() as folder:
                old.save_assets(folder)
                new.load_assets(folder)


def _copy_compilation(model: keras.Model, plain: keras.Model) -> None:
    if not model.compiled:
        return
    plain.dtype_policy = model.dtype_policy  # `compile` scales the loss by it
    try:
        plain.compile_from_config(model.get_compile_config())
    except Exception as error:  # of losses and metrics of the user's own
        warnings.warn(
            f"The model is saved without its compilation: {error}", stacklevel=4
        )
        return
    if model.optimizer.built:
        state: dict[str, Any] = {}
        model.optimizer.save_own_variables(state)
        plain.optimizer.load_own_variables(state)
