"""Values and gradients of a function on Keras's current backend."""

import keras
import numpy as np


def points(dtype="float64", count=2001, limit=30.0):
    """Pre-activations in [-limit, limit]: a grid, both zeros, around the kinks."""
    tiny = np.finfo(dtype).tiny
    kinks = [0.0, -0.0, tiny, -tiny, 1e-3, -1e-3, -0.5, 0.5, -1.0, 1.0]
    grid = np.linspace(-limit, limit, count)
    return np.concatenate([grid, kinks]).astype(dtype)


def upstream_like(x, seed=0):
    """A different upstream gradient for every element, of both signs."""
    values = np.random.default_rng(seed).normal(scale=3.0, size=x.shape)
    return values.astype(x.dtype)


def value_and_gradient(function, x, upstream=None):
    """Returns function(x) and upstream * d function / dx, as NumPy arrays.

    `upstream` is 1 by default.
    """
    upstream = np.ones_like(x) if upstream is None else upstream
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        tensor = tf.constant(x)
        with tf.GradientTape() as tape:
            tape.watch(tensor)
            value = function(tensor)
        return value.numpy(), tape.gradient(
            value, tensor, tf.constant(upstream)
        ).numpy()
    if backend == "jax":
        import jax
        import jax.numpy as jnp

        value, pull_back = jax.vjp(function, jnp.asarray(x))
        upstream = jnp.asarray(upstream, dtype=value.dtype)
        return np.asarray(value), np.asarray(pull_back(upstream)[0])
    import torch

    tensor = torch.tensor(x, requires_grad=True)
    value = function(tensor)
    (gradient,) = torch.autograd.grad(value, tensor, torch.tensor(upstream))
    return value.detach().cpu().numpy(), gradient.cpu().numpy()


def second_derivative(function, x):
    """Returns d^2 (sum of function) / dx^2, elementwise, as a NumPy array."""
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        tensor = tf.constant(x)
        with tf.GradientTape() as outer:
            outer.watch(tensor)
            with tf.GradientTape() as inner:
                inner.watch(tensor)
                value = function(tensor)
            first = inner.gradient(value, tensor)
        return outer.gradient(first, tensor).numpy()
    if backend == "jax":
        import jax
        import jax.numpy as jnp

        total = lambda x: function(x).sum()  # noqa: E731
        first = lambda x: jax.grad(total)(x).sum()  # noqa: E731
        return np.asarray(jax.grad(first)(jnp.asarray(x)))
    import torch

    tensor = torch.tensor(x, requires_grad=True)
    (first,) = torch.autograd.grad(function(tensor).sum(), tensor, create_graph=True)
    return torch.autograd.grad(first.sum(), tensor)[0].numpy()


def in_dtype(dtype, function):
    """Returns a function that computes in half precision from full-precision input."""
    return lambda x: keras.ops.cast(function(keras.ops.cast(x, dtype)), "float32")


def assert_accelerated(function, base, slope, x):
    """Checks a function against its base's values and a slope in float64 NumPy.

    `base` is the plain activation, `slope` a function of x.
    """
    upstream = upstream_like(x)
    value, gradient = value_and_gradient(function, x, upstream)
    plain, _ = value_and_gradient(keras.activations.get(base), x, upstream)
    assert gradient.dtype == x.dtype
    assert value.dtype == plain.dtype
    np.testing.assert_array_equal(value, plain)
    np.testing.assert_array_equal(np.signbit(value), np.signbit(plain))
    expected = upstream.astype("float64") * slope(x.astype("float64"))
    assert_gradient(gradient, expected, upstream, precision=value.dtype)


def assert_gradient(gradient, expected, upstream, precision=None):
    """Checks a gradient against a float64 reference, as tightly as its dtype allows.

    `precision` is the dtype in which the plain activation was computed, by default
    that of the gradient. (Keras computes tanh of float64 in float32 on JAX.)
    """
    precision = np.dtype(gradient.dtype if precision is None else precision)
    if precision == np.float64:
        np.testing.assert_allclose(gradient, expected, rtol=1e-6, atol=1e-12)
    else:
        assert precision == np.float32
        error = np.abs(gradient - expected)
        # silu' has x * (1 - sigmoid(x)): 17 times the error of a sigmoid that rounds to
        # 1 there, and that may be two steps of 6e-8 off; the others have far less.
        assert np.all(error <= 4e-6 * np.maximum(1, np.abs(upstream))), error.max()
