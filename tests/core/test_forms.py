"""The other forms of an accelerated activation: as operations, and plain."""

import keras
import numpy as np
import pytest

import gaaf_keras
from gaaf_keras import GAAF, Gaussian, gaaf
from gaaf_keras._core.forms import current_form, written_as
from tests.gradients import assert_gradient, points, upstream_like, value_and_gradient


def own(x):
    return x * keras.ops.sigmoid(x)


# Accelerated activations, and which each is without.
FUNCTIONS = {
    "tanh": (gaaf("tanh", strength=0.7), "tanh"),
    "relu": (gaaf_keras.gaaf_relu, "relu"),
    "sigmoid, unit gain": (gaaf("sigmoid", unit_gain=True), "sigmoid"),
    "leaky relu layer": (
        gaaf(keras.layers.LeakyReLU(0.1)),
        keras.layers.LeakyReLU(0.1),
    ),
    "own function": (gaaf(own, Gaussian(2.0)), own),
    "layer": (GAAF("softsign"), "softsign"),
    "literal": (gaaf("tanh", frequency=100.0), "tanh"),
    "infinite shape": (gaaf("relu", keras.ops.exp), "relu"),
}


def in_form(form, function):
    def call(x):
        with written_as(form):
            return function(x)

    return call


def away_from_kinks():
    x = points("float32", count=800)  # an even number: without 0
    return x[np.abs(x) > 1e-4]


@pytest.mark.once
@pytest.mark.parametrize("name", FUNCTIONS)
def test_operations_have_the_same_value_and_gradient(name):
    function, _ = FUNCTIONS[name]
    x = points("float32", count=801)
    upstream = upstream_like(x)
    if name == "infinite shape":
        x = np.append(x, np.float32(100.0))
        upstream = np.append(np.zeros_like(upstream), np.float32(0.0))
    value, gradient = value_and_gradient(function, x, upstream)
    other, made = value_and_gradient(in_form("operations", function), x, upstream)
    np.testing.assert_array_equal(other, value)
    assert_gradient(made[:-1], gradient[:-1], upstream[:-1])


@pytest.mark.parametrize("name", FUNCTIONS)
def test_plain_is_the_base_activation(name):
    x = away_from_kinks()
    upstream = upstream_like(x)
    function, base = FUNCTIONS[name]
    expected = value_and_gradient(keras.activations.get(base), x, upstream)
    ours = value_and_gradient(in_form("plain", function), x, upstream)
    for value, wanted in zip(ours, expected, strict=True):
        np.testing.assert_array_equal(value, wanted)


@pytest.mark.once
def test_operations_at_infinity():
    x = np.array([np.inf, -np.inf, np.nan, 3e38], "float32")
    for name in ("tanh", "relu"):
        value, gradient = value_and_gradient(in_form("operations", gaaf(name)), x)
        plain = keras.ops.convert_to_numpy(keras.activations.get(name)(x))
        np.testing.assert_array_equal(value, plain)
        assert np.all(np.isfinite(gradient[[0, 1, 3]]))


@pytest.mark.once
def test_a_strength_that_is_a_variable():
    layer = GAAF("tanh")
    layer.make_strength_variable()
    layer.strength = 0.25
    x = points("float32", count=101)
    upstream = upstream_like(x)
    _, gradient = value_and_gradient(layer, x, upstream)
    _, made = value_and_gradient(in_form("operations", layer), x, upstream)
    assert_gradient(made, gradient, upstream)


def test_the_form_ends_with_its_block():
    with pytest.raises(KeyError), written_as("plain"):
        raise KeyError
    assert current_form() == "custom gradient"
