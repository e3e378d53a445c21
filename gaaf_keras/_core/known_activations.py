"""What is known of the activations of Keras: one row each, at the end.

At a kink the derivative is that of the flatter side: 0 for ReLU at 0 and for hard tanh
at -1 and 1. (The backends do not agree with each other there.)
"""

import dataclasses
import functools
import math
from collections.abc import Callable, Mapping
from typing import Any

import keras
from keras import ops

from gaaf_keras._core import noise
from gaaf_keras._core.types import Function, Tensor

_SELU_SCALE = 1.0507009873554805
_SELU_ALPHA = 1.6732632423543772
_SQRT_HALF = 0.7071067811865476
_NORMAL_DENSITY_AT_0 = 0.3989422804014327
_FLAT = 0.07  # tanh's derivative at 2


@dataclasses.dataclass(frozen=True)
class Derivative:
    """phi' of an activation, a function of x, and the cheaper ways to have it.

    Attributes:
        of_input: phi' as a function of x.
        of_value: phi' as a function of phi(x), where that is cheaper.
        where_one: The condition on x under which phi' is 1, if it is 0 elsewhere.
        product: The operation from upstream and phi(x) or x to upstream * phi', by
            backend.
    """

    of_input: Function
    of_value: Function | None = None
    where_one: Function | None = None
    product: Mapping[str, str] = dataclasses.field(default_factory=dict, hash=False)

    def __call__(self, x: Tensor) -> Tensor:
        return self.of_input(x)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Known:
    """A row: what is known of one activation of Keras.

    Attributes:
        name: Its name in `keras.activations`, or that of its layer.
        parameters: Parameters of its function and layer, with their defaults.
        derivative: phi', if it has a closed form; with parameters, a function of them.
        default_shape: The default shape, as `gaaf_keras.shapes.get` takes it.
        shape_with: The same with other parameters, a function of them.
        why: Why it is that shape.
        under_noise: `E[phi'(x + noise_std * e)]` as a function of x and noise_std, e
            standard normal.
        is_elementwise: Whether it works on each value by itself.
        other_names: Names by which Keras finds it too.
        written_as: The layer, with parameters, that is the same.
        operation_parameters: Defaults of the operation, where they are others.
    """

    name: str = dataclasses.field(kw_only=False)
    parameters: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    derivative: Derivative | Callable[..., Derivative | None] | None = None
    default_shape: str | None = None
    shape_with: Callable[..., str] | None = None
    why: str = ""
    under_noise: Callable[[Any, float], Any] | None = None
    is_elementwise: bool = True
    other_names: tuple[str, ...] = ()
    written_as: tuple[str, Mapping[str, Any]] | None = None
    operation_parameters: Mapping[str, Any] | None = None

    @property
    def function(self) -> Callable[..., Any] | None:
        """The function in `keras.activations`; None of a layer with weights."""
        return getattr(keras.activations, self.name, None)

    def derivative_with(self, parameters: Mapping[str, Any]) -> Derivative | None:
        """Returns phi' for some parameters, None if it has no closed form."""
        if self.derivative is None or isinstance(self.derivative, Derivative):
            return self.derivative
        return self.derivative(**parameters)

    def default_shape_with(self, parameters: Mapping[str, Any]) -> str | None:
        """Returns the default shape for some parameters, None if there is none."""
        if self.default_shape is not None and parameters == self.parameters:
            return self.default_shape
        return None if self.shape_with is None else self.shape_with(**parameters)


def _by_value(activation: Function, of_value: Function, **product: str) -> Derivative:
    return Derivative(
        lambda x: of_value(activation(x)), of_value=of_value, product=product
    )


def _step(condition: Function, **product: str) -> Derivative:
    return Derivative(
        lambda x: ops.cast(condition(x), x.dtype), where_one=condition, product=product
    )


@functools.cache
def _rectifier(
    negative_slope: float = 0.0, max_value: float | None = None, threshold: float = 0.0
) -> Derivative:
    def is_active(x: Tensor) -> Tensor:
        active = x > threshold
        if max_value is not None:
            active = ops.logical_and(active, x < max_value)
        return active

    def derivative(x: Tensor) -> Tensor:
        below = ops.cast(x <= threshold, x.dtype)
        return ops.cast(is_active(x), x.dtype) + negative_slope * below

    if negative_slope:
        return Derivative(derivative)
    if max_value is not None or threshold != 0:
        return _step(is_active)
    return _step(is_active, torch="threshold_backward")


def _rectifier_shape(
    negative_slope: float, max_value: float | None, threshold: float
) -> str:
    del negative_slope  # what is left of the gradient below needs help all the same
    step = f"shifted_sigmoid(shift={0.5 - threshold})"
    if max_value is None:
        return step
    return f"{step} - shifted_sigmoid(shift={-0.5 - max_value})"


@functools.cache
def _leaky_relu(negative_slope: float) -> Derivative:
    return Derivative(
        lambda x: negative_slope + (1.0 - negative_slope) * ops.cast(x > 0, x.dtype)
    )


def _decay(x: Tensor) -> Tensor:
    """exp(x) below 0, and above nothing that could overflow."""
    return ops.exp(-ops.relu(-x))


@functools.cache
def _elu(alpha: float) -> Derivative:
    def derivative(x: Tensor) -> Tensor:
        below = x <= 0 if alpha < 1 else x < 0
        return ops.where(below, alpha * _decay(x), 1.0)

    product = {"torch": "elu_backward"} if alpha == 1 else {}
    return Derivative(derivative, product=product)


def _exponential_shape(alpha: float, width: float = 1.0) -> str:
    """For a derivative of `alpha * exp(x / width)` below 0."""
    flat_below = width * min(0.0, math.log(_FLAT / alpha)) if alpha > 0 else 0.0
    return f"shifted_sigmoid(shift={0.5 - flat_below})"


def _selu(x: Tensor) -> Tensor:
    return _SELU_SCALE * ops.where(x < 0, _SELU_ALPHA * _decay(x), 1.0)


def _silu(x: Tensor) -> Tensor:
    gate = ops.sigmoid(x)
    return gate * (1.0 + x * (1.0 - gate))


def _hard_silu(x: Tensor) -> Tensor:
    middle = ops.where(x > -3, x / 3.0 + 0.5, 0.0)  # noqa: PLR2004
    return ops.where(x < 3, middle, 1.0)  # noqa: PLR2004


def _gelu(x: Tensor) -> Tensor:
    probability = 0.5 * (1.0 + ops.erf(_SQRT_HALF * x))
    return probability + x * (_NORMAL_DENSITY_AT_0 * ops.exp(-0.5 * x * x))


_GELU = Derivative(_gelu, product={"torch": "gelu_backward"})

ACTIVATIONS = (
    Known(
        "tanh",
        derivative=_by_value(
            ops.tanh,
            lambda value: 1.0 - ops.square(value),
            torch="tanh_backward",
            tensorflow="TanhGrad",
        ),
        under_noise=noise.tanh,
        default_shape="gaussian(width=2)",
        why="the paper's",
    ),
    Known(
        "sigmoid",
        derivative=_by_value(
            ops.sigmoid,
            lambda value: value * (1.0 - value),
            torch="sigmoid_backward",
            tensorflow="SigmoidGrad",
        ),
        under_noise=noise.sigmoid,
        default_shape="0.25 * gaussian(width=4)",
        why="it is (1 + tanh(x / 2)) / 2",
    ),
    Known(
        "hard_tanh",
        derivative=_step(lambda x: ops.abs(x) < 1),
        default_shape="gaussian(width=2)",
        why="stands in for tanh",
    ),
    Known(
        "hard_sigmoid",
        derivative=Derivative(
            lambda x: ops.cast(ops.abs(x) < 3, x.dtype) / 6.0  # noqa: PLR2004
        ),
        default_shape="1 / 6 * gaussian(width=6)",
        why="it is (1 + hard_tanh(x / 3)) / 2",
    ),
    Known(
        "softsign",
        derivative=Derivative(lambda x: 1.0 / ops.square(1.0 + ops.abs(x))),
        default_shape="gaussian(width=2.75)",
        why="its derivative at 2.75 is tanh's at 2",
    ),
    Known(
        "relu",
        parameters={"negative_slope": 0.0, "max_value": None, "threshold": 0.0},
        derivative=_rectifier,
        under_noise=noise.relu,
        default_shape="shifted_sigmoid(slope=5, shift=0.5)",
        shape_with=_rectifier_shape,
        why="the paper's",
    ),
    Known(
        "relu6",
        derivative=_rectifier(max_value=6.0),
        default_shape="shifted_sigmoid(shift=0.5) - shifted_sigmoid(shift=-6.5)",
        why="flat on both sides",
        written_as=(
            "relu",
            {"negative_slope": 0.0, "max_value": 6.0, "threshold": 0.0},
        ),
    ),
    Known(
        "leaky_relu",
        parameters={"negative_slope": 0.2},
        derivative=_leaky_relu,
        default_shape="shifted_sigmoid(shift=0.5)",
        shape_with=lambda negative_slope: "shifted_sigmoid(shift=0.5)",  # noqa: ARG005
        why="as ReLU, less needed",
    ),
    Known(
        "prelu",
        shape_with=lambda: "shifted_sigmoid(shift=0.5)",
        why="as leaky ReLU; its slope is a weight",
    ),
    Known(
        "elu",
        parameters={"alpha": 1.0},
        derivative=_elu,
        default_shape="shifted_sigmoid(shift=3.2)",
        shape_with=_exponential_shape,
        why="flat below -2.7",
    ),
    Known(
        "selu",
        derivative=Derivative(_selu),
        default_shape="shifted_sigmoid(shift=3.7)",
        why="flat below -3.2",
    ),
    Known(
        "softplus",
        derivative=Derivative(ops.sigmoid),
        default_shape="shifted_sigmoid(shift=3.1)",
        why="flat below -2.6",
    ),
    Known(
        "silu",
        derivative=Derivative(_silu, product={"torch": "silu_backward"}),
        default_shape="shifted_sigmoid(shift=1.5)",
        why="flat below -1.0",
        other_names=("swish",),
    ),
    Known(
        "hard_silu",
        derivative=Derivative(_hard_silu),
        default_shape="shifted_sigmoid(shift=1.8)",
        why="flat below -1.3",
        other_names=("hard_swish",),
    ),
    Known(
        "gelu",
        parameters={"approximate": False},
        derivative=lambda approximate: None if approximate else _GELU,
        default_shape="shifted_sigmoid(shift=1.1)",
        shape_with=lambda approximate: "shifted_sigmoid(shift=1.1)",  # noqa: ARG005
        why="flat below -0.6",
        operation_parameters={"approximate": True},
    ),
    Known(
        "mish",
        default_shape="shifted_sigmoid(shift=1.5)",
        why="flat below -1.0",
    ),
    Known(
        "celu",
        parameters={"alpha": 1.0},
        default_shape="shifted_sigmoid(shift=3.2)",
        shape_with=lambda alpha: _exponential_shape(1.0, alpha),
        why="flat below -2.7",
    ),
    Known(
        "squareplus",
        parameters={"b": 4},
        default_shape="shifted_sigmoid(shift=3.9)",
        why="flat below -3.4",
    ),
    Known(
        "log_sigmoid",
        default_shape="constant(1) - shifted_sigmoid(shift=-3.1)",
        why="flat above 2.6",
    ),
    Known(
        "linear",
        derivative=Derivative(ops.ones_like),
        default_shape="constant(0)",
        why="nowhere flat",
    ),
    Known("hard_shrink", parameters={"threshold": 0.5}),
    Known("soft_shrink", parameters={"threshold": 0.5}),
    Known("tanh_shrink"),
    Known("threshold", parameters={"threshold": None, "default_value": None}),
    Known("sparse_plus"),
    Known("sparse_sigmoid"),
    Known("softmax", is_elementwise=False),
    Known("log_softmax", is_elementwise=False),
    Known("sparsemax", is_elementwise=False),
    Known("glu", is_elementwise=False),
)
BY_NAME = {known.name: known for known in ACTIVATIONS}
NOT_ELEMENTWISE = tuple(each.name for each in ACTIVATIONS if not each.is_elementwise)


def known_activations() -> list[str]:
    """Returns the names of the Keras activations with a closed-form derivative."""
    return [known.name for known in ACTIVATIONS if known.derivative is not None]
