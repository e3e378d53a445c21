"""Data of a model, in batches."""

from collections.abc import Iterator
from typing import Any

import keras

BATCH = 256  # examples computed at once where that makes no difference


def check_data(x: Any, y: Any = None) -> int:
    """Returns how many examples arrays hold.

    Args:
        x: Inputs: an array, or a list or dictionary of arrays.
        y: Targets likewise; None for none.

    Raises:
        TypeError: If they are no arrays.
        ValueError: If they hold no examples, or not as many.
    """
    sizes: set[int] = set()
    given = {"x": x} if y is None else {"x": x, "y": y}
    for name, data in given.items():
        for array in keras.tree.flatten(data):
            if not getattr(array, "shape", ()):
                raise TypeError(
                    f"Argument `{name}` must be an array, or a list or dictionary of "
                    "arrays, with the examples along the first axis; of a data set, "
                    f"give a batch. Received: {name} of type {type(array).__name__}"
                )
            sizes.add(int(array.shape[0]))
    if len(sizes) != 1 or 0 in sizes:
        raise ValueError(
            "Arguments `x` and `y` must hold as many examples, at least one. "
            f"Received arrays with: {', '.join(map(str, sorted(sizes)))}"
        )
    return sizes.pop()


def count(data: Any) -> int:
    """Returns how many examples arrays hold that have been checked."""
    return len(keras.tree.flatten(data)[0])


def part(data: Any, first: int, last: int) -> Any:
    """Returns some of the examples in arrays."""
    return keras.tree.map_structure(lambda array: array[first:last], data)


def in_batches(data: Any, most: int = BATCH) -> Iterator[Any]:
    """Yields all examples in arrays, in as few batches of one size as possible.

    (What is compiled is compiled anew for a batch of another size.)
    """
    total = count(data)
    size = -(-total // -(-total // most))
    for first in range(0, total, size):
        yield part(data, first, first + size)
