"""The paper's literal formula against the exact limit."""

from fractions import Fraction

import keras
import ml_dtypes
import numpy as np
import pytest

from gaaf_keras import GAAF, gaaf, gradient_acceleration
from gaaf_keras.shapes import Gaussian, ShiftedSigmoid
from tests.gradients import points, upstream_like, value_and_gradient


def exact_sawtooth(x, frequency):
    """g in rational arithmetic, for exactly the given numbers."""
    phases = [Fraction(float(value)) * Fraction(frequency) for value in x]
    return np.array(
        [
            float(
                (p - (p.numerator // p.denominator) - Fraction(1, 2))
                / Fraction(frequency)
            )
            for p in phases
        ]
    )


@pytest.mark.parametrize("frequency", [10_000.0, 2.5, 333.25])
@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "bfloat16"])
def test_sawtooth(dtype, frequency):
    x = np.random.default_rng(0).normal(size=500, scale=20).astype(dtype)
    tensor = keras.ops.convert_to_tensor(x.astype("float64"), dtype=dtype)
    value = gradient_acceleration(tensor, frequency)
    assert keras.backend.standardize_dtype(value.dtype) == dtype
    value = keras.ops.convert_to_numpy(keras.ops.cast(value, "float32"))
    expected = exact_sawtooth(x, frequency)
    # Compare around the circle: a rounding at a tooth's edge jumps from end to end.
    difference = (value - expected) * frequency
    difference -= np.round(difference)
    resolution = float(ml_dtypes.finfo(dtype).eps)
    float32 = 60 * frequency * float(np.finfo("float32").eps)
    phase_error = {"float32": float32, "float64": 1e-6}.get(dtype, 1e-6 + 2e-3)
    assert np.abs(difference).max() <= phase_error + resolution
    assert np.abs(value).max() <= 0.5 / frequency * (1 + resolution)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_its_derivative_is_one(dtype):
    x = points(dtype)
    upstream = upstream_like(x)
    _, gradient = value_and_gradient(gradient_acceleration, x, upstream)
    np.testing.assert_allclose(gradient, upstream, rtol=1e-6)


@pytest.mark.parametrize(
    ("activation", "shape", "steepest"),
    [
        ("tanh", Gaussian(), np.sqrt(2 / np.e) / 2),
        ("relu", ShiftedSigmoid(), 5 / 4),
        ("softsign", Gaussian(0.5), np.sqrt(2 / np.e) / 0.5),
    ],
)
@pytest.mark.parametrize("frequency", [10_000.0, 50.0])
def test_literal_formula_agrees_with_the_limit(activation, shape, steepest, frequency):
    x = points("float64", limit=8)
    upstream = upstream_like(x)
    value, gradient = value_and_gradient(
        GAAF(activation, shape, frequency=frequency, dtype="float64"), x, upstream
    )
    exact_value, exact = value_and_gradient(
        GAAF(activation, shape, dtype="float64"), x, upstream
    )
    rounding = 1e-12 if exact_value.dtype == "float64" else 1e-6
    assert np.all(np.abs(value - exact_value) <= 0.5 / frequency + rounding)
    bound = np.abs(upstream) * steepest / (2 * frequency)
    assert np.all(np.abs(gradient - exact) <= bound + 5 * rounding)
    if frequency == 50:  # and it is the literal formula: it does not agree exactly
        assert np.abs(value - exact_value).max() > 0.4 / frequency


def test_known_activation_by_any_callable_too():
    x = points("float32", limit=8)
    upstream = upstream_like(x)
    ours = gaaf(keras.ops.softsign, Gaussian(), frequency=100.0)
    _, gradient = value_and_gradient(ours, x, upstream)
    _, expected = value_and_gradient(
        gaaf("softsign", Gaussian(), frequency=100.0), x, upstream
    )
    np.testing.assert_allclose(gradient, expected, atol=1e-5)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_literal_formula_is_refused_in_half_precision(dtype):
    with pytest.raises(ValueError, match=f"`frequency`.*half precision.*{dtype}"):
        GAAF("tanh", frequency=1e4, dtype=dtype)(np.ones(3))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: gradient_acceleration(np.ones(2), 0), ValueError, "`frequency`.*=0"),
        (lambda: gradient_acceleration(np.ones(2), "K"), TypeError, "`frequency`.*'K'"),
        (lambda: gradient_acceleration(np.arange(2)), TypeError, "floating-point.*int"),
        (
            lambda: gradient_acceleration(np.ones(2, "float16"), 1e5),
            ValueError,
            "`frequency` must be at most 65536 in float16.*100000",
        ),
        (
            lambda: gradient_acceleration(np.ones(2, "float32"), 1e30),
            ValueError,
            "`frequency` must be at most 1.67772e.07 in float32",
        ),
        (lambda: gaaf("tanh", frequency=-1), ValueError, "`frequency`.*-1"),
    ],
)
def test_bad_frequencies(call, error, message):
    with pytest.raises(error, match=message):
        call()
