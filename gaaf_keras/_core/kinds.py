"""Which activation an object is, whichever way Keras writes it.

ReLU can be the function `keras.activations.relu`, the layers `Activation("relu")` and
`ReLU()`, or the operation that `keras.ops.relu` leaves in a functional model.
"""

import re
import types
from collections.abc import Mapping
from typing import Any, TypeVar

import keras

Entry = TypeVar("Entry")

# Operations have the same parameters as the layers, and no public names.
_DEFAULT_PARAMETERS: dict[str, dict[str, Any]] = {
    "relu": {"negative_slope": 0.0, "max_value": None, "threshold": 0.0},
    "leaky_relu": {"negative_slope": 0.2},
    "elu": {"alpha": 1.0},
    "gelu": {"approximate": False},
    "celu": {"alpha": 1.0},
    "squareplus": {"b": 4},
    "hard_shrink": {"threshold": 0.5},
    "soft_shrink": {"threshold": 0.5},
    "threshold": {"threshold": None, "default_value": None},  # has no defaults
}
_ELEMENTWISE = (
    *_DEFAULT_PARAMETERS,
    "hard_sigmoid",
    "hard_silu",
    "hard_tanh",
    "log_sigmoid",
    "mish",
    "relu6",
    "selu",
    "sigmoid",
    "silu",
    "softplus",
    "softsign",
    "sparse_plus",
    "sparse_sigmoid",
    "tanh",
    "tanh_shrink",
)
NOT_ELEMENTWISE = ("softmax", "log_softmax", "sparsemax", "glu")
_RELU6_LIMIT = 6


def name_of(activation: Any) -> str:
    """Returns the name of an activation, the same however it is written.

    `"relu"` for `keras.activations.relu`, `Activation("relu")`, `ReLU()` and
    `keras.ops.relu`; also for a ReLU with other parameters. For what is no activation
    of Keras, the name of the function or class.
    """
    activation = function_of(activation)
    if _is_from_keras(activation):
        return _snake_case(type(activation).__name__)
    return getattr(activation, "__name__", type(activation).__name__)


def is_function_of_keras(activation: Any) -> bool:
    """Whether an activation is a function of Keras's, without state."""
    module = getattr(activation, "__module__", None) or ""
    return isinstance(activation, types.FunctionType) and module.startswith("keras.")


def known_names() -> tuple[str, ...]:
    """Returns the names of Keras's activations, elementwise and not."""
    return (*_ELEMENTWISE, *NOT_ELEMENTWISE, "swish", "hard_swish")


def parameters_of(activation: Any) -> dict[str, Any]:
    """Returns the parameters of a Keras activation layer or operation, by name."""
    defaults = _DEFAULT_PARAMETERS.get(_snake_case(type(activation).__name__), {})
    return {name: getattr(activation, name, value) for name, value in defaults.items()}


def function_of(activation: Any) -> Any:
    """Returns the Keras function that an activation layer or operation applies.

    Args:
        activation: Name of a Keras activation, a callable, layer or operation.

    Returns:
        The function in `keras.activations`; or `activation` itself if there is none,
        as for layers whose parameters are not that function's defaults.
    """
    activation = keras.activations.get(activation)
    name = getattr(activation, "__name__", "")
    is_operation = getattr(keras.ops, name, None) is activation
    # The operation approximates by default, the activation does not.
    if is_operation and name in _ELEMENTWISE and name != "gelu":
        return getattr(keras.activations, name)
    if not _is_from_keras(activation):
        return activation
    if isinstance(activation, keras.layers.Activation):
        return function_of(activation.activation)
    name = _snake_case(type(activation).__name__)
    parameters = parameters_of(activation)
    if name == "relu" and parameters["max_value"] == _RELU6_LIMIT:
        name, parameters = "relu6", {**parameters, "max_value": None}
        defaults = _DEFAULT_PARAMETERS["relu"]
    else:
        defaults = _DEFAULT_PARAMETERS.get(name, {})
    if name in _ELEMENTWISE and parameters == defaults:
        return getattr(keras.activations, name)
    return activation


def looked_up(table: Mapping[Any, Entry], activation: Any) -> Entry | None:
    """Returns what a table has for an activation, None without it.

    Args:
        table: By Keras functions. They are compared by identity, since an activation
            need not be hashable.
        activation: Name of a Keras activation, a callable, layer or operation.
    """
    function = function_of(activation)
    return next((entry for key, entry in table.items() if key is function), None)


def graph_operations(layer: Any) -> list[Any]:
    """Returns the layers and operations of a functional model; of others none."""
    # By the class: a layer of the user's may have an attribute of that name.
    is_graph = isinstance(getattr(type(layer), "operations", None), property)
    return list(layer.operations) if is_graph else []


def is_functional(model: Any) -> bool:
    """Whether a model is made of layers connected by the functional API."""
    return isinstance(model, keras.Model) and bool(graph_operations(model))


def is_graph(model: Any) -> bool:
    """Whether a model's layers and their connections are known."""
    return isinstance(model, keras.Sequential) or is_functional(model)


def is_activation_operation(operation: Any) -> bool:
    """Whether a node of a functional model applies an elementwise activation."""
    if isinstance(operation, keras.layers.Layer):
        return isinstance(operation, _ACTIVATION_LAYERS)
    return (
        _is_from_keras(operation)
        and _snake_case(type(operation).__name__) in _ELEMENTWISE
    )


_ACTIVATION_LAYERS = (
    keras.layers.Activation,
    keras.layers.ELU,
    keras.layers.LeakyReLU,
    keras.layers.PReLU,
    keras.layers.ReLU,
    keras.layers.Softmax,
)


def _is_from_keras(activation: Any) -> bool:
    return isinstance(activation, keras.Operation) and type(
        activation
    ).__module__.startswith("keras.")


def _snake_case(name: str) -> str:
    """`ReLU`, `Relu` to relu; `LeakyReLU` to leaky_relu; `PReLU` to prelu."""
    name = re.sub("(ReLU|ELU)$", lambda match: match[0].capitalize(), name)
    return re.sub("(?<=[a-z])(?=[A-Z])", "_", name).lower()
