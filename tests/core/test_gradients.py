"""Values and gradients of functions and layers against float64 NumPy."""

import keras
import ml_dtypes
import numpy as np
import pytest

import gaaf_keras
from gaaf_keras import GAAF, GAAFReLU, GAAFTanh, Gaussian, ShiftedSigmoid, gaaf
from tests import reference
from tests.gradients import (
    assert_accelerated,
    assert_gradient,
    in_dtype,
    points,
    second_derivative,
    upstream_like,
    value_and_gradient,
)

# Of each base: its function, its layer, an operation, its shape, phi' and s in NumPy.
BASES = {
    "tanh": (
        *(gaaf_keras.gaaf_tanh, GAAFTanh, keras.ops.tanh, Gaussian()),
        *(reference.tanh_derivative, reference.gaussian),
    ),
    "relu": (
        *(gaaf_keras.gaaf_relu, GAAFReLU, keras.ops.relu, ShiftedSigmoid()),
        *(reference.relu_derivative, reference.shifted_sigmoid),
    ),
}
# How an activation is accelerated, and with which strength.
WAYS = {
    "its function": (lambda base, dtype: BASES[base][0], 1.0),
    "gaaf": (lambda base, dtype: gaaf(base), 1.0),
    "gaaf(strength)": (lambda base, dtype: gaaf(base, strength=0.3), 0.3),
    "gaaf(strength=0)": (lambda base, dtype: gaaf(base, strength=0), 0.0),
    "GAAF": (lambda base, dtype: GAAF(base, dtype=dtype), 1.0),
    "its layer": (lambda base, dtype: BASES[base][1](dtype=dtype), 1.0),
    "its layer(strength)": (
        lambda base, dtype: BASES[base][1](strength=2.5, dtype=dtype),
        2.5,
    ),
    "user's": (lambda base, dtype: gaaf(BASES[base][2], BASES[base][3]), 1.0),
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("base", BASES)
def test_value_is_the_base_activation_and_gradient_is_accelerated(base, way, dtype):
    make, strength = WAYS[way]
    *_, derivative, shape = BASES[base]
    slope = lambda x: derivative(x) + strength * shape(x)  # noqa: E731
    assert_accelerated(make(base, dtype), base, slope, points(dtype))


@pytest.mark.parametrize(
    ("layer", "base"),
    [(GAAFTanh, "tanh"), (GAAFReLU, "relu"), (lambda: GAAF("tanh"), "tanh")],
)
@pytest.mark.parametrize("falsy", [False, 0, np.False_])
def test_training_false_gives_the_base_gradient(layer, base, falsy):
    x = points("float32")
    upstream = upstream_like(x)
    layer = layer()
    value, gradient = value_and_gradient(
        lambda x: layer(x, training=falsy), x, upstream
    )
    plain_value, plain = value_and_gradient(keras.activations.get(base), x, upstream)
    np.testing.assert_array_equal(value, plain_value)
    np.testing.assert_array_equal(gradient, plain)


def test_training_true_and_unset_accelerate():
    x = points("float32")
    upstream = upstream_like(x)
    layer = GAAFTanh()
    _, unset = value_and_gradient(layer, x, upstream)
    _, true = value_and_gradient(lambda x: layer(x, training=True), x, upstream)
    np.testing.assert_array_equal(unset, true)
    assert_gradient(unset, reference.gaaf_tanh(x, upstream), upstream)


def test_training_of_the_outer_model_reaches_the_layer():
    inputs = keras.Input((4,))
    model = keras.Model(inputs, keras.layers.Dense(3, activation=GAAFReLU())(inputs))
    x = np.random.default_rng(0).normal(size=(5, 4)).astype("float32")
    upstream = np.ones((5, 3), "float32")
    kernel = keras.ops.convert_to_numpy(model.layers[1].kernel).astype("float64")
    net = x @ kernel

    def gradient(**kwargs):
        return value_and_gradient(lambda x: model(x, **kwargs), x, upstream)[1]

    accelerated = reference.gaaf_relu(net, upstream) @ kernel.T
    plain = (reference.relu_derivative(net) * upstream) @ kernel.T
    np.testing.assert_allclose(gradient(), accelerated, atol=1e-5)
    np.testing.assert_allclose(gradient(training=True), accelerated, atol=1e-5)
    np.testing.assert_allclose(gradient(training=False), plain, atol=1e-5)


def test_any_activation_with_a_given_shape():
    function = gaaf("softsign", Gaussian(4.0), strength=0.5)
    slope = lambda x: (1 + np.abs(x)) ** -2 + 0.5 * reference.gaussian(x, 4.0)  # noqa: E731
    assert_accelerated(function, "softsign", slope, points())


def test_activation_with_its_own_weights_is_trained_through():
    layer = GAAF(
        keras.layers.PReLU(alpha_initializer="ones"), shape_function=Gaussian()
    )
    x = np.linspace(-30, 30, 600, dtype="float32")[None]  # not 0, where it has a kink
    upstream = upstream_like(x)
    value, gradient = value_and_gradient(layer, x, upstream)
    np.testing.assert_allclose(value, x)
    assert len(layer.trainable_weights) == 1
    assert_gradient(gradient, upstream * (1.0 + reference.gaussian(x)), upstream)


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (
            gaaf_keras.gaaf_tanh,
            lambda x: (
                -2 * np.tanh(x) * reference.tanh_derivative(x)
                - x / 2 * reference.gaussian(x)
            ),
        ),
        (
            gaaf_keras.gaaf_relu,
            lambda x: (
                5 * reference.shifted_sigmoid(x) * (1 - reference.shifted_sigmoid(x))
            ),
        ),
        (
            gaaf(keras.ops.tanh, Gaussian()),
            lambda x: (
                -2 * np.tanh(x) * reference.tanh_derivative(x)
                - x / 2 * reference.gaussian(x)
            ),
        ),
    ],
)
def test_second_derivative(function, expected):
    x = np.linspace(-4, 4, 81, dtype="float32") + 0.01
    np.testing.assert_allclose(
        second_derivative(function, x), expected(x.astype("float64")), atol=2e-6
    )


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize(
    ("function", "base", "derivative"),
    [
        (gaaf_keras.gaaf_tanh, "tanh", reference.gaaf_tanh),
        (gaaf_keras.gaaf_relu, "relu", reference.gaaf_relu),
    ],
)
def test_half_precision(function, base, derivative, dtype):
    x = np.linspace(-300, 300, 1201).astype(dtype).astype("float32")
    value, gradient = value_and_gradient(in_dtype(dtype, function), x)
    plain, _ = value_and_gradient(in_dtype(dtype, keras.activations.get(base)), x)
    np.testing.assert_array_equal(value, plain)
    expected = derivative(x.astype("float64"), 1.0)
    resolution = float(ml_dtypes.finfo(dtype).eps)
    np.testing.assert_allclose(gradient, expected, atol=4 * resolution)


@pytest.mark.parametrize("value", [np.arange(3), np.array([True])])
def test_tensors_without_a_gradient_are_refused(value):
    with pytest.raises(TypeError, match=r"floating-point.*dtype (int|bool)"):
        gaaf_keras.gaaf_relu(value)


def test_activation_that_is_not_elementwise_is_refused():
    with pytest.raises(ValueError, match="elementwise"):
        gaaf(lambda x: keras.ops.sum(x, axis=-1), Gaussian())(np.ones((2, 3)))


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"activation": "tnah"}, ValueError, "tnah"),
        (
            {"activation": "exponential"},
            ValueError,
            "`shape_function` must be given.*tanh.*exp",
        ),
        (
            {"activation": "tanh", "shape_function": "gaus"},
            ValueError,
            "`shape_function`.*'gaus'",
        ),
        ({"activation": "tanh", "strength": -1}, ValueError, "`strength`.*-1"),
        ({"activation": "tanh", "strength": "1"}, TypeError, "`strength`.*'1'"),
        ({"activation": "relu", "unit_gain": "False"}, TypeError, "`unit_g.*'False'"),
    ],
)
@pytest.mark.parametrize("make", [gaaf, GAAF])
def test_bad_arguments_are_named(make, arguments, error, message):
    with pytest.raises(error, match=message):
        make(**arguments)
