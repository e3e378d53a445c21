"""TensorFlow graphs of the layers."""

import numpy as np
import pytest
import tensorflow as tf

import gaaf_keras
from gaaf_keras import GAAF, GAAFReLU, GAAFTanh
from tests import reference

LAYERS = [
    (GAAFTanh, "tanh"),
    (GAAFReLU, "relu"),
    (lambda: GAAF("tanh"), "tanh"),
    (lambda: GAAF("softsign", shape_function="gaussian"), "softsign"),
]


def operations(function):
    graph = tf.function(function).get_concrete_function(tf.TensorSpec((None, 3))).graph
    return [(op.type, dict(op.node_def.attr)) for op in graph.get_operations()]


@pytest.mark.parametrize(("make", "base"), LAYERS)
def test_inference_graph_is_that_of_the_base_activation(make, base):
    layer = make()
    plain = tf.keras.layers.Activation(base)
    ours = operations(lambda x: layer(x, training=False))
    assert ours == operations(lambda x: plain(x, training=False))
    assert "IdentityN" not in {kind for kind, _ in ours}


@pytest.mark.parametrize(("make", "base"), LAYERS)
def test_training_graph_holds_a_custom_gradient(make, base):
    layer = make()
    assert "IdentityN" in {kind for kind, _ in operations(layer)}


@pytest.mark.parametrize(
    "function",
    [gaaf_keras.gaaf_tanh, gaaf_keras.gaaf(tf.tanh, "gaussian")],
)
@pytest.mark.parametrize("shape", [None, (None, 2), (1, None)])
def test_gradient_in_a_graph_with_unknown_shapes(function, shape):
    @tf.function(input_signature=[tf.TensorSpec(shape)])
    def compiled(x):
        return tf.gradients(function(x), x)[0]

    x = np.array([[0.0, 1.0]], "float32")
    np.testing.assert_allclose(
        compiled(x), reference.gaaf_tanh(x.astype("float64"), 1.0), atol=1e-6
    )


def test_forward_mode_ignores_the_acceleration():
    """TensorFlow's forward mode silently ignores custom gradients."""
    x = tf.constant([0.5, 1.0])
    with tf.autodiff.ForwardAccumulator(x, tf.ones_like(x)) as forward:
        value = gaaf_keras.gaaf_tanh(x)
    plain = reference.tanh_derivative(x.numpy().astype("float64"))
    np.testing.assert_allclose(forward.jvp(value), plain, rtol=1e-6)
