"""The layers that the outputs of a model come from."""

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import keras

from gaaf_keras._core.calls import Call, operations_in, producers, recorded_calls
from gaaf_keras._core.kinds import is_functional, name_of
from gaaf_keras._core.types import Tensor
from gaaf_keras.acceleration.sites import Site

_PASSING_ON = (
    *("ActivityRegularization", "Cast", "Dropout", "Identity"),
    *(f"SpatialDropout{rank}D" for rank in (1, 2, 3)),
    *("Concatenate", "ExpandDims", "Flatten", "Flip", "GetItem", "Moveaxis", "Permute"),
    *("Ravel", "RepeatVector", "Reshape", "Roll", "Split", "Squeeze", "Stack"),
    *("Swapaxes", "Transpose"),
    *(
        f"{name}{rank}D"
        for name in ("Cropping", "UpSampling", "ZeroPadding")
        for rank in (1, 2, 3)
    ),
)


def last_operations(
    model: keras.layers.Layer, sites: Sequence[Site] = ()
) -> list[keras.Operation | Site]:
    """Returns the layers, operations and sites whose values are the outputs of a model.

    For nested models and layers made of others, these are the ones inside; in place of
    layers that only rearrange their input, the ones before them. A value that the code
    of a `call` computes itself comes from that model or layer.
    """
    return list(_last_of(model, sites))


def _last_of(operation: Any, sites: Sequence[Site]) -> Iterator[Any]:
    if is_functional(operation):
        for tensor in keras.tree.flatten(operation.output):
            yield from _last_before(tensor, sites)
    elif isinstance(operation, keras.Sequential):
        for layer in reversed(operation.layers):
            if not _passes_on(layer):
                yield from _last_of(layer, sites)
                return
    elif called_parts(operation) != [operation]:
        for part in called_parts(operation):
            yield from _last_of(part, sites)
    elif computes_by_itself(operation):
        yield from _last_in_code(operation, sites)
    else:
        yield operation


def called_parts(model: Any) -> list[Any]:
    """Returns a model, or the layers in it if it has no `call`, like many GANs."""
    if type(model).call is not keras.Model.call:
        return [model]
    return model._flatten_layers(include_self=False, recursive=False)


def computes_by_itself(operation: object) -> bool:
    """Whether a user's model or layer is made of others."""
    return (
        isinstance(operation, keras.layers.Layer)
        and not type(operation).__module__.startswith("keras.")
        and bool(operation._flatten_layers(include_self=False))
    )


def _last_before(tensor: Tensor, sites: Sequence[Site]) -> Iterator[Any]:
    operation, node, index = tensor._keras_history
    if is_functional(operation):
        inside = keras.tree.flatten(operation.output)[index]
        yield from _last_before(inside, sites)
    elif _passes_on(operation):
        for below in operation._inbound_nodes[node].input_tensors:
            yield from _last_before(below, sites)
    else:
        yield from _last_of(operation, sites)


def _last_in_code(layer: Any, sites: Sequence[Site]) -> Iterator[Any]:
    """Looks at one symbolic call of a model or layer of a user's class."""
    for dtype in ("float32", "int32"):  # Keras keeps only the shapes of inputs
        calls = _symbolic_calls(layer, dtype, sites)
        if calls:
            for tensor in calls[-1].outputs:
                yield from _last_behind(calls, tensor)
            return
    yield layer


def _last_behind(calls: list[Call], tensor: Tensor) -> Iterator[Any]:
    found = producers(calls, tensor)
    # A layer that returns its input unchanged has the same tensor on both sides.
    for call in found:
        if not _passes_on(call.operation):
            yield call.operation
            return
    for below in found[0].inputs if found else []:
        yield from _last_behind(calls, below)


def _symbolic_calls(model: Any, dtype: str, sites: Sequence[Site]) -> list[Call]:
    """Returns the calls in a symbolic call of a model; empty if that fails."""
    config = model.get_build_config() if model.built else None
    if not config:
        return []
    shapes = config.get("shapes_dict", {"": config.get("input_shape")})

    def tensors(shape: Any) -> Any:
        if isinstance(shape, dict):
            return {key: tensors(value) for key, value in shape.items()}
        if all(size is None or isinstance(size, int) for size in shape):
            return keras.KerasTensor([size or 1 for size in shape], dtype=dtype)
        return [tensors(value) for value in shape]

    class Look(keras.layers.Layer):
        """Keras traces the code of this layer, and so that of the model."""

        def call(self, arguments: Any) -> Any:
            if "" in arguments:
                return model(arguments[""], training=False)
            return model(**arguments, training=False)

        def build(self, shapes: Any) -> None:
            pass

    arguments = {
        name.removesuffix("_shape"): tensors(shape) for name, shape in shapes.items()
    }
    functions = [
        site for site in sites if callable(site.applied) and not site.is_method
    ]
    try:
        with _unchanged(model), recorded_calls(model, functions) as calls:
            Look(name="look").compute_output_spec(arguments)
    except Exception:
        return []
    return calls


@contextlib.contextmanager
def _unchanged(model: Any) -> Iterator[None]:
    """Restores the attributes that the code of layers may change."""
    before = [
        (attributes, dict(attributes), list(attributes.get("_losses", ())))
        for attributes in (each.__dict__ for each in operations_in(model))
    ]
    try:
        yield
    finally:
        for attributes, kept, losses in before:
            for name in set(attributes) - set(kept):
                dict.__delitem__(attributes, name)
            dict.update(attributes, kept)
            if "_losses" in kept:
                kept["_losses"][:] = losses


def _passes_on(operation: keras.Operation) -> bool:
    """Whether a layer or operation returns its input, at most rearranged."""
    if type(operation) is keras.layers.Activation:
        return name_of(operation) == "linear"
    kind = type(operation)
    return kind.__module__.startswith("keras.") and kind.__name__ in _PASSING_ON
