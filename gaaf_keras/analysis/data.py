"""Data of a model: what arguments may be, and how they come in batches."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import keras
import numpy as np

from gaaf_keras._core.types import Tensor

Data = np.ndarray | Sequence[Any] | Mapping[str, Any]  # the latter two of arrays
Loss = str | keras.Loss | Callable[[Tensor, Tensor], Tensor]

BATCH = 256  # examples computed at once where that makes no difference


def check_data(x: Data, y: Data | None = None) -> int:
    """Returns how many examples arrays hold.

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


def count(data: Data) -> int:
    """Returns how many examples arrays hold that have been checked."""
    return len(keras.tree.flatten(data)[0])


def part(data: Data, first: int, last: int) -> Any:
    """Returns some of the examples in arrays."""
    return keras.tree.map_structure(lambda array: array[first:last], data)


def in_batches(data: Data) -> Iterator[Any]:
    """Yields all examples in arrays, in as few batches of one size as possible.

    (Each size would be compiled by itself.)
    """
    total = count(data)
    size = -(-total // -(-total // BATCH))
    for first in range(0, total, size):
        yield part(data, first, first + size)
