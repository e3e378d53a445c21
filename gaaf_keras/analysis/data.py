"""A model's data: checks of the arguments, and batches."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import keras
import numpy as np

from gaaf_keras._core.types import Tensor

Data = np.ndarray | Sequence[Any] | Mapping[str, Any]  # the latter two of arrays
Loss = str | keras.Loss | Callable[[Tensor, Tensor], Tensor]

BATCH = 256  # examples computed at once where the number does not matter


def check_data(
    x: Data, y: Data | None = None, names: Sequence[str] = ("x", "y")
) -> int:
    """Returns the number of examples in arrays.

    Raises:
        TypeError: If they are not arrays.
        ValueError: If they hold no examples, or different numbers of them.
    """
    sizes: set[int] = set()
    given = dict(zip(names, (x,) if y is None else (x, y), strict=False))
    for name, data in given.items():
        for array in keras.tree.flatten(data):
            if not getattr(array, "shape", ()):
                raise TypeError(
                    f"Argument `{name}` must be an array, or a list or dictionary of "
                    "arrays, with the examples along the first axis. For a data set, "
                    f"give one batch. Received: {name} of type {type(array).__name__}"
                )
            sizes.add(int(array.shape[0]))
    if len(sizes) != 1 or 0 in sizes:
        raise ValueError(
            f"Arguments `{names[0]}` and `{names[1]}` must hold the same number of "
            "examples, at least one. Received arrays with: "
            f"{', '.join(map(str, sorted(sizes)))}"
        )
    return sizes.pop()


def weights_of(
    y: Data, sample_weight: Data | None, class_weight: Mapping[int, float] | None
) -> tuple[Data, ...]:
    """Returns the weights of examples; empty if there are none.

    Args:
        y: Targets that have been checked.
        sample_weight: Weights of the examples.
        class_weight: Weights by class; 1 for classes left out. The targets are then
            class numbers, or one-hot.

    Raises:
        TypeError: If `class_weight` is not a mapping.
        ValueError: If both are given, or the number of weights is not that of the
            examples.
    """
    if class_weight is not None and not isinstance(class_weight, Mapping):
        raise TypeError(
            "Argument `class_weight` must map classes to factors, such as {0: 2.0}. "
            f"Received: class_weight={class_weight!r}"
        )
    if class_weight is None:
        if sample_weight is None:
            return ()
        check_data(y, sample_weight, names=("y", "sample_weight"))
        return (sample_weight,)
    if sample_weight is not None or keras.tree.is_nested(y):
        raise ValueError(
            "Argument `class_weight` cannot be given with `sample_weight` or with "
            f"several targets. Received: class_weight={dict(class_weight)!r}"
        )
    classes = np.asarray(y)
    if classes.ndim > 1:
        one_hot = classes.shape[-1] > 1
        classes = classes.argmax(-1) if one_hot else classes[..., 0]
    weights = np.ones(classes.shape, "float32")
    for number, weight in class_weight.items():
        weights[classes == number] = weight
    return (weights,)


def count(data: Data) -> int:
    """Returns the number of examples in arrays that have been checked."""
    return len(keras.tree.flatten(data)[0])


def part(data: Data | tuple[Data, ...], first: int, last: int) -> Any:
    """Returns some of the examples in arrays."""
    return keras.tree.map_structure(lambda array: array[first:last], data)


def in_batches(data: Data) -> Iterator[Any]:
    """Yields all examples in arrays, in as few batches of one size as possible.

    (Each size would be compiled separately.)
    """
    total = count(data)
    size = -(-total // -(-total // BATCH))
    for first in range(0, total, size):
        yield part(data, first, first + size)
