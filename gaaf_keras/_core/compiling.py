"""How each backend computes a gradient in as few operations as it can."""

import contextvars
import functools
import math
from collections.abc import Callable
from typing import Any

import keras

from gaaf_keras._core.types import Tensor

# The module of what PyTorch does in its own way; None on other backends.
on_torch: Any = None
if keras.backend.backend() == "torch":
    from gaaf_keras._core import on_torch

# With fewer, starting what is compiled takes as long as the operations it saves. Of a
# step these are more.
_MANY_VALUES = 100_000
_MANY_VALUES_OF_A_STEP = 60_000
_USUAL_BATCH = 128
_COMPILING = contextvars.ContextVar("compiling", default=False)


def in_one_pass(
    function: Callable[..., Tensor], is_step: bool = False
) -> Callable[..., Tensor]:
    """Returns an elementwise function of Keras operations, compiled if that is cheaper.

    In a TensorFlow graph that is not compiled as a whole, each operation goes through
    memory once. There, on the CPU and outside of distribution strategies, XLA makes the
    expression one operation. Compiled steps, JAX and `torch.compile` do so without
    being asked; eager calls would compile again each time.
    """
    if keras.backend.backend() != "tensorflow":
        return function
    import tensorflow as tf

    least = _MANY_VALUES_OF_A_STEP if is_step else _MANY_VALUES

    def chosen(first: Tensor, *others: Tensor) -> Tensor:
        compiled = (
            not tf.executing_eagerly()
            and not tf.distribute.has_strategy()
            and not tf.config.list_physical_devices("GPU")
            and _is_large(first.shape, least)
            and _xla_is_there()
        )
        if compiled:
            return tf.function(traced, jit_compile=True)(first, *others)
        return function(first, *others)

    def traced(*tensors: Tensor) -> Tensor:
        token = _COMPILING.set(True)
        try:
            return function(*tensors)
        finally:
            _COMPILING.reset(token)

    return chosen


def is_compiling() -> bool:
    """Whether XLA will make one operation of what is computed now."""
    backend = keras.backend.backend()
    return backend == "jax" or (backend == "tensorflow" and _COMPILING.get())


def is_traced(x: Tensor) -> bool:
    """Whether what is computed now will be called again without its Python code.

    `torch.compile` runs that again when a number in it has changed.
    """
    backend = keras.backend.backend()
    if backend == "jax":
        import jax

        return isinstance(x, jax.core.Tracer)
    if backend == "tensorflow":
        import tensorflow as tf

        return not tf.executing_eagerly()
    return False


def product(operation: str, upstream: Tensor, value: Tensor, added: Tensor) -> Tensor:
    """Returns upstream * (phi' + added), phi' by the backend's operation on phi(x)."""
    if on_torch is not None:
        own = on_torch.BACKWARD[operation](upstream, value)
    else:
        import tensorflow as tf

        own = getattr(tf.raw_ops, operation)(y=value, dy=upstream)
    return own + upstream * added


def is_of_torch(x: Tensor) -> bool:
    """Whether `on_torch` has formulas for a tensor."""
    return on_torch is not None and on_torch.is_floating_point(x)


def _is_large(shape: Any, least: int) -> bool:
    """Whether a tensor is worth compiling for. XLA compiles again for each shape."""
    if shape.rank is None or not shape[1:].is_fully_defined():
        return False
    sizes = [_USUAL_BATCH if size is None else size for size in shape]
    return math.prod(sizes) >= least


@functools.cache
def _xla_is_there() -> bool:
    import tensorflow as tf

    with tf.init_scope():
        try:
            tf.function(tf.identity, jit_compile=True)(tf.zeros(1))
        except (tf.errors.OpError, ValueError):
            return False
    return True
