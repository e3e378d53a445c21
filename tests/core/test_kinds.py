"""Activations as layers and operations: recognised, differentiated, accelerated."""

import keras
import numpy as np
import pytest

from gaaf_keras import GAAF, gaaf, shapes
from gaaf_keras._core import kinds
from tests import reference
from tests.gradients import assert_gradient, points, upstream_like, value_and_gradient

LAYERS = keras.layers


def operation(function, *arguments):
    """The operation that a function leaves in a functional model."""
    return function(keras.Input((3,)), *arguments)._keras_history.operation


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda: LAYERS.Activation("tanh"), "tanh"),
        (lambda: LAYERS.Activation("swish"), "silu"),
        (lambda: LAYERS.Activation(LAYERS.ReLU(6)), "relu6"),
        (LAYERS.ReLU, "relu"),
        (lambda: LAYERS.ReLU(max_value=6.0), "relu6"),
        (lambda: LAYERS.LeakyReLU(0.2), "leaky_relu"),
        (LAYERS.ELU, "elu"),
        (lambda: operation(keras.ops.relu), "relu"),
        (lambda: operation(keras.activations.relu), "relu"),
        (lambda: operation(keras.ops.hard_sigmoid), "hard_sigmoid"),
        (lambda: operation(keras.ops.log_sigmoid), "log_sigmoid"),
        (lambda: operation(keras.ops.gelu, False), "gelu"),
        (lambda: operation(keras.ops.tanh), "tanh"),
    ],
)
def test_the_same_function_however_it_is_written(make, name):
    activation = make()
    assert kinds.function_of(activation) is getattr(keras.activations, name)
    assert kinds.name_of(activation) == name
    assert shapes.default_for(activation) == shapes.default_for(name)


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda: LAYERS.ReLU(max_value=4), "relu"),
        (lambda: LAYERS.LeakyReLU(0.3), "leaky_relu"),
        (lambda: LAYERS.ELU(0.5), "elu"),
        (LAYERS.PReLU, "prelu"),
        (LAYERS.Softmax, "softmax"),
        (lambda: operation(keras.ops.gelu, True), "gelu"),
        (lambda: operation(keras.ops.hard_shrink, 0.7), "hard_shrink"),
        (lambda: upstream_like, "upstream_like"),
    ],
)
def test_what_is_no_keras_function_stands_for_itself(make, name):
    activation = make()
    assert kinds.function_of(activation) is activation
    assert kinds.name_of(activation) == name


def test_other_functions_of_a_known_name():
    def relu(x):
        return 2 * keras.ops.relu(x)

    with pytest.raises(ValueError, match="without a default shape"):
        shapes.default_for(relu)


def test_arithmetic_is_no_activation():
    assert kinds.is_activation_operation(operation(keras.ops.relu))
    assert not kinds.is_activation_operation(operation(keras.ops.exp))
    assert not kinds.is_activation_operation(LAYERS.Dense(3))


def bounded_relu(x):
    return np.where(x <= 1, np.where(x < 1, 0.1, 0.0), np.where(x < 4, 1.0, 0.0))


CASES = {
    "relu with all parameters": (
        lambda: LAYERS.ReLU(max_value=4, negative_slope=0.1, threshold=1),
        bounded_relu,
        lambda x: (
            reference.shifted_sigmoid(x, 5.0, -0.5)
            - reference.shifted_sigmoid(x, 5.0, -4.5)
        ),
    ),
    "leaky relu": (
        lambda: LAYERS.LeakyReLU(0.3),
        lambda x: np.where(x > 0, 1.0, 0.3),
        reference.shifted_sigmoid,
    ),
    "elu": (
        lambda: LAYERS.ELU(0.5),
        lambda x: np.where(x < 0, 0.5 * np.exp(np.minimum(x, 0)), 1.0),
        # flat, that is below 0.07, from log(0.07 / 0.5) = -1.966 downwards
        lambda x: reference.shifted_sigmoid(x, 5.0, 2.4661128563728327),
    ),
    "prelu": (
        lambda: LAYERS.PReLU(alpha_initializer=keras.initializers.Constant(0.25)),
        lambda x: np.where(x > 0, 1.0, 0.25),
        reference.shifted_sigmoid,
    ),
    "relu operation": (
        lambda: operation(keras.ops.relu),
        reference.relu_derivative,
        reference.shifted_sigmoid,
    ),
    "leaky relu operation": (
        lambda: operation(keras.ops.leaky_relu, 0.4),
        lambda x: np.where(x > 0, 1.0, 0.4),
        reference.shifted_sigmoid,
    ),
    "mish": (
        lambda: "mish",
        reference.mish_derivative,
        lambda x: reference.shifted_sigmoid(x, 5.0, 1.5),
    ),
    "celu": (
        lambda: "celu",
        reference.DERIVATIVES["elu"],
        lambda x: reference.shifted_sigmoid(x, 5.0, 3.2),
    ),
    "squareplus": (
        lambda: "squareplus",
        lambda x: (1 + x / np.sqrt(x * x + 4)) / 2,
        lambda x: reference.shifted_sigmoid(x, 5.0, 3.9),
    ),
    "log sigmoid": (
        lambda: "log_sigmoid",
        lambda x: reference.shifted_sigmoid(-x, 1.0, 0.0),
        lambda x: 1 - reference.shifted_sigmoid(x, 5.0, -3.1),
    ),
}


def around(*kinks):
    """Pre-activations without those where the backends disagree about phi'."""
    x = points("float32", limit=12.0)
    x = x[np.min(np.abs(np.subtract.outer(x, [0.0, *kinks])), axis=1) > 1e-4]
    return np.concatenate([x, np.float32([-1e-3, 1e-3, 1 - 1e-3, 1 + 1e-3])])


@pytest.mark.once
@pytest.mark.parametrize("case", CASES)
def test_gradient(case):
    make, derivative, shape = CASES[case]
    activation = make()
    x = around(1.0, 4.0)[None]
    upstream = upstream_like(x)
    layer = GAAF(activation, strength=0.7)
    layer(x)  # PReLU makes its weights
    value, gradient = value_and_gradient(layer, x, upstream)
    plain, _ = value_and_gradient(keras.activations.get(activation), x, upstream)
    np.testing.assert_array_equal(value, plain)
    wide = x.astype("float64")
    expected = upstream * (derivative(wide) + 0.7 * shape(wide))
    # Mish has the backend's own derivative, which is not as good.
    assert_gradient(gradient, expected, upstream * (5 if case == "mish" else 1))


@pytest.mark.parametrize("threshold", [0.0, 1.0])
def test_flatter_side_at_the_kinks(threshold):
    layer = LAYERS.ReLU(max_value=4, threshold=threshold)
    x = np.array([threshold, 4.0], "float32")
    function = gaaf(layer, shape_function=shapes.Constant(0.5))
    _, gradient = value_and_gradient(function, x)
    np.testing.assert_array_equal(gradient, [0.5, 0.5])


def test_flatter_side_of_leaky_kinks():
    x = np.zeros(1, "float32")
    for layer, slope in (
        (LAYERS.ReLU(negative_slope=0.1), 0.1),
        (LAYERS.LeakyReLU(0.1), 0.1),
        (LAYERS.ELU(0.5), 0.5),
        (LAYERS.ELU(1.5), 1.0),
    ):
        _, gradient = value_and_gradient(gaaf(layer, strength=0), x)
        np.testing.assert_allclose(gradient, slope, rtol=1e-6)


def test_the_operation_gelu_approximates():
    x = around(0.0)
    accelerated = gaaf(keras.ops.gelu, shapes.Constant(0.5))
    value, gradient = value_and_gradient(accelerated, x)
    plain, slope = value_and_gradient(keras.ops.gelu, x)
    np.testing.assert_array_equal(value, plain)
    np.testing.assert_allclose(gradient, slope + 0.5, atol=1e-6)
    assert gaaf(keras.ops.gelu).shape_function == shapes.default_for("gelu")


@pytest.mark.parametrize(
    "make", [LAYERS.ReLU, lambda: LAYERS.ReLU(max_value=4), LAYERS.PReLU]
)
def test_layers_keep_the_dtype_of_the_input(make):
    x = np.array([[-1.0, 0.25, 3.0]], "float16")
    layer = GAAF(make(), shapes.Constant(0.5))  # its policy is float32
    assert keras.backend.standardize_dtype(layer(x).dtype) == "float16"
    assert layer.compute_output_spec(keras.KerasTensor(x.shape, "float16")).dtype == (
        keras.backend.standardize_dtype(layer(x, training=False).dtype)
    )
    _, gradient = value_and_gradient(layer, x)
    np.testing.assert_array_equal(gradient, np.float16([[0.5, 1.5, 1.5]]))


def test_a_function_cannot_train_weights():
    with pytest.raises(ValueError, match=r"may have weights.*`gaaf_keras.GAAF`"):
        gaaf(LAYERS.PReLU(), shapes.Constant(0.5))


def test_surrogates_know_the_parameters():
    x = around(0.0)
    for layer in (LAYERS.LeakyReLU(0.3), LAYERS.ELU(0.5), LAYERS.ReLU(threshold=0.5)):
        function = gaaf(layer, "straight_through")
        _, gradient = value_and_gradient(function, x)
        np.testing.assert_allclose(gradient, 1.0, atol=2e-6)
        shape = function.shape_function
        copy = type(shape).from_config(shape.get_config())
        assert copy == shape
        assert hash(copy) == hash(shape)


def test_shape_of_another_activation_is_refused():
    with pytest.raises(ValueError, match=r"'relu'.*activation='leaky_relu'"):
        gaaf(LAYERS.LeakyReLU(0.3), shape_function=shapes.DropoutMatched("relu", 1.0))
