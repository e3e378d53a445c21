"""Gradients of functions' own on PyTorch, in as few operations as it has.

Each operation there goes through memory once, and its result is new memory unless it is
computed in the place of one that nobody else knows.
"""

import functools
import math
import weakref
from collections.abc import Callable
from typing import Any

import torch
from torch.autograd import forward_ad

Tensor = torch.Tensor
_MANY_VALUES = 1 << 25  # with fewer, starting a compiled function takes as long
_COMPILED: weakref.WeakKeyDictionary[Any, Any] = weakref.WeakKeyDictionary()


def with_gradient(
    function: Callable[..., Tensor],
    gradient_of: Callable[..., Tensor],
    x: Tensor,
    keep: bool,
) -> Tensor:
    """Returns `function(x)`, whose gradient is `gradient_of(x, upstream, value, once)`.

    The value is None unless it is to be kept. Where the gradient may be differentiated
    again or is traced it is None too, and `once` False.
    """
    if torch.compiler.is_compiling():  # which refuses a `jvp`
        # An input of `torch.func.grad` itself would lose its custom gradient.
        return _Replaced.apply(function, gradient_of, x.view_as(x), False)
    transforms = torch._C._functorch.get_interpreter_stack()
    if transforms is None:
        # Past `torch.autograd.Function.apply`, which binds its arguments by name: that
        # takes longer than the gradient of a small tensor.
        apply = super(torch.autograd.Function, _ReplacedInEachMode).apply
        return apply(function, gradient_of, x, keep)
    forward = torch._C._functorch.TransformType.Jvp
    if sum(transform.key() == forward for transform in transforms) > 1:
        raise NotImplementedError(
            "PyTorch gives a custom gradient the second derivative 0 in forward mode "
            "inside of forward mode. Use `torch.func.hessian`, or `torch.func.jacrev` "
            "for one of the two."
        )
    return _ReplacedInEachMode.apply(function, gradient_of, x, False)


def with_added_gradient(
    value: Tensor, added_of: Callable[..., Tensor], x: Tensor
) -> Tensor:
    """Returns a value with its own gradient, and `added_of(x, upstream)` to x."""

    def nothing(x: Tensor) -> Tensor:
        return torch.full_like(x, -0.0, dtype=value.dtype)  # -0 + 0 would be 0

    def gradient_of(x: Tensor, upstream: Tensor, *_: Any) -> Tensor:
        return added_of(x, upstream)

    return value + with_gradient(nothing, gradient_of, x, keep=False)


class _Replaced(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(
        function: Callable[..., Tensor], _: Callable[..., Tensor], x: Tensor, __: bool
    ) -> Tensor:
        value = function(x)
        return x.clone() if value is x else value

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        _, ctx.gradient_of, x, keep = inputs
        ctx.save_for_backward(x, output if keep else None)
        ctx.save_for_forward(x, None)

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[None, None, Tensor, None]:
        x, value = ctx.saved_tensors
        once = _is_final()
        value = value if once else None
        return None, None, ctx.gradient_of(x, upstream, value, once), None


class _ReplacedInEachMode(_Replaced):
    @staticmethod
    def jvp(ctx: Any, _: None, __: None, tangent: Tensor, ___: None) -> Tensor:
        return ctx.gradient_of(ctx.saved_tensors[0], tangent, None, False)


def _is_final() -> bool:
    """Whether nobody records operations, to differentiate or repeat them later."""
    return not (
        torch.is_grad_enabled()
        or torch.compiler.is_compiling()
        or forward_ad._current_level >= 0
        or torch._C._functorch.get_interpreter_stack()
    )


def is_floating_point(x: Any) -> bool:
    """Whether x is a tensor of floating-point numbers."""
    return isinstance(x, Tensor) and x.is_floating_point()


def is_worth_compiling(x: Tensor) -> bool:
    """Whether one kernel that is compiled is faster than several that are there."""
    return x.is_cuda and x.numel() >= _MANY_VALUES and _triton_is_there()


def in_one_pass(
    owner: object,
    expression: Callable[..., Tensor],
    x: Tensor,
    upstream: Tensor,
    strength: Any,
) -> Tensor:
    """Returns `expression(strength, x, upstream)`, compiled once by its owner."""
    from torch.fx.experimental.proxy_tensor import make_fx

    if isinstance(strength, float):
        strength = x.new_full((), strength)
    tensors = strength, x.detach(), upstream
    compiled = _COMPILED.setdefault(owner, {})
    if x.dtype not in compiled:

        def traced(*tensors: Tensor) -> Tensor:  # without more parameters than these
            return expression(*tensors)

        compiled[x.dtype] = torch.compile(make_fx(traced)(*tensors), dynamic=True)
    return compiled[x.dtype](*tensors)


@functools.cache
def _triton_is_there() -> bool:
    try:
        torch.compile(torch.neg)(torch.ones(1, device="cuda"))
    except Exception:  # of Triton or of the C compiler that it needs: there are many
        return False
    return True


def bell(x: Tensor, factor: float) -> Tensor:
    """Returns exp(factor * x^2)."""
    exponent = torch.addcmul(x.new_zeros(()), x, x, value=factor)
    return exponent.exp_() if _is_final() else exponent.exp()


def step(x: Tensor, slope: float, shift: float) -> Tensor:
    """Returns sigmoid(slope * (x + shift))."""
    inner = torch.add(x.new_full((), slope * shift), x, alpha=slope)
    return inner.sigmoid_() if _is_final() else inner.sigmoid()


def without_nan(x: Tensor, is_new: bool) -> Tensor:
    """Returns x with 0 for what is no number; in place if nobody else knows x."""
    operation = torch.nan_to_num_ if is_new and _is_final() else torch.nan_to_num
    return operation(x, nan=0.0, posinf=math.inf, neginf=-math.inf)


def is_quick_tanh(operation: str, x: Tensor) -> bool:
    """Whether `quick_tanh` may compute a gradient.

    Its error is a rounding of 1, as that of 1 - tanh^2 is. In half precision that is
    large beside the shape where tanh is saturated.
    """
    is_precise = x.dtype in (torch.float32, torch.float64)
    return is_precise and operation == "tanh_backward"


def quick_tanh(upstream: Tensor, value: Tensor, shape: Tensor) -> Tensor:
    """Returns upstream * (1 - value^2 + shape), in the shape's memory."""
    shape.addcmul_(value, value, value=-1)
    try:
        return torch.addcmul(upstream, upstream, shape, out=shape)
    except RuntimeError:  # of batched gradients, which know no `out`
        return torch.addcmul(upstream, upstream, shape)


# By the operation that differentiates it: the activation; and upstream * phi', from
# upstream and phi(x). Some take x instead, and are not to be differentiated again.
FUNCTIONS = {
    "tanh_backward": torch.tanh,
    "sigmoid_backward": torch.sigmoid,
    "threshold_backward": torch.relu,
    "gelu_backward": torch.nn.functional.gelu,
    "silu_backward": torch.nn.functional.silu,
    "elu_backward": torch.nn.functional.elu,
}
BACKWARD: dict[str, Callable[..., Tensor]] = {
    "tanh_backward": torch.ops.aten.tanh_backward.default,
    "sigmoid_backward": torch.ops.aten.sigmoid_backward.default,
    "threshold_backward": lambda upstream, value: (
        torch.ops.aten.threshold_backward.default(upstream, value, 0)
    ),
    "gelu_backward": torch.ops.aten.gelu_backward.default,
    "silu_backward": torch.ops.aten.silu_backward.default,
    "elu_backward": lambda upstream, x: torch.ops.aten.elu_backward.default(
        upstream, 1, 1, 1, False, x
    ),
}
OF_INPUT = ("gelu_backward", "silu_backward", "elu_backward")
