"""Which activation an object is, in any of the ways Keras writes it.

ReLU can be the function `keras.activations.relu`, the layers `Activation("relu")` and
`ReLU()`, or the operation that `keras.ops.relu` leaves in a functional model.
"""

import difflib
import re
import types
from collections.abc import Mapping
from typing import Any

import keras

from gaaf_keras._core.known_activations import (
    ACTIVATIONS,
    BY_NAME,
    Derivative,
    Known,
)
from gaaf_keras._core.types import Activation, Function


def get(identifier: Activation) -> Function:
    """Returns an activation as Keras does, but lists the names if there is none."""
    if isinstance(identifier, type):
        raise TypeError(
            "Argument `activation` must be an activation, not a class. Add the "
            f"brackets: `{identifier.__name__}()`. Received: activation={identifier!r}"
        )
    try:
        return keras.activations.get(identifier)
    except ValueError as error:
        names = [known.name for known in ACTIVATIONS if known.function is not None]
        given = str(identifier).lower()
        plain = given.removeprefix("gaaf_")
        close = difflib.get_close_matches(plain, names, n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        if plain != given and plain in names:
            hint = f" Give the plain activation, {plain!r}, which is then accelerated."
        raise ValueError(
            "Argument `activation` must be a callable or the name of a Keras "
            f"activation: {', '.join(names)}. "
            f"Received: activation={identifier!r}.{hint}"
        ) from error


def name_of(activation: Activation) -> str:
    """Returns the name of an activation, however it is written.

    `"relu"` for `keras.activations.relu`, `Activation("relu")`, `ReLU()` and
    `keras.ops.relu`; also for a ReLU with other parameters. For an activation that is
    not from Keras, the name of the function or class.
    """
    activation = function_of(activation)
    if _is_from_keras(activation):
        return _snake_case(type(activation).__name__)
    return getattr(activation, "__name__", type(activation).__name__)


def is_function_of_keras(activation: Activation) -> bool:
    """Whether an activation is a stateless function from Keras."""
    module = getattr(activation, "__module__", None) or ""
    return isinstance(activation, types.FunctionType) and module.startswith("keras.")


def function_of(activation: Activation) -> Activation:
    """Returns the function in `keras.activations` that a layer or operation applies.

    Or `activation` itself if there is none, such as for layers whose parameters differ
    from the function's defaults.
    """
    activation = get(activation)
    known = _known_operation(activation)
    if known is not None and known.operation_parameters is None:
        return known.function
    if not _is_from_keras(activation):
        return activation
    if isinstance(activation, keras.layers.Activation):
        return function_of(activation.activation)
    name = _snake_case(type(activation).__name__)
    parameters = _parameters_of(activation)
    for known in ACTIVATIONS:
        forms = ((known.name, known.parameters), known.written_as)
        if known.is_elementwise and (name, parameters) in forms:
            return known.function or activation
    return activation


def known_as(activation: Activation) -> tuple[Known, Mapping[str, Any]] | None:
    """Returns what is known about an activation, and its parameters; else None."""
    activation = function_of(activation)
    known = BY_NAME.get(name_of(activation))
    if known is None:
        return None
    if known.function is activation:
        return known, known.parameters
    if _known_operation(activation) is known:
        return known, known.operation_parameters or known.parameters
    return (known, _parameters_of(activation)) if _is_from_keras(activation) else None


def derivative_of(activation: Activation) -> Derivative | None:
    """Returns phi' of a Keras activation as a function of x, or None if unknown.

    Args:
        activation: Name of a Keras activation, or a callable, such as a function in
            `keras.activations` or the layer `keras.layers.ReLU(max_value=6)`.
    """
    found = known_as(activation)
    return None if found is None else found[0].derivative_with(found[1])


def graph_operations(layer: keras.Operation) -> list[keras.Operation]:
    """Returns the layers and operations of a functional model; empty for others."""
    # Looks at the class: a user's layer may have an attribute of that name.
    is_graph = isinstance(getattr(type(layer), "operations", None), property)
    return list(layer.operations) if is_graph else []


def is_functional(model: keras.Operation) -> bool:
    """Whether a model is made of layers connected by the functional API."""
    return isinstance(model, keras.Model) and bool(graph_operations(model))


def is_graph(model: keras.Operation) -> bool:
    """Whether a model's layers and their connections are known."""
    return isinstance(model, keras.Sequential) or is_functional(model)


def is_activation_operation(operation: keras.Operation) -> bool:
    """Whether an operation of a functional model applies an elementwise activation."""
    if isinstance(operation, keras.layers.Layer):
        return isinstance(operation, _ACTIVATION_LAYERS)
    known = BY_NAME.get(_snake_case(type(operation).__name__))
    return known is not None and known.is_elementwise and _is_from_keras(operation)


def _known_operation(activation: Activation) -> Known | None:
    """Returns what is known about a function in `keras.ops`; else None."""
    known = BY_NAME.get(getattr(activation, "__name__", ""))
    if known is None or not known.is_elementwise:
        return None
    return known if getattr(keras.ops, known.name, None) is activation else None


def _parameters_of(activation: Activation) -> dict[str, Any]:
    known = BY_NAME.get(_snake_case(type(activation).__name__))
    defaults = {} if known is None else known.parameters
    return {name: getattr(activation, name, value) for name, value in defaults.items()}


def _is_from_keras(activation: Activation) -> bool:
    return isinstance(activation, keras.Operation) and type(
        activation
    ).__module__.startswith("keras.")


def _snake_case(name: str) -> str:
    """`ReLU`, `Relu` to relu; `LeakyReLU` to leaky_relu; `PReLU` to prelu."""
    name = re.sub("(ReLU|ELU)$", lambda match: match[0].capitalize(), name)
    return re.sub("(?<=[a-z])(?=[A-Z])", "_", name).lower()


_ACTIVATION_LAYERS = (
    keras.layers.Activation,
    *(
        layer
        for name, layer in vars(keras.layers).items()
        if isinstance(layer, type) and _snake_case(name) in BY_NAME
    ),
)
