"""Which layers a model calls, on what, and what they return."""

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import keras

from gaaf_keras._core.exchange import Exchanges
from gaaf_keras._core.kinds import graph_operations
from gaaf_keras._core.types import Tensor


@dataclasses.dataclass(frozen=True)
class Call:
    """A call of a layer, an operation or a function in a layer, with its tensors."""

    operation: Any
    inputs: list[Tensor]
    outputs: list[Tensor]


def operations_in(model: keras.layers.Layer) -> list[keras.Operation]:
    """Returns a model and all layers and operations inside it, each once."""
    found: dict[int, keras.Operation] = {}
    for layer in model._flatten_layers():
        for operation in (layer, *graph_operations(layer)):
            found[id(operation)] = operation
    return list(found.values())


@contextlib.contextmanager
def recorded_calls(
    model: keras.layers.Layer, functions: Iterable[Any] = ()
) -> Iterator[list[Call]]:
    """Records the calls in a model; calls inside another come before it.

    Calls of functions too: their places have a `container` and a `key`, and `applied`
    is the function found there.
    """
    calls: list[Call] = []
    exchanges = Exchanges()

    def recording(operation: Any, call: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(call)
        def recorded(*args: Any, **kwargs: Any) -> Any:
            outputs = call(*args, **kwargs)
            calls.append(Call(operation, _tensors((args, kwargs)), _tensors(outputs)))
            return outputs

        return recorded

    try:
        for operation in operations_in(model):
            exchanges.put(vars(operation), "call", recording(operation, operation.call))
        for place in functions:
            recorded = recording(place, place.applied)
            exchanges.put(place.container, place.key, recorded)
        yield calls
    finally:
        exchanges.undo()


def producers(calls: list[Call], tensor: Tensor) -> list[Call]:
    """Returns the calls that returned a tensor, the innermost first."""
    return [call for call in calls if any(out is tensor for out in call.outputs)]


def _tensors(structure: Any) -> list[Tensor]:
    return [
        value for value in keras.tree.flatten(structure) if keras.ops.is_tensor(value)
    ]
