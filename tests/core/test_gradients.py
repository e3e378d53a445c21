"""Values and gradients of functions and layers against float64 NumPy."""

import keras
import numpy as np
import pytest

import gaaf_keras
from gaaf_keras import GAAF, GAAFReLU, GAAFTanh, Gaussian, ShiftedSigmoid, gaaf
from tests import reference
from tests.gradients import (
    assert_gradient,
    points,
    second_derivative,
    upstream_like,
    value_and_gradient,
)


def _layer(cls, *args, **kwargs):
    return lambda dtype: cls(*args, dtype=dtype, **kwargs)


def _function(function):
    return lambda dtype: function


TANH = {
    "gaaf_tanh": (_function(gaaf_keras.gaaf_tanh), 1.0),
    "gaaf('tanh')": (_function(gaaf("tanh")), 1.0),
    "gaaf('tanh', strength)": (_function(gaaf("tanh", strength=0.3)), 0.3),
    "GAAF('tanh')": (_layer(GAAF, "tanh"), 1.0),
    "GAAFTanh": (_layer(GAAFTanh), 1.0),
    "GAAFTanh(strength)": (_layer(GAAFTanh, strength=2.5), 2.5),
    "user's tanh": (_function(gaaf(keras.ops.tanh, Gaussian())), 1.0),
}
RELU = {
    "gaaf_relu": (_function(gaaf_keras.gaaf_relu), 1.0),
    "gaaf('relu')": (_function(gaaf("relu")), 1.0),
    "gaaf('relu', strength)": (_function(gaaf("relu", strength=0.3)), 0.3),
    "GAAF('relu')": (_layer(GAAF, "relu"), 1.0),
    "GAAFReLU": (_layer(GAAFReLU), 1.0),
    "GAAFReLU(strength)": (_layer(GAAFReLU, strength=2.5), 2.5),
    "user's relu": (
        _function(gaaf(keras.ops.relu, ShiftedSigmoid())),
        1.0,
    ),
}
CASES = [
    pytest.param(make, strength, base, derivative, id=name)
    for cases, base, derivative in [
        (TANH, "tanh", reference.gaaf_tanh),
        (RELU, "relu", reference.gaaf_relu),
    ]
    for name, (make, strength) in cases.items()
]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("make", "strength", "base", "derivative"), CASES)
def test_value_is_the_base_activation_and_gradient_is_accelerated(
    make, strength, base, derivative, dtype
):
    x = points(dtype)
    upstream = upstream_like(x)
    value, gradient = value_and_gradient(make(dtype), x, upstream)
    plain, _ = value_and_gradient(keras.activations.get(base), x, upstream)

    assert gradient.dtype == dtype
    assert value.dtype == plain.dtype
    np.testing.assert_array_equal(value, plain)
    np.testing.assert_array_equal(np.signbit(value), np.signbit(plain))
    expected = derivative(x.astype("float64"), upstream.astype("float64"), strength)
    assert_gradient(gradient, expected, upstream, precision=value.dtype)


@pytest.mark.parametrize("base", ["tanh", "relu"])
def test_strength_zero_is_the_base_gradient(base):
    x = points("float32")
    upstream = upstream_like(x)
    _, gradient = value_and_gradient(gaaf(base, strength=0), x, upstream)
    _, plain = value_and_gradient(keras.activations.get(base), x, upstream)
    assert_gradient(gradient, plain, upstream)


def test_relu_derivative_at_zero_is_the_shape_alone():
    x = np.zeros(3)
    _, gradient = value_and_gradient(gaaf_keras.gaaf_relu, x, np.ones(3))
    np.testing.assert_allclose(gradient, reference.shifted_sigmoid(x), rtol=1e-12)


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
    x = points()
    upstream = upstream_like(x)
    value, gradient = value_and_gradient(
        gaaf("softsign", Gaussian(4.0), strength=0.5), x, upstream
    )
    np.testing.assert_array_equal(
        value, keras.ops.convert_to_numpy(keras.activations.softsign(x))
    )
    expected = upstream * ((1 + np.abs(x)) ** -2 + 0.5 * reference.gaussian(x, 4.0))
    assert_gradient(gradient, expected, upstream)


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
    import ml_dtypes

    numpy_dtype = np.float16 if dtype == "float16" else ml_dtypes.bfloat16
    x = np.linspace(-300, 300, 1201).astype(numpy_dtype)
    # Cast inside, so that the gradient is taken in half precision and read in full.
    single = x.astype("float32")

    def in_half(function):
        return lambda x: keras.ops.cast(function(keras.ops.cast(x, dtype)), "float32")

    value, gradient = value_and_gradient(
        in_half(function), single, np.ones_like(single)
    )
    plain, _ = value_and_gradient(
        in_half(keras.activations.get(base)), single, np.ones_like(single)
    )
    np.testing.assert_array_equal(value, plain)
    expected = derivative(single.astype("float64"), 1.0)
    resolution = float(ml_dtypes.finfo(numpy_dtype).eps)
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
    ],
)
@pytest.mark.parametrize("make", [gaaf, GAAF])
def test_bad_arguments_are_named(make, arguments, error, message):
    with pytest.raises(error, match=message):
        make(**arguments)
