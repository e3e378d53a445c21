"""Gradients that TensorFlow compiles separately, and those that it does not."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from gaaf_keras import Gaussian, gaaf
from tests import reference
from tests.gradients import assert_gradient, points, upstream_like

MANY = 100_000
FUNCTIONS = {
    "tanh": (gaaf("tanh"), reference.gaaf_tanh),
    "relu": (gaaf("relu"), reference.gaaf_relu),
    "relu, a variable strength": (gaaf("relu"), reference.gaaf_relu),
    "a user's": (gaaf(keras.ops.tanh, Gaussian()), reference.gaaf_tanh),
}


def graph_of_gradient(function, shape, dtype="float32"):
    """Returns a compiled function of (x, upstream) that gives the gradient."""

    @tf.function(input_signature=[tf.TensorSpec(shape, dtype)] * 2)
    def gradient(x, upstream):
        with tf.GradientTape() as tape:
            tape.watch(x)
            value = function(x)
        return tape.gradient(value, x, upstream)

    return gradient


def compiles(gradient):
    graph = gradient.get_concrete_function().graph.as_graph_def()
    return any(
        function.attr["_XlaMustCompile"].b for function in graph.library.function
    )


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_compiled_gradient(name, dtype):
    function, expected = FUNCTIONS[name]
    if name.endswith("strength"):
        strength = tf.Variable(1.0)
        accelerate = function.accelerate
        function = lambda x: accelerate(x, tf.convert_to_tensor(strength))  # noqa: E731
    gradient = graph_of_gradient(function, (MANY,), dtype)
    assert compiles(gradient)
    x = tf.cast(np.resize(points("float32"), MANY), dtype)
    upstream = tf.cast(upstream_like(np.empty(MANY)), dtype)
    ours = gradient(x, upstream)
    assert ours.dtype == dtype
    wide = [tf.cast(tensor, "float64").numpy() for tensor in (x, upstream, ours)]
    rounding = float(np.spacing(np.array(1, tf.as_dtype(dtype).as_numpy_dtype)))
    error = np.abs(wide[2] - expected(*wide[:2]))
    # XLA's tanh of float64 is 3.5 roundings off near 1, its square twice as many.
    bound = (32 if dtype == "float64" else 16) * rounding
    assert np.all(error <= bound * np.maximum(1, np.abs(wide[1]))), error.max()


def test_no_number_beside_numbers():
    x = np.zeros(MANY, "float32")
    x[:4] = np.nan, np.inf, -np.inf, 1
    ours = graph_of_gradient(gaaf("relu"), (MANY,))(x, np.ones_like(x)).numpy()
    step = reference.shifted_sigmoid(np.array([1.0]))[0]
    np.testing.assert_allclose(ours[:4], [0, 2, 0, 1 + step], rtol=1e-6)


@pytest.mark.parametrize(
    ("function", "shape"),
    [
        (gaaf("relu"), (MANY // 2,)),  # starting it would take longer
        (gaaf("relu"), (None, 64)),
        (gaaf("relu"), (None, None, 4096)),  # once for each length, at run time
        (gaaf("relu"), None),
        (gaaf("relu", lambda x: tf.exp(-x * x)), (MANY,)),  # may be beyond XLA
    ],
)
def test_left_as_operations(function, shape):
    assert not compiles(graph_of_gradient(function, shape))


def test_any_batch_of_one_graph():
    gradient = graph_of_gradient(gaaf("relu"), (None, 4096))
    assert compiles(gradient)
    for batch in (1, 3, 0):
        x = np.resize(points("float32"), (batch, 4096))
        upstream = upstream_like(x)
        wanted = reference.gaaf_relu(x.astype("float64"), upstream)
        assert_gradient(gradient(x, upstream).numpy(), wanted, upstream)


def test_left_as_operations_under_a_strategy():
    with tf.distribute.OneDeviceStrategy("CPU:0").scope():
        assert not compiles(graph_of_gradient(gaaf("relu"), (MANY,)))
