"""Which layers a model calls, on what, and what they return."""

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Iterator
from typing import Any

import keras

from gaaf_keras.exchange import Exchanges


@dataclasses.dataclass(frozen=True)
class Call:
    """A call of a layer or operation, with the very tensors, flattened.

    Attributes:
        operation: What was called.
        inputs: The tensors among its arguments.
        outputs: The tensors that it returned.
    """

    operation: keras.Operation
    inputs: list[Any]
    outputs: list[Any]


def operations_in(model: keras.layers.Layer) -> list[keras.Operation]:
    """Returns a model and all layers and operations inside of it, each once."""
    found: dict[int, keras.Operation] = {}
    for layer in model._flatten_layers():
        for operation in (layer, *getattr(layer, "operations", ())):
            found[id(operation)] = operation
    return list(found.values())


@contextlib.contextmanager
def recorded_calls(model: keras.layers.Layer) -> Iterator[list[Call]]:
    """Records the calls in a model; those inside of a call come before it."""
    calls: list[Call] = []
    exchanges = Exchanges()

    def recording(operation: keras.Operation) -> Callable[..., Any]:
        call = operation.call

        @functools.wraps(call)
        def recorded(*args: Any, **kwargs: Any) -> Any:
            outputs = call(*args, **kwargs)
            calls.append(Call(operation, _tensors((args, kwargs)), _tensors(outputs)))
            return outputs

        return recorded

    try:
        for operation in operations_in(model):
            exchanges.put(vars(operation), "call", recording(operation))
        yield calls
    finally:
        exchanges.undo()


def producers(calls: list[Call], tensor: Any) -> list[Call]:
    """Returns the calls that returned a tensor, the innermost first."""
    return [call for call in calls if any(out is tensor for out in call.outputs)]


def _tensors(structure: Any) -> list[Any]:
    return [
        value for value in keras.tree.flatten(structure) if keras.ops.is_tensor(value)
    ]
