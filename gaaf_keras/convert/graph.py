"""Models whose layers and connections are known, put together anew."""

import inspect
from collections.abc import Callable
from typing import Any

import keras


def is_functional(model: Any) -> bool:
    """Whether a model is made of layers connected by the functional API."""
    return isinstance(model, keras.Model) and hasattr(model, "operations")


def is_graph(model: Any) -> bool:
    """Whether a model's layers and their connections are known."""
    return isinstance(model, keras.Sequential) or is_functional(model)


def require_graph(model: Any) -> None:
    """Raises if a model's layers and connections are not known."""
    if not is_graph(model):
        raise TypeError(
            "Argument `model` must be a Functional or Sequential model, whose layers "
            "and connections are known. In a model class of your own, put GAAF layers "
            "in its constructor, such as `Dense(64, activation=GAAF('relu'))`. "
            f"Received: model={model} (of type {type(model).__name__})"
        )


def rebuilt(model: Any, copy: Callable[[Any], Any]) -> Any:
    """Returns a model of other layers, connected like a given one.

    Args:
        model: A Functional or Sequential model.
        copy: Returns what takes the place of a layer, model or operation.

    Raises:
        TypeError: If the model's class has a constructor of its own.
    """
    kept = {"name": model.name, "trainable": model.trainable}
    if isinstance(model, keras.Sequential):
        _require_constructor(model, ["layers", "trainable", "name"])
        layers = [copy(layer) for layer in model.layers]
        inputs = getattr(model, "inputs", [])  # has none before it is built
        layers = [same_again(_input_layer(tensor)) for tensor in inputs] + layers
        other = type(model)(layers, **kept)
    else:
        _require_constructor(model, ["inputs", "outputs", "name"])
        other = type(model)(*_connect(model, copy), **kept)
    other.dtype_policy = model.dtype_policy  # by which `compile` scales the loss
    return other


def config_of(operation: Any) -> dict[str, Any]:
    """Returns the configuration of a layer or operation.

    Raises:
        ValueError: If it has none.
    """
    try:
        return operation.get_config()
    except Exception as error:
        raise _cannot_be_copied(operation, error) from error


def same_again(operation: Any, config: dict[str, Any] | None = None) -> Any:
    """Returns a new operation of the same class, by default with the same config.

    Raises:
        ValueError: If it cannot be made from that.
    """
    if isinstance(operation, keras.layers.Lambda):
        return _lambda_again(operation)
    config = config_of(operation) if config is None else config
    try:
        if is_wrapper(operation) and isinstance(config.get("layer"), keras.Operation):
            return type(operation)(config.pop("layer"), **config)  # as `from_config`
        return type(operation).from_config(config)
    except Exception as error:
        raise _cannot_be_copied(operation, error) from error


def is_wrapper(layer: Any) -> bool:
    """Whether a layer is made, as Keras makes its wrappers, from another layer."""
    usual = keras.layers.Wrapper.from_config.__func__
    made_by = getattr(type(layer).from_config, "__func__", None)
    return isinstance(layer, keras.layers.Wrapper) and made_by is usual


def _cannot_be_copied(operation: Any, error: Exception) -> ValueError:
    return ValueError(
        f"Layer {operation.name!r} ({type(operation).__name__}) cannot be made from "
        "its own configuration, which a copy of the model needs. Give the class a "
        "`get_config` with all its arguments, and named functions instead of lambdas, "
        f"or put GAAF layers in it by hand. Keras says: {error}"
    )


def _lambda_again(layer: Any) -> Any:
    """Copies a Lambda layer, which Keras makes from its configuration only unsafely."""
    return keras.layers.Lambda(
        layer.function,
        output_shape=layer._output_shape,
        mask=layer.mask,
        arguments=layer.arguments,
        name=layer.name,
        dtype=layer.dtype_policy,
        trainable=layer.trainable,
    )


def _input_layer(tensor: Any) -> Any:
    return tensor._keras_history.operation


def _require_constructor(model: Any, arguments: list[str]) -> None:
    """Raises if a model's class does not take what Keras's own takes."""
    own = inspect.getfullargspec(type(model).__init__)
    named = own.args[1:]
    rest_passed_on = own.varkw is not None and (named or own.varargs is not None)
    same = named == arguments or (
        named == arguments[: len(named)] and rest_passed_on and not own.kwonlyargs
    )
    if not same:
        raise TypeError(
            f"Model {model.name!r} is of a class of its own, {type(model).__name__}, "
            "which cannot be made from layers alone. Convert the layers before you "
            "make that model from them, or put GAAF layers in it."
        )


def _connect(model: Any, copy: Callable[[Any], Any]) -> tuple[Any, Any]:
    """Calls the copies of a model's layers on each other as the model does.

    `keras.models.clone_model` would do this too, but call shared layers in another
    order, name the inputs anew, and compile the copy in safe mode.
    """
    tensors = {
        id(tensor): same_again(_input_layer(tensor)).output for tensor in model.inputs
    }

    def mapped_value(value: Any) -> Any:
        if isinstance(value, keras.Variable):
            raise ValueError(  # noqa: TRY004, the model is at fault
                f"The model uses the variable {value.path!r} as an argument of an "
                "operation, where a copy would go on using the original's. Use it in a "
                "layer of your own."
            )
        return tensors[id(value)] if isinstance(value, keras.KerasTensor) else value

    def mapped(structure: Any) -> Any:
        return keras.tree.map_structure(mapped_value, structure)

    waiting = _calls(model, known=tensors)
    while waiting:
        for operation, nodes in list(waiting.items()):
            # In the order of the calls, as far as their inputs are there already.
            while nodes and all(id(t) in tensors for t in nodes[0].input_tensors):
                node = nodes.pop(0)
                outputs = copy(operation)(
                    *mapped(node.arguments.args), **mapped(node.arguments.kwargs)
                )
                for old, new in zip(
                    keras.tree.flatten(node.outputs),
                    keras.tree.flatten(outputs),
                    strict=True,
                ):
                    tensors[id(old)] = new
            if not nodes:
                del waiting[operation]
    return mapped(model.input), mapped(model.output)


def _calls(model: Any, known: dict[int, Any]) -> dict[Any, list[Any]]:
    """Returns the calls by which a model's outputs come about, by operation."""
    indices: dict[int, set[int]] = {
        id(operation): set() for operation in model.operations
    }
    wanted = keras.tree.flatten(model.output)
    while wanted:
        tensor = wanted.pop()
        operation, index, _ = tensor._keras_history
        if id(tensor) not in known and index not in indices[id(operation)]:
            indices[id(operation)].add(index)
            wanted += operation._inbound_nodes[index].input_tensors
    return {
        operation: [operation._inbound_nodes[i] for i in sorted(indices[id(operation)])]
        for operation in model.operations
        if indices[id(operation)]
    }
