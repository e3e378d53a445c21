"""The accelerated activation: the plain one's value with another gradient."""

import functools
import numbers
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import ops

from gaaf_keras import shapes
from gaaf_keras._accelerated.gain import UnitGain, unit_gain
from gaaf_keras._core.checks import non_negative_number, positive_number
from gaaf_keras._core.compiling import (
    in_one_pass,
    is_compiling,
    is_of_torch,
    on_torch,
    product,
)
from gaaf_keras._core.differentiation import derivative_by_differentiation
from gaaf_keras._core.forms import current_form
from gaaf_keras._core.gradients import (
    with_added_gradient,
    with_gradient,
    with_scaled_gradient,
    with_slope,
)
from gaaf_keras._core.kinds import derivative_of, get, is_function_of_keras, name_of
from gaaf_keras._core.known_activations import NOT_ELEMENTWISE, Derivative
from gaaf_keras._core.sawtooth import gradient_acceleration, require_floating_point
from gaaf_keras._core.types import Activation, Config, Function, Tensor


@keras.saving.register_keras_serializable("gaaf_keras")
class AcceleratedActivation(keras.Operation):
    """What `gaaf_keras.gaaf` returns: a saveable function of one tensor.

    See `gaaf_keras.gaaf` for the formulas and the arguments. It is an object and
    not a closure so that a model that contains it can be saved, and an operation
    so that it can be called on symbolic Keras tensors.
    """

    def __init__(
        self,
        activation: Activation,
        shape_function: shapes.ShapeLike | None = None,
        strength: float = 1.0,
        *,
        frequency: float | None = None,
        unit_gain: bool = False,
        name: str | None = None,
        applied: Function | None = None,
        differentiate: bool = False,
    ) -> None:
        super().__init__(name=name)
        _require_no_tensor(activation=activation, shape_function=shape_function)
        _require_no_shape(activation)
        self.activation = get(activation)
        _require_elementwise(activation)
        # Computes phi in place of `activation`: a function with the same values that a
        # layer holds. The backend gives its derivative if `differentiate` is true.
        self._applied = self.activation if applied is None else applied
        self._differentiate = differentiate
        if shape_function is None:
            shape_function = shapes.default_for(activation)
        shape_function = shapes.get(shape_function)
        if isinstance(shape_function, shapes.Shape):
            shape_function = shape_function.bound_to(self.activation)
        _require_same_shape(shape_function)
        self.shape_function = shape_function
        self.frequency = (
            None if frequency is None else positive_number("frequency", frequency)
        )
        if not isinstance(unit_gain, bool):
            raise TypeError(
                "Argument `unit_gain` must be True or False. "
                f"Received: unit_gain={unit_gain!r}"
            )
        self.unit_gain = unit_gain
        self._derivative = None if differentiate else derivative_of(self.activation)
        products = {} if self._derivative is None else self._derivative.product
        self._product = products.get(keras.backend.backend())
        is_of_input = on_torch is not None and self._product in on_torch.OF_INPUT
        self._takes_value = self._product is not None and not is_of_input
        self._function_of_torch = self._find_function_of_torch()
        self._gain = self._make_gain() if unit_gain else None
        self.strength = strength

    @property
    def strength(self) -> float:
        """The factor on the shape."""
        return self._strength_and_gain[0]

    @strength.setter
    def strength(self, value: float) -> None:
        value = non_negative_number("strength", value)
        gain = None if self._gain is None else self._gain(value)
        self._strength_and_gain = value, gain  # at once: other threads may read

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if len(args) == 1 and not kwargs and is_of_torch(args[0]):
            return self.call(*args)  # Keras's checks would take as long as a gradient
        return super().__call__(*args, **kwargs)

    def call(self, x: Tensor) -> Tensor:
        return self.accelerate(x, self.strength)

    def plain(self, x: Tensor) -> Tensor:
        """Returns phi(x) in the dtype of x, also where a layer has another dtype."""
        if self._function_of_torch is not None and is_of_torch(x):
            return self._function_of_torch(x)
        value = self._applied(x)
        is_layer = isinstance(self._applied, keras.layers.Layer)
        return ops.cast(value, x.dtype) if is_layer else value

    def replaced(self, **arguments: Any) -> "AcceleratedActivation":
        """Returns a copy with some arguments replaced, such as `shape_function`."""
        own = {
            "shape_function": self.shape_function,
            "strength": self.strength,
            "frequency": self.frequency,
            "unit_gain": self.unit_gain,
            "name": self.name,
            "applied": self._applied,
            "differentiate": self._differentiate,
        }
        return AcceleratedActivation(self.activation, **{**own, **arguments})

    def accelerate(self, x: Tensor, strength: float | Tensor) -> Tensor:
        """Returns phi(x) accelerated with a given strength, which may be a tensor.

        What is computed of that tensor is computed where it is used: on JAX, a custom
        gradient cannot hold a tensor made in the body of a loop.
        """
        if self._function_of_torch is None or not is_of_torch(x):
            x = require_floating_point(ops.convert_to_tensor(x))
        if current_form() == "plain":
            return self.plain(x)
        if self.frequency is not None:
            return self._literal(x, strength, self.frequency)
        if current_form() == "operations":
            return self._of_operations(x, strength)
        if self._derivative is None:
            return self._appended(x, strength)
        return self._fused(x, strength, self._derivative)

    def _fused(
        self, x: Tensor, strength: float | Tensor, derivative: Derivative
    ) -> Tensor:
        """The activation with one closed-form expression for its backward pass."""
        by_value = self._takes_value or derivative.of_value is not None

        def gradient_of(
            x: Tensor, upstream: Tensor, value: Tensor = None, once: bool = False
        ) -> Tensor:
            if once:
                is_ours = isinstance(self.shape_function, shapes.Shape)
                if is_ours and on_torch.is_worth_compiling(x):
                    total = functools.partial(self._total, derivative)
                    return on_torch.in_one_pass(self, total, x, upstream, strength)
                if self._product is not None and isinstance(strength, float):
                    value = value if self._takes_value else x
                    return self._total_on_torch(x, upstream, value, strength)
            # Otherwise do not reuse the value of the forward pass: eager TensorFlow
            # forgets its gradient. Graphs compute both at once.
            if value is None and by_value:
                value = self.plain(x)
            values = [] if value is None else [value]
            total = functools.partial(self._total, derivative, strength)
            is_step = derivative.where_one is not None
            return self._in_one_pass(total, is_step)(x, upstream, *values)

        function = self._function_of_torch or self.plain
        return with_gradient(function, gradient_of, x, keep=self._takes_value)

    def _total(
        self,
        derivative: Derivative,
        strength: float | Tensor,
        x: Tensor,
        upstream: Tensor,
        value: Tensor = None,
    ) -> Tensor:
        """The gradient of x, by the cheapest way to have phi'."""
        of_value, where_one = derivative.of_value, derivative.where_one
        gain = self._gain_of(strength, x)
        if gain is not None:
            # Here, because XLA would compute the total again for each convolution that
            # takes it: a factor of the total becomes one of their results.
            upstream = gain * upstream
        added = self._strong_shape_of(x, strength)
        if where_one is not None and is_compiling():
            # XLA takes several times longer on a product with 0 and 1. As single
            # operations these take longer than the product.
            return ops.where(where_one(x), upstream, 0.0) + upstream * added
        operation = self._product if self._takes_value else None
        if operation and value is not None and not is_compiling():
            return product(operation, upstream, value, added)
        if of_value is not None and value is not None:
            return upstream * (of_value(value) + added)
        return upstream * (derivative(x) + added)

    def _total_on_torch(
        self, x: Tensor, upstream: Tensor, value: Tensor, strength: float
    ) -> Tensor:
        """`_total` in little new memory, if nobody differentiates it."""
        is_new = type(self.shape_function) is shapes.Gaussian
        if is_new and strength == 1 and on_torch.is_quick_tanh(self._product, x):
            total = on_torch.quick_tanh(upstream, value, self._shape_of(x))
        else:
            # First what is returned, so that the end of the memory is freed.
            total = on_torch.BACKWARD[self._product](upstream, value)
            total.addcmul_(upstream, self._shape_of(x), value=strength)
        gain = self._gain_of(strength, x)
        return total if gain in (None, 1) else total.mul_(gain)

    def _gain_of(self, strength: float | Tensor, x: Tensor) -> float | Tensor | None:
        """The factor of unit gain; None without it."""
        known, gain = self._strength_and_gain
        if self._gain is None or (isinstance(strength, float) and strength == known):
            return gain
        return _in_dtype_of(x, self._gain(strength))

    def _appended(self, x: Tensor, strength: float | Tensor) -> Tensor:
        """The activation differentiated by the backend, plus the shape's part."""
        gain_of = functools.partial(self._gain_of, strength)
        if self._gain is None:
            value = self.plain(x)
        elif isinstance(self._applied, keras.layers.Layer):
            # Scale the gradient of x only: the layer's weights keep their gradients.
            value = self.plain(with_scaled_gradient(x, gain_of))
        else:  # so that phi'' is scaled once, too
            value = with_scaled_gradient(self.plain(x), gain_of)
        if not _may_be_equal(value.shape, x.shape):
            raise ValueError(
                "Argument `activation` must be an elementwise function, whose output "
                "has the same shape as its input. Received: "
                f"activation={self.activation}, which maps shape {tuple(x.shape)} to "
                f"{tuple(value.shape)}"
            )

        def added_of(x: Tensor, upstream: Tensor) -> Tensor:
            upstream = ops.cast(upstream, x.dtype)
            upstream = upstream if self._gain is None else gain_of(x) * upstream
            return upstream * self._strong_shape_of(x, strength)

        return with_added_gradient(value, self._in_one_pass(added_of), x)

    def _of_operations(self, x: Tensor, strength: float | Tensor) -> Tensor:
        """The activation with the same derivative, but no custom gradient."""
        slope = self._strong_shape_of(x, strength)
        gain = self._gain_of(strength, x)
        if self._derivative is not None:
            value = ops.stop_gradient(self.plain(x))
            slope = self._derivative(x) + slope
        elif gain is None:
            value = self.plain(x)
        else:
            value = self.plain(with_slope(ops.stop_gradient(x), gain, x))
        return with_slope(value, slope if gain is None else gain * slope, x)

    def _literal(self, x: Tensor, strength: float | Tensor, frequency: float) -> Tensor:
        """The paper's formula phi(x) + g(x) s(x), differentiated by the backend."""
        dtype = keras.backend.standardize_dtype(x.dtype)
        if dtype in ("float16", "bfloat16"):
            raise ValueError(
                "Argument `frequency` cannot be used in half precision, where the "
                "sawtooth is smaller than the rounding error of the activation. Leave "
                "it out (the exact limit works in every precision), or compute this "
                f"layer in float32. Received: frequency={frequency!r}, x of dtype "
                f"{dtype}"
            )
        # At infinity the sawtooth has no value: the base alone decides.
        finite = ops.isfinite(x)
        inner = ops.where(finite, x, ops.zeros_like(x))
        added = gradient_acceleration(inner, frequency) * self._shape_of(inner)
        added = _in_dtype_of(x, strength) * added
        added = ops.where(finite, added, ops.zeros_like(x))
        return self.plain(x) + added

    def _shape_of(self, x: Tensor) -> Tensor:
        """s(x), with 0 in place of NaN, such as where x is NaN."""
        value = self.shape_function(x)
        if getattr(value, "dtype", None) != x.dtype:
            value = ops.cast(value, x.dtype)
        by_value = self._derivative is not None and self._derivative.of_value
        if by_value and type(self.shape_function) is shapes.Gaussian:
            return value  # NaN only where phi' is NaN too
        if on_torch is not None:
            is_new = type(self.shape_function) is shapes.ShiftedSigmoid
            return on_torch.without_nan(value, is_new)
        return ops.where(ops.isnan(value), 0.0, value)

    def _strong_shape_of(self, x: Tensor, strength: float | Tensor) -> Tensor:
        """The shape's part of the derivative, strength * s(x)."""
        shape = self._shape_of(x)
        is_one = isinstance(strength, float) and strength == 1
        return shape if is_one else _in_dtype_of(x, strength) * shape

    def _in_one_pass(
        self, function: Callable[..., Any], is_step: bool = False
    ) -> Callable[..., Any]:
        """The function compiled, if the shape is known to use Keras operations only."""
        is_ours = isinstance(self.shape_function, shapes.Shape)
        return in_one_pass(function, is_step) if is_ours else function

    def _find_function_of_torch(self) -> Function | None:
        """Returns what computes phi there without the detours of Keras's operations."""
        if on_torch is None or self._applied is not self.activation:
            return None
        return on_torch.FUNCTIONS.get(self._product)

    def _make_gain(self) -> UnitGain:
        if self.frequency is not None:
            raise ValueError(
                "Arguments `frequency` and `unit_gain` cannot be combined: the literal "
                "formula has no place for a factor on phi'. Leave one of them out. "
                f"Received: frequency={self.frequency!r}, unit_gain=True"
            )
        derivative = derivative_of(self.activation)
        if derivative is None and name_of(self.activation) == "prelu":
            derivative = derivative_of("relu")  # whatever values its slopes take
        if derivative is None and is_function_of_keras(self.activation):
            derivative = _differentiated(self.activation)
        if derivative is None:  # the user's function, which nothing may keep alive
            derivative = Derivative(derivative_by_differentiation(self.plain))
            return UnitGain(derivative, self.shape_function)
        return unit_gain(derivative, self.shape_function)

    def compute_output_spec(self, x: Tensor) -> keras.KerasTensor:
        require_floating_point(x)
        return keras.KerasTensor(x.shape, dtype=x.dtype)

    def get_config(self) -> Config:
        return {
            "name": self.name,
            "activation": keras.activations.serialize(self.activation),
            "shape_function": keras.saving.serialize_keras_object(self.shape_function),
            "strength": self.strength,
            "frequency": self.frequency,
            "unit_gain": self.unit_gain,
        }

    def __repr__(self) -> str:
        base = getattr(self.activation, "__name__", self.activation)
        return (
            f"gaaf({base!r}, shape_function={self.shape_function!r}, "
            f"strength={self.strength}, frequency={self.frequency}, "
            f"unit_gain={self.unit_gain})"
        )


def _in_dtype_of(x: Tensor, factor: float | Tensor) -> float | Tensor:
    return factor if isinstance(factor, float) else ops.cast(factor, x.dtype)


@functools.cache
def _differentiated(activation: Function) -> Derivative:
    return Derivative(derivative_by_differentiation(activation))


def _require_no_tensor(**arguments: Any) -> None:
    """Raises if brackets were forgotten, as in `Dense(3, activation=GAAFTanh)`."""
    for name, value in arguments.items():
        if ops.is_tensor(value) or isinstance(value, (keras.KerasTensor, np.ndarray)):
            raise TypeError(
                "`GAAFTanh`, `GAAFReLU`, `GAAF` and `gaaf` make an activation, which "
                "is then called on tensors. Add the brackets: "
                "`activation=GAAFTanh()` or `activation=GAAF('relu')`. "
                f"Received: a tensor of shape {tuple(value.shape)} as `{name}`"
            )


def _require_no_shape(activation: Activation) -> None:
    name = activation.partition("(")[0] if isinstance(activation, str) else None
    if isinstance(activation, shapes.Shape) or name in shapes.base.DEFINED:
        raise ValueError(
            "Argument `activation` must be an activation. The shape function is the "
            f"second argument: `GAAF('relu', {activation!r})`. "
            f"Received: activation={activation!r}, which is a shape function"
        )


def _require_elementwise(activation: Activation) -> None:
    name = name_of(activation)
    if name in NOT_ELEMENTWISE:
        raise ValueError(
            "Argument `activation` must be an elementwise function, because a shape "
            f"function is added to each value's own derivative. {name} mixes values: "
            f"leave it plain. Received: activation={activation!r}"
        )


def _require_same_shape(function: Function) -> None:
    """Raises if a function given as a shape returns no tensor of the shape of x."""
    if isinstance(function, (shapes.Shape, keras.Operation)):
        return
    x = ops.ones((2, 3))
    try:
        with keras.StatelessScope():  # keeps random states as they are
            value = function(x)
    except Exception:  # it may need another number of axes or values
        return
    found = getattr(value, "shape", None)
    is_number = isinstance(value, numbers.Real)
    if not is_number and (found is None or not _may_be_equal(found, x.shape)):
        received = repr(value) if found is None else f"a tensor of shape {tuple(found)}"
        raise ValueError(
            "Argument `shape_function` must be an elementwise function, whose output "
            f"has the same shape as its input. Received: shape_function={function!r}, "
            f"which returns {received} for one of shape (2, 3)"
        )


def _may_be_equal(first: Tensor, second: Any) -> bool:
    """Whether two static shapes, whose sizes or rank may be unknown, can be equal."""
    try:
        sizes = list(zip(first, second, strict=True))
    except ValueError:  # TensorFlow raises it for an unknown rank, zip otherwise
        return getattr(first, "rank", 0) is None or getattr(second, "rank", 0) is None
    return all(None in pair or pair[0] == pair[1] for pair in sizes)
