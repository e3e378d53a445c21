"""The base class of shape functions, simple shapes, and combinations of shapes."""

import dataclasses
from collections.abc import Callable
from typing import Any, Self, TypeAlias, TypeVar, dataclass_transform

import keras
from keras import ops

from gaaf_keras._core.checks import (
    finite_number,
    non_negative_number,
    positive_number,
)
from gaaf_keras._core.compiling import is_compiling, is_of_torch, on_torch
from gaaf_keras._core.types import Activation, Config, Function, Tensor


@dataclasses.dataclass(frozen=True)
class Shape:
    """Base class of the shape functions: a small immutable, serialisable object.

    A subclass is a frozen dataclass whose fields are numbers, names or shapes, and
    defines `__call__`. Configuration, equality, hashing and printing follow from the
    fields. Shapes are combined with `a + b`, `a - b`, `2 * a`, `a.clip(...)` and
    `a.one_sided(...)`.
    """

    def __call__(self, x: Tensor) -> Tensor:
        """Returns s(x), elementwise, in the shape and dtype of `x`."""
        raise NotImplementedError(f"{type(self).__name__} must define `__call__`.")

    def get_config(self) -> Config:
        """Returns the arguments that create an equal shape function."""
        return {
            field.name: _to_config(getattr(self, field.name))
            for field in dataclasses.fields(self)
        }

    @classmethod
    def from_config(cls, config: Config) -> Self:
        """Returns the shape function that `get_config` described."""
        return cls(**{name: _from_config(value) for name, value in config.items()})

    def bound_to(self, activation: Activation) -> "Shape":
        """Returns the shape for a given plain activation.

        Most shapes are the same for all activations. Shapes defined by the total
        derivative need to know the activation, and shapes made for one activation
        refuse others.

        Raises:
            ValueError: If the shape is not for this activation.
        """
        parts = {
            field.name: getattr(self, field.name) for field in dataclasses.fields(self)
        }
        bound = {
            name: part.bound_to(activation)
            for name, part in parts.items()
            if isinstance(part, Shape)
        }
        return dataclasses.replace(self, **bound) if bound else self

    def clip(self, minimum: float, maximum: float) -> "Shape":
        """Returns the shape with its values limited to [minimum, maximum]."""
        return Clipped(self, minimum, maximum)

    def one_sided(self, side: str = "negative", at: float = 0.0) -> "Shape":
        """Returns the shape on one side of a pre-activation, and 0 on the other.

        Args:
            side: `"negative"` keeps x <= at, `"positive"` keeps x > at.
            at: The pre-activation that separates the sides.
        """
        return OneSided(self, side, at)

    def __add__(self, other: Function) -> "Shape":
        return Sum(self, other) if callable(other) else NotImplemented

    def __sub__(self, other: Function) -> "Shape":
        return Sum(self, Scaled(other, -1.0)) if callable(other) else NotImplemented

    def __mul__(self, factor: float) -> "Shape":
        return Scaled(self, factor)

    __rmul__ = __mul__

    def __neg__(self) -> "Shape":
        return Scaled(self, -1.0)

    def _set(self, **values: Any) -> None:
        """Stores checked field values; for `__post_init__` of frozen subclasses."""
        for name, value in values.items():
            object.__setattr__(self, name, value)


ShapeLike: TypeAlias = Shape | str | Function


@dataclasses.dataclass(frozen=True)
class Definition:
    """How a shape function is found and shown.

    Attributes:
        make: The class or function that makes it.
        example: An example, as `gaaf_keras.shapes.get` takes it, or None.
        on: The activation for the example.
    """

    make: Callable[..., Shape]
    example: str | None
    on: str


DEFINED: dict[str, Definition] = {}
Defined = TypeVar("Defined", bound=Callable[..., Shape])


@dataclass_transform(frozen_default=True, field_specifiers=(dataclasses.field,))
def shape_function(
    name: str, *, example: str | None = None, on: str = "relu"
) -> Callable[[Defined], Defined]:
    """Defines a shape function: a class, or a function that combines other shapes.

    A class becomes a frozen dataclass that Keras can save. Lookup by name, gallery and
    documentation follow. The documentation takes the formula from the second paragraph
    of the docstring and the source from its section `Reference:`.

    Args:
        name: The name for `gaaf_keras.shapes.get` and `--shape_function`.
        example: An example to draw, as `gaaf_keras.shapes.get` takes it. By default
            none.
        on: The activation to draw it with. Defaults to `"relu"`.
    """

    def defined(make: Defined) -> Defined:
        if isinstance(make, type):
            dataclasses.dataclass(frozen=True)(make)
            keras.saving.register_keras_serializable("gaaf_keras")(make)
        DEFINED[name] = Definition(make, example, on)
        return make

    return defined


def _to_config(value: Any) -> Any:
    return keras.saving.serialize_keras_object(value) if callable(value) else value


def _from_config(value: Any) -> Any:
    if isinstance(value, dict):
        return keras.saving.deserialize_keras_object(value)
    return value


def require_shape(argument: str, value: object) -> Function:
    """Returns `value`, or raises if it is not a shape function."""
    if not callable(value) or isinstance(value, type):
        raise TypeError(
            f"Argument `{argument}` must be a shape function: an object such as "
            f"`Gaussian(width=2.0)` or a callable of one tensor. "
            f"Received: {argument}={value!r} (of type {type(value).__name__})"
        )
    return value


@shape_function("gaussian", example="gaussian(width=3)", on="tanh")
class Gaussian(Shape):
    """A bell around zero: the paper's shape function for tanh.

    `s(x) = exp(-(x / width)^2)`

    With the default width the accelerated tanh has a derivative of 2 at zero and
    still passes gradient at |x| = 3, where tanh alone has almost none left.

    Args:
        width: Pre-activation at which the shape has fallen to 1/e. Greater than 0.
            Defaults to 2, which is the paper's `exp(-x^2 / 4)`.

    Raises:
        TypeError: If `width` is not a number.
        ValueError: If `width` is not finite or not greater than 0.

    Examples:
        >>> from gaaf_keras import Gaussian
        >>> shape = Gaussian(width=2.0)
        >>> [round(float(shape(x)), 4) for x in (0.0, 2.0, 4.0)]
        [1.0, 0.3679, 0.0183]

    Reference:
        Hahn and Choi, "Gradient Acceleration in Activation Functions"
        (arXiv 1806.09783), the curve plotted for tanh. The paper prints no formula;
        this one is fitted to the plot.
    """

    width: float = 2.0

    def __post_init__(self) -> None:
        self._set(width=positive_number("width", self.width))

    def __call__(self, x: Tensor) -> Tensor:
        factor = -(1 / self.width) * (1 / self.width)
        if is_of_torch(x):
            return on_torch.bell(x, factor)
        return ops.exp(x * (x * factor))


@shape_function(
    "shifted_sigmoid", example="shifted_sigmoid(slope=5, shift=0.5)", on="relu"
)
class ShiftedSigmoid(Shape):
    """A smooth step: the paper's shape function for ReLU.

    `s(x) = sigmoid(slope * (x + shift))`

    With the defaults the accelerated ReLU passes gradient down to about x = -1.5.
    It also has a derivative of nearly 2 in every active unit, which compounds
    over the layers of a deep network and acts there like a larger learning rate.

    Args:
        slope: Steepness of the step, per unit of pre-activation. Greater than 0.
            Defaults to 5.
        shift: How far below zero the step lies, in units of pre-activation: the shape
            is 1/2 at `x = -shift`. Any finite number. Defaults to 0.5.

    Raises:
        TypeError: If an argument is not a number.
        ValueError: If an argument is not finite, or `slope` is not greater
            than 0.

    Examples:
        >>> from gaaf_keras import ShiftedSigmoid
        >>> shape = ShiftedSigmoid(slope=5.0, shift=0.5)
        >>> [round(float(shape(x)), 4) for x in (-1.5, -0.5, 0.0)]
        [0.0067, 0.5, 0.9241]

    Reference:
        Hahn and Choi, "Gradient Acceleration in Activation Functions"
        (arXiv 1806.09783), the "shifted sigmoid" plotted for ReLU. The paper prints no
        formula; this one is fitted to the plot.
    """

    slope: float = 5.0
    shift: float = 0.5

    def __post_init__(self) -> None:
        self._set(
            slope=positive_number("slope", self.slope),
            shift=finite_number("shift", self.shift),
        )

    def __call__(self, x: Tensor) -> Tensor:
        if is_of_torch(x):
            return on_torch.step(x, self.slope, self.shift)
        return _sigmoid(self.slope * (x + self.shift))


def _sigmoid(x: Tensor) -> Tensor:
    """sigmoid(x), in single precision in the form that XLA computes fastest.

    It takes two thirds of the time, with an absolute error of 3e-8, half a rounding of
    the derivative of an active unit.
    """
    if is_compiling() and keras.backend.standardize_dtype(x.dtype) == "float32":
        return 0.5 + 0.5 * ops.tanh(0.5 * x)
    return ops.sigmoid(x)


@shape_function("constant", example="constant(0.1)", on="sigmoid")
class Constant(Shape):
    """A shape that is the same everywhere.

    `s(x) = value`

    With a value of 0.1 it is Fahlman's remedy for the flat spots of the sigmoid; with
    1 it is the paper's sawtooth g alone, without a shape function.

    Args:
        value: The number added to the derivative, 0 or greater. Defaults to 0.1.

    Raises:
        TypeError: If `value` is not a number.
        ValueError: If `value` is negative or not finite.

    Examples:
        >>> from gaaf_keras import gaaf
        >>> from gaaf_keras.shapes import Constant
        >>> sigmoid_prime_plus_a_tenth = gaaf("sigmoid", shape_function=Constant(0.1))

    Reference:
        Fahlman, "An empirical study of learning speed in back-propagation networks"
        (CMU-CS-88-162, 1988), section 3.1.
    """

    value: float = 0.1

    def __post_init__(self) -> None:
        self._set(value=non_negative_number("value", self.value))

    def __call__(self, x: Tensor) -> Tensor:
        return self.value * ops.ones_like(x)


@shape_function("sum", example="gaussian + constant(0.1)", on="hard_tanh")
class Sum(Shape):
    """The sum of two shapes, also `first + second`.

    `s(x) = first(x) + second(x)`
    """

    first: Function
    second: Function

    def __post_init__(self) -> None:
        require_shape("first", self.first)
        require_shape("second", self.second)

    def __call__(self, x: Tensor) -> Tensor:
        return self.first(x) + self.second(x)

    def __str__(self) -> str:
        return f"{self.first} + {self.second}".replace("+ -1 * ", "- ")


@shape_function("scaled", example="0.5 * shifted_sigmoid")
class Scaled(Shape):
    """A multiple of a shape, also `factor * shape_function`.

    `s(x) = factor * shape_function(x)`
    """

    shape_function: Function
    factor: float

    def __post_init__(self) -> None:
        require_shape("shape_function", self.shape_function)
        self._set(factor=finite_number("factor", self.factor))

    def __call__(self, x: Tensor) -> Tensor:
        return self.factor * self.shape_function(x)

    def __str__(self) -> str:
        inner = (
            f"({self.shape_function})"
            if isinstance(self.shape_function, Sum)
            else str(self.shape_function)
        )
        return f"{self.factor:g} * {inner}"


@shape_function("clipped", example="clipped(gaussian, 0, 0.5)", on="tanh")
class Clipped(Shape):
    """A shape with limited values, also `shape_function.clip(minimum, maximum)`.

    `s(x) = min(max(shape_function(x), minimum), maximum)`
    """

    shape_function: Function
    minimum: float
    maximum: float

    def __post_init__(self) -> None:
        require_shape("shape_function", self.shape_function)
        self._set(minimum=finite_number("minimum", self.minimum))
        self._set(maximum=finite_number("maximum", self.maximum))
        if self.minimum > self.maximum:
            raise ValueError(
                "Argument `minimum` must not be greater than `maximum`. "
                f"Received: minimum={self.minimum}, maximum={self.maximum}"
            )

    def __call__(self, x: Tensor) -> Tensor:
        # On PyTorch, Keras's clip would round the limits to float32.
        value = self.shape_function(x)
        one = ops.ones_like(value)
        value = ops.where(value < self.minimum, self.minimum * one, value)
        return ops.where(value > self.maximum, self.maximum * one, value)


@shape_function("one_sided", example="one_sided(shifted_sigmoid)")
class OneSided(Shape):
    """A shape on one side of a pre-activation, and 0 on the other.

    `s(x) = shape_function(x)` for `x <= at`, else `0`; with `side="positive"` for
    `x > at`

    With `at` where the plain activation turns flat, only the derivative on the flat
    side changes: `ShiftedSigmoid().one_sided()` leaves ReLU's derivative of 1 in active
    units as it is. Also `shape_function.one_sided(side, at)`.

    Args:
        shape_function: The shape function.
        side: `"negative"` or `"positive"`. Defaults to `"negative"`.
        at: The pre-activation that separates the sides. Defaults to 0.

    Raises:
        TypeError: If `shape_function` is not a shape function or `at` is not a number.
        ValueError: If `side` is neither of these or `at` is not finite.
    """

    shape_function: Function
    side: str = "negative"
    at: float = 0.0

    def __post_init__(self) -> None:
        require_shape("shape_function", self.shape_function)
        self._set(at=finite_number("at", self.at))
        if self.side not in ("negative", "positive"):
            raise ValueError(
                "Argument `side` must be 'negative' or 'positive'. "
                f"Received: side={self.side!r}"
            )

    def __call__(self, x: Tensor) -> Tensor:
        value = self.shape_function(x)
        kept = x <= self.at if self.side == "negative" else x > self.at
        return ops.where(kept, value, ops.zeros_like(value))
