"""Which activations of a model are meant."""

import fnmatch
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import keras

from gaaf_keras.convert.copying import Site
from gaaf_keras.convert.graph import is_functional, is_graph
from gaaf_keras.kinds import name_of


def as_selectors(layers: Any) -> tuple[Any, ...]:
    """Returns the argument `layers` of `accelerate` as a tuple, empty for all."""
    if layers is None:
        return ()
    several = isinstance(layers, Iterable) and not isinstance(layers, (str, type))
    selectors = tuple(layers) if several else (layers,)
    for selector in selectors:
        if not isinstance(selector, str) and not callable(selector):
            raise TypeError(
                "Argument `layers` must be a name or pattern, a type of layer, a "
                f"predicate of a layer, or a list of these. Received: {selector!r}"
            )
    if not selectors:
        raise ValueError("Argument `layers` must not be empty. Received: layers=[]")
    return selectors


def selects(selector: str | type | Callable[[Any], Any], site: Site) -> bool:
    """Whether a name or pattern, a type or a predicate of layers covers a site."""
    inside = site.holders[1:]
    if isinstance(selector, str):
        names = [holder.name for holder in inside]
        paths = ["/".join(names[: end + 1]) for end in range(len(names))]
        return any(
            name == selector or fnmatch.fnmatchcase(name, selector)
            for name in (*names, *paths)
        )
    if isinstance(selector, keras.Operation):
        return any(holder is selector for holder in inside)
    if isinstance(selector, type):
        return any(isinstance(holder, selector) for holder in inside)
    return bool(selector(site.holders[-1]))


def last_operations(model: Any) -> Iterator[Any]:
    """Yields the layers and operations whose values are the outputs of a model.

    Of nested models those inside, and in place of layers that only rearrange their
    input those before them.
    """
    if is_functional(model):
        for tensor in keras.tree.flatten(model.output):
            yield from _last_before(tensor)
        return
    for layer in reversed(model.layers):
        if not _passes_on(layer):
            yield from last_operations(layer) if is_graph(layer) else [layer]
            return


def _last_before(tensor: Any) -> Iterator[Any]:
    operation, node, index = tensor._keras_history
    if is_functional(operation):
        yield from _last_before(keras.tree.flatten(operation.output)[index])
    elif is_graph(operation):
        yield from last_operations(operation)
    elif _passes_on(operation):
        for below in operation._inbound_nodes[node].input_tensors:
            yield from _last_before(below)
    else:
        yield operation


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


def _passes_on(operation: Any) -> bool:
    """Whether a layer or operation hands on its input, rearranged at most."""
    if type(operation) is keras.layers.Activation:
        return name_of(operation) == "linear"
    kind = type(operation)
    return kind.__module__.startswith("keras.") and kind.__name__ in _PASSING_ON
