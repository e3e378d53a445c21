"""Ways to give a value a gradient that is not its own."""

from collections.abc import Callable
from typing import Any

from keras import ops

from gaaf_keras._core.compiling import on_torch
from gaaf_keras._core.types import Tensor

Function = Callable[..., Tensor]


def with_gradient(
    function: Function, gradient_of: Function, x: Tensor, keep: bool = False
) -> Tensor:
    """Returns `function(x)`, whose gradient is `gradient_of(x, upstream)`.

    On PyTorch `gradient_of` also gets the value, if that is to be kept, and whether the
    gradient is sure not to be differentiated again.
    """
    if on_torch is not None:
        return on_torch.with_gradient(function, gradient_of, x, keep)

    @ops.custom_gradient
    def replaced(x: Tensor) -> Tensor:
        def gradient(*args: Any, upstream: Tensor = None) -> Tensor:
            return gradient_of(x, _upstream(args, upstream))

        return function(x), gradient

    return replaced(x)


def with_added_gradient(value: Tensor, added_of: Function, x: Tensor) -> Tensor:
    """Returns `value`, and adds `added_of(x, upstream)` to the gradient of x."""
    if on_torch is not None:
        return on_torch.with_added_gradient(value, added_of, x)

    @ops.custom_gradient
    def added(value: Tensor, x: Tensor) -> Tensor:
        def gradient(*args: Any, upstream: Tensor = None) -> Tensor:
            upstream = _upstream(args, upstream)
            return upstream, added_of(x, upstream)

        return value, gradient

    return added(value, x)


def with_scaled_gradient(x: Tensor, factor_of: Function) -> Tensor:
    """Returns a tensor unchanged, with its gradient multiplied by `factor_of(x)`."""

    def gradient_of(x: Tensor, upstream: Tensor, *_: Any) -> Tensor:
        return factor_of(x) * upstream

    return with_gradient(lambda x: x, gradient_of, x)


def with_slope(value: Tensor, slope: Tensor, x: Tensor) -> Tensor:
    """Returns a value with a slope added to its derivative with respect to x.

    It is `value + (x - x) * slope`, where only the first x has a gradient. It consists
    of operations alone, so it is differentiated wherever they are. A slope that is not
    finite counts as 0.
    """
    nothing = x - ops.stop_gradient(x)
    finite = ops.logical_and(ops.isfinite(x), ops.isfinite(slope))
    nothing = ops.where(finite, nothing, ops.zeros_like(x))
    slope = ops.where(finite, slope, ops.zeros_like(x))
    return value + nothing * ops.stop_gradient(slope)


def _upstream(args: tuple[Any, ...], upstream: Tensor) -> Tensor:
    """The upstream gradient, which backends pass by name or as the last argument."""
    return args[-1] if upstream is None else upstream
