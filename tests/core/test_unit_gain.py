"""The factor that removes the scale from an accelerated gradient."""

import keras
import numpy as np
import pytest

from gaaf_keras import GAAF, gaaf
from gaaf_keras._accelerated.gain import UnitGain
from gaaf_keras._core.kinds import derivative_of
from gaaf_keras.shapes import Constant, Gaussian, OneSided, ShiftedSigmoid, b_silu
from tests import reference
from tests.gradients import points, upstream_like, value_and_gradient


@pytest.mark.once
@pytest.mark.parametrize(
    ("activation", "shape", "strength", "factor"),
    [
        ("relu", None, 1.0, 1 / 2),
        ("relu", None, 0.25, 1 / 1.25),
        ("relu", None, 0.0, 1.0),
        ("tanh", None, 1.0, 1 / 2),
        ("sigmoid", Constant(0.1), 1.0, 0.25 / 0.35),
        ("relu", OneSided(ShiftedSigmoid()), 1.0, 1.0),  # nowhere above 1
        ("relu", OneSided(ShiftedSigmoid()), 2.0, 1 / (2 * 0.9241418199787566)),
        ("tanh", Gaussian(0.05), 3.0, 1 / 4),
        ("tanh", ShiftedSigmoid(5, 1.1), 1.0, 0.5009950516),
        ("tanh", -5 * Gaussian(), 1.0, 1 / 4),  # the magnitude counts
        ("relu", ShiftedSigmoid(5, -60) - ShiftedSigmoid(5, -70), 1.0, 1 / 2),
        ("tanh", ShiftedSigmoid(1e-4, 0), 1.0, 1 / 1.5),
    ],
)
def test_factor(activation, shape, strength, factor):
    x = points("float64", limit=8)
    upstream = upstream_like(x)
    plain = gaaf(activation, shape, strength)
    _, gradient = value_and_gradient(plain, x, upstream)
    unit = gaaf(activation, shape, strength, unit_gain=True)
    value, scaled = value_and_gradient(unit, x, upstream)
    np.testing.assert_allclose(scaled, factor * gradient, rtol=2e-6, atol=1e-9)
    np.testing.assert_array_equal(
        value, keras.ops.convert_to_numpy(keras.activations.get(activation)(x))
    )


@pytest.mark.once
@pytest.mark.parametrize("activation", list(reference.DERIVATIVES))
@pytest.mark.parametrize("strength", [0.3, 2.7])
def test_no_unit_passes_more_than_the_base_could(activation, strength):
    kinks = np.array([-6.0, -3.0, -1.0, 0.0, 1.0, 3.0, 6.0])
    x = np.concatenate([np.linspace(-40, 40, 80_001), kinks - 1e-9, kinks + 1e-9])
    _, gradient = value_and_gradient(
        gaaf(activation, strength=strength, unit_gain=True), x
    )
    slope = reference.DERIVATIVES[activation](x)
    total = reference.slope(activation, strength)(x)
    assert gradient.max() <= slope.max() * (1 + 2e-6)
    factor = min(1.0, slope.max() / total.max())
    np.testing.assert_allclose(gradient, factor * total, rtol=1e-5, atol=2e-6)


@pytest.mark.once
def test_a_kink_at_an_odd_place_is_found():
    shape = OneSided(Gaussian(1.0), side="negative", at=-0.3712345)
    x = np.array([-0.3712345])
    _, gradient = value_and_gradient(
        gaaf("tanh", shape, strength=5.0, unit_gain=True), x
    )
    np.testing.assert_allclose(gradient, 1.0, rtol=2e-6)


def test_surrogates_can_be_scaled_too():
    x = np.linspace(-5, 5, 101)
    _, gradient = value_and_gradient(gaaf("relu", b_silu(), unit_gain=True), x)
    assert gradient.max() <= 1 + 1e-6


def test_a_function_whose_derivative_is_not_known():
    """3 sin(x) has the derivative 3 cos(x), and the largest total is 4, at 0."""
    x = np.linspace(-5, 5, 101)
    function = gaaf(lambda x: 3 * keras.ops.sin(x), Gaussian(), unit_gain=True)
    _, gradient = value_and_gradient(function, x, np.full_like(x, 2.0))
    expected = 2 * 0.75 * (3 * np.cos(x) + np.exp(-(x**2) / 4))
    np.testing.assert_allclose(gradient, expected, rtol=1e-6, atol=1e-6)


def test_weights_of_the_activation_keep_their_gradients():
    """The weights of PReLU, where unit gain scales the derivative from 2 to 1."""
    layer = GAAF(keras.layers.PReLU(alpha_initializer="ones"), unit_gain=True)
    layer.build((1, 5))
    (alpha,) = layer.weights
    x = np.array([[-3.0, -1.0, 1.0, 2.0, 20.0]], "float32")

    def of_alpha(value):
        with keras.StatelessScope([(alpha, value)]):
            return layer(keras.ops.convert_to_tensor(x))

    value = keras.ops.convert_to_numpy(alpha.value)
    _, gradient = value_and_gradient(of_alpha, value, np.ones_like(x))
    np.testing.assert_allclose(gradient, np.minimum(x, 0)[0], rtol=1e-6)
    _, gradient = value_and_gradient(layer, x)
    step = 1 / (1 + np.exp(-5 * (x.astype("float64") + 0.5)))
    np.testing.assert_allclose(gradient, (1 + step) / 2, rtol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {
                "activation": "tanh",
                "shape_function": lambda x: 1 / x,
                "unit_gain": True,
            },
            "`unit_gain` needs a shape that is finite everywhere.*at x=0",
        ),
        (
            {"activation": "tanh", "frequency": 1e4, "unit_gain": True},
            "`frequency` and `unit_gain` cannot",
        ),
    ],
)
def test_what_has_no_unit_gain_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        gaaf(**arguments)


def test_a_second_maximum_that_only_a_large_strength_reaches():
    def twin_peaks(x):
        far = 0.9985 * keras.ops.exp(-keras.ops.square(x + 5))
        return keras.ops.exp(-keras.ops.square((x + 2.2505) / 0.01)) + far

    x = np.array([-2.2505])
    function = gaaf("relu", twin_peaks, 10.0, unit_gain=True)
    _, gradient = value_and_gradient(function, x)
    assert gradient[0] <= 1 + 2e-6


def test_rounding_far_out_is_not_looked_at():
    derivative, looked_at = derivative_of("tanh"), []

    def counting(x):
        looked_at.append(len(x))
        return derivative(x)

    assert UnitGain(counting, Gaussian())(1.0) == pytest.approx(0.5)
    coarse, fine = looked_at
    assert fine < coarse / 10
