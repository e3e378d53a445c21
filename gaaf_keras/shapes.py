"""Shape functions s(x): where gradient is added to an activation, and how much.

An accelerated activation keeps its value and has the derivative
`phi'(x) + strength * s(x)`. The shape function `s` decides the second term.

A shape is any callable of one tensor. To make one that can be saved with a
model, write a frozen dataclass:

```python
@keras.saving.register_keras_serializable("my_package")
@dataclasses.dataclass(frozen=True)
class Lorentzian(gaaf_keras.shapes.Shape):
    width: float = 1.0

    def __call__(self, x):
        return 1 / (1 + keras.ops.square(x / self.width))
```
"""

import dataclasses
from collections.abc import Callable
from typing import Any, Self

import keras
from keras import ops

from gaaf_keras._checks import finite_number, positive_number


@dataclasses.dataclass(frozen=True)
class Shape:
    """Base class of the shape functions: a small immutable, serialisable object.

    Subclasses are frozen dataclasses whose fields are numbers, and define
    `__call__`. Configuration, equality, hashing and printing follow from the
    fields.
    """

    def __call__(self, x: Any) -> Any:
        """Returns s(x), elementwise, in the shape and dtype of `x`."""
        raise NotImplementedError(f"{type(self).__name__} must define `__call__`.")

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that make an equal shape function."""
        return dataclasses.asdict(self)

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        """Returns the shape function that `get_config` described."""
        return cls(**config)

    def _set(self, **values: float) -> None:
        """Stores checked field values; for `__post_init__` of frozen subclasses."""
        for name, value in values.items():
            object.__setattr__(self, name, value)


@keras.saving.register_keras_serializable("gaaf_keras")
@dataclasses.dataclass(frozen=True)
class Gaussian(Shape):
    """A bell around zero, the paper's shape function for tanh.

    `s(x) = exp(-(x / width)^2)`

    With the default width the accelerated tanh has a derivative of 2 at zero and
    still passes gradient at |x| = 3, where tanh alone has almost none left.

    Args:
        width: Net input at which the shape has fallen to 1/e. Greater than 0.
            Defaults to 2, which is the paper's `exp(-x^2 / 4)`.

    Call arguments:
        x: Tensor of any shape and floating-point dtype, of any backend.

    Returns:
        A tensor with the shape and dtype of `x`, with values from 0 to 1.

    Raises:
        TypeError: If `width` is not a number.
        ValueError: If `width` is not finite or not greater than 0.

    Example:
    >>> from gaaf_keras import Gaussian
    >>> shape = Gaussian(width=2.0)
    >>> [round(float(shape(x)), 4) for x in (0.0, 2.0, 4.0)]
    [1.0, 0.3679, 0.0183]

    Reference:
        Hahn and Choi, "Gradient Acceleration in Activation Functions"
        (arXiv 1806.09783), the curve plotted for tanh; no formula is printed
        there, this one is fitted to the picture.
    """

    width: float = 2.0

    def __post_init__(self) -> None:
        self._set(width=positive_number("width", self.width))

    def __call__(self, x: Any) -> Any:
        return ops.exp(-ops.square(x / self.width))


@keras.saving.register_keras_serializable("gaaf_keras")
@dataclasses.dataclass(frozen=True)
class ShiftedSigmoid(Shape):
    """A smooth step, the paper's shape function for ReLU.

    `s(x) = sigmoid(slope * (x + shift))`

    With the defaults the accelerated ReLU passes gradient down to about x = -1.5.
    It also has a derivative of nearly 2 in every active unit, which compounds
    over the layers of a deep network and acts there like a larger learning rate.

    Args:
        slope: Steepness of the step, per unit of net input. Greater than 0.
            Defaults to 5.
        shift: How far below zero the step lies, in units of net input: the shape
            is 1/2 at `x = -shift`. Any finite number. Defaults to 0.5.

    Call arguments:
        x: Tensor of any shape and floating-point dtype, of any backend.

    Returns:
        A tensor with the shape and dtype of `x`, with values from 0 to 1.

    Raises:
        TypeError: If an argument is not a number.
        ValueError: If an argument is not finite, or `slope` is not greater
            than 0.

    Example:
    >>> from gaaf_keras import ShiftedSigmoid
    >>> shape = ShiftedSigmoid(slope=5.0, shift=0.5)
    >>> [round(float(shape(x)), 4) for x in (-1.5, -0.5, 0.0)]
    [0.0067, 0.5, 0.9241]

    Reference:
        Hahn and Choi, "Gradient Acceleration in Activation Functions"
        (arXiv 1806.09783), the "shifted sigmoid" plotted for ReLU; no formula is
        printed there, this one is fitted to the picture.
    """

    slope: float = 5.0
    shift: float = 0.5

    def __post_init__(self) -> None:
        self._set(
            slope=positive_number("slope", self.slope),
            shift=finite_number("shift", self.shift),
        )

    def __call__(self, x: Any) -> Any:
        return ops.sigmoid(self.slope * (x + self.shift))


_BY_NAME: dict[str, type[Shape]] = {
    "gaussian": Gaussian,
    "shifted_sigmoid": ShiftedSigmoid,
}


def get(identifier: str | dict[str, Any] | Callable[[Any], Any]) -> Callable[..., Any]:
    """Returns a shape function from a name, a configuration or a callable.

    Args:
        identifier: `"gaussian"` or `"shifted_sigmoid"` (with its default
            parameters), a configuration made by
            `keras.saving.serialize_keras_object`, or any callable of one tensor,
            which is returned as it is.

    Returns:
        A callable of one tensor.

    Raises:
        ValueError: If the name is unknown or the value cannot be a shape
            function.

    Example:
    >>> from gaaf_keras import shapes
    >>> shapes.get("gaussian")
    Gaussian(width=2.0)
    """
    if isinstance(identifier, str) and identifier in _BY_NAME:
        return _BY_NAME[identifier]()
    if isinstance(identifier, dict):
        identifier = keras.saving.deserialize_keras_object(identifier)
    if callable(identifier) and not isinstance(identifier, type):
        return identifier
    raise ValueError(
        "Argument `shape` must be a shape function: one of the names "
        f"{', '.join(map(repr, _BY_NAME))}, an object such as `Gaussian(width=2.0)`, "
        f"or a callable of one tensor. Received: shape={identifier!r}"
    )
