"""Gradients of functions of tensors, on whichever backend Keras uses."""

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import keras
from keras import ops

from gaaf_keras._core.types import Function, Tensor

Tensors: TypeAlias = Sequence[Tensor]


def gradient(
    function: Callable[[Tensors], Tensor],
) -> Callable[[Tensors], list[Tensor]]:
    """Returns a function that computes the gradients of a scalar function of tensors.

    The gradient is 0 for a tensor without influence, and can be differentiated again.
    """
    both = gradient_and_more(lambda tensors: (function(tensors), []))
    return lambda tensors: both(tensors)[0]


def derivative_by_differentiation(
    function: Function,
) -> Function:
    """Returns the derivative of an elementwise function, computed by the backend."""

    def total(tensors: Tensors) -> Tensor:
        return ops.sum(function(tensors[0]))

    return lambda x: gradient(total)([x])[0]


def gradient_and_more(
    function: Callable[[Tensors], tuple[Tensor, list[Tensor]]],
) -> Callable[[Tensors], tuple[list[Tensor], list[Tensor]]]:
    """The same for a function that returns a list of other tensors as well."""
    return _GRADIENTS[keras.backend.backend()](function)


def _tensorflow_gradient(function: Callable[[Tensors], Tensor]) -> Callable[..., Any]:
    import tensorflow as tf

    def gradients(tensors: Tensors) -> tuple[list[Tensor], list[Tensor]]:
        tensors = [tf.identity(tensor) for tensor in tensors]
        with tf.GradientTape() as tape:
            tape.watch(tensors)
            value, more = function(tensors)
        zero = tf.UnconnectedGradients.ZERO
        return tape.gradient(value, tensors, unconnected_gradients=zero), more

    return gradients


def _jax_gradient(function: Callable[[Tensors], Tensor]) -> Callable[..., Any]:
    import jax

    return jax.grad(function, has_aux=True)


def _torch_gradient(function: Callable[[Tensors], Tensor]) -> Callable[..., Any]:
    import torch

    def gradients(tensors: Tensors) -> tuple[list[Tensor], list[Tensor]]:
        tensors = [
            tensor if tensor.requires_grad else tensor.detach().clone().requires_grad_()
            for tensor in tensors
        ]
        with torch.enable_grad():
            value, more = function(tensors)
            found = torch.autograd.grad(
                value, tensors, create_graph=True, materialize_grads=True
            )
        return list(found), more

    return gradients


_GRADIENTS = {
    "tensorflow": _tensorflow_gradient,
    "jax": _jax_gradient,
    "torch": _torch_gradient,
}
