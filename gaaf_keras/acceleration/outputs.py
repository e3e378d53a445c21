"""From which layers the outputs of a model come."""

from collections.abc import Iterator
from typing import Any

import keras

from gaaf_keras.calls import Call, producers, recorded_calls
from gaaf_keras.kinds import name_of

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


def is_functional(model: Any) -> bool:
    """Whether a model is made of layers connected by the functional API."""
    return isinstance(model, keras.Model) and hasattr(model, "operations")


def is_graph(model: Any) -> bool:
    """Whether a model's layers and their connections are known."""
    return isinstance(model, keras.Sequential) or is_functional(model)


def last_operations(model: Any) -> list[Any]:
    """Returns the layers and operations whose values are the outputs of a model.

    Of nested models those inside, and in place of layers that only rearrange their
    input those before them. Where that cannot be known, since the code of a model's own
    `call` has the last word, the model itself is among them.
    """
    return list(_last_in(model))


def _last_in(model: Any) -> Iterator[Any]:
    if is_functional(model):
        for tensor in keras.tree.flatten(model.output):
            yield from _last_before(tensor)
    elif isinstance(model, keras.Sequential):
        for layer in reversed(model.layers):
            if not _passes_on(layer):
                yield from _last_of(layer)
                return
    else:
        yield from _last_in_code(model)


def _last_of(operation: Any) -> Iterator[Any]:
    yield from (
        _last_in(operation) if isinstance(operation, keras.Model) else [operation]
    )


def _last_before(tensor: Any) -> Iterator[Any]:
    operation, node, index = tensor._keras_history
    if is_functional(operation):
        yield from _last_before(keras.tree.flatten(operation.output)[index])
    elif _passes_on(operation):
        for below in operation._inbound_nodes[node].input_tensors:
            yield from _last_before(below)
    else:
        yield from _last_of(operation)


def _last_in_code(model: Any) -> Iterator[Any]:
    """Looks at one symbolic call of a model of a class of its own."""
    for dtype in ("float32", "int32"):  # Keras keeps the shapes of inputs alone
        calls = _symbolic_calls(model, dtype)
        if calls:
            for tensor in calls[-1].outputs:
                yield from _last_behind(calls, tensor)
            return
    yield model


def _last_behind(calls: list[Call], tensor: Any) -> Iterator[Any]:
    found = producers(calls, tensor)
    # What passes its input on as it is has the same tensor before and behind it.
    for call in found:
        if not _passes_on(call.operation):
            yield call.operation
            return
    for below in found[0].inputs if found else []:
        yield from _last_behind(calls, below)


def _symbolic_calls(model: Any, dtype: str) -> list[Call]:
    """Returns the calls in a symbolic call of a model, none if that fails."""
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
        """Keras looks at the code of this layer, and so at that of the model."""

        def call(self, arguments: Any) -> Any:
            if "" in arguments:
                return model(arguments[""], training=False)
            return model(**arguments, training=False)

        def build(self, shapes: Any) -> None:
            pass

    arguments = {
        name.removesuffix("_shape"): tensors(shape) for name, shape in shapes.items()
    }
    try:
        with recorded_calls(model) as calls:
            Look(name="look").compute_output_spec(arguments)
    except Exception:
        return []
    return calls


def _passes_on(operation: Any) -> bool:
    """Whether a layer or operation hands on its input, rearranged at most."""
    if type(operation) is keras.layers.Activation:
        return name_of(operation) == "linear"
    kind = type(operation)
    return kind.__module__.startswith("keras.") and kind.__name__ in _PASSING_ON
