"""Every known activation: value, derivative, default shape, extremes."""

import keras
import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gaaf_keras import GAAF, activations, gaaf, shapes
from gaaf_keras._core.known_activations import ACTIVATIONS
from tests import reference
from tests.gradients import (
    assert_accelerated,
    assert_gradient,
    in_dtype,
    points,
    upstream_like,
    value_and_gradient,
)

ONCE_IN_FLOAT64 = pytest.param("float64", marks=pytest.mark.once)
ONCE_IN_FLOAT16 = pytest.param("float16", marks=pytest.mark.once)
NAMES = list(reference.DERIVATIVES)
WITH_DEFAULT = [known for known in ACTIVATIONS if known.default_shape]
KINKS = np.array([-6.0, -3.0, -1.0, 0.0, 1.0, 3.0, 6.0])


def near_kinks(dtype):
    kinks = KINKS.astype(dtype)
    infinity = np.array(np.inf, dtype)
    sides = [np.nextafter(kinks, -infinity), kinks, np.nextafter(kinks, infinity)]
    # The neighbours of 0 are subnormal, which TensorFlow takes for 0.
    normal = [side[kinks != 0] for side in sides]
    return np.concatenate([points(dtype), *normal])


def test_all_known_activations_are_tested():
    for name in set(activations.known_activations()) ^ set(NAMES):
        pytest.fail(f"write phi' and shape of {name!r} in NumPy, in tests/reference.py")


@pytest.mark.parametrize("dtype", ["float32", ONCE_IN_FLOAT64])
@pytest.mark.parametrize("name", NAMES)
def test_default_acceleration(name, dtype):
    layer = GAAF(name, dtype=dtype)
    assert_accelerated(layer, name, reference.slope(name), near_kinks(dtype))


@pytest.mark.parametrize("known", WITH_DEFAULT, ids=lambda known: known.name)
def test_default_shape_of_a_row(known):
    x = np.linspace(-9.97, 9.98, 401, dtype="float32")
    assert known.why
    value, gradient = value_and_gradient(activations.get(f"gaaf_{known.name}"), x)
    plain, slope = value_and_gradient(known.function, x)
    np.testing.assert_array_equal(value, plain)
    shape = gaaf(known.name).shape_function
    assert shape == shapes.get(known.default_shape) == shapes.default_for(known.name)
    added = keras.ops.convert_to_numpy(shape(keras.ops.convert_to_tensor(x)))
    np.testing.assert_allclose(gradient, slope + added, atol=4e-6)


@pytest.mark.parametrize("name", NAMES)
def test_derivative_is_the_backends_own_away_from_kinks(name):
    x = np.linspace(-9.97, 9.98, 401, dtype="float32")
    upstream = upstream_like(x)
    _, ours = value_and_gradient(gaaf(name, strength=0), x, upstream)
    _, theirs = value_and_gradient(keras.activations.get(name), x, upstream)
    assert_gradient(ours, theirs, upstream)


@pytest.mark.once
@pytest.mark.parametrize("dtype", ["bfloat16", ONCE_IN_FLOAT16])
@pytest.mark.parametrize("name", NAMES)
def test_half_precision(name, dtype):
    x = np.concatenate([np.linspace(-8, 8, 401), [-6e4, -300, 300, 6e4]])
    x = x.astype(dtype).astype("float32")
    value, gradient = value_and_gradient(in_dtype(dtype, gaaf(name)), x)
    plain, _ = value_and_gradient(in_dtype(dtype, keras.activations.get(name)), x)
    np.testing.assert_array_equal(value, plain)
    expected = reference.slope(name)(x.astype("float64"))
    # A step of slope 5 turns the rounding of its argument, up to 8, into 10 roundings.
    error = 12 * float(ml_dtypes.finfo(dtype).eps)
    np.testing.assert_allclose(gradient, expected, atol=error)


@pytest.mark.parametrize("frequency", [None, pytest.param(1e4, marks=pytest.mark.once)])
@pytest.mark.parametrize("name", NAMES)
def test_extreme_data_behaves_as_in_the_base_activation(name, frequency):
    x = np.array([np.nan, np.inf, -np.inf, 3e38, -3e38, 1e-40], "float32")
    function = gaaf(name, frequency=frequency)
    value, gradient = value_and_gradient(function, x)
    base_value, base = value_and_gradient(keras.activations.get(name), x)
    np.testing.assert_allclose(value, base_value, atol=1e-4 if frequency else 0)
    assert not np.any(np.isnan(gradient) & ~np.isnan(base)), (gradient, base)


SHAPES = st.one_of(
    st.builds(shapes.Gaussian, st.floats(0.1, 20)),
    st.builds(shapes.ShiftedSigmoid, st.floats(0.1, 20), st.floats(-5, 5)),
    st.builds(shapes.Constant, st.floats(0, 3)),
)


def shape_in_numpy(shape, x):
    if isinstance(shape, shapes.Gaussian):
        return reference.gaussian(x, shape.width)
    if isinstance(shape, shapes.ShiftedSigmoid):
        return reference.shifted_sigmoid(x, shape.slope, shape.shift)
    return np.full_like(x, shape.value)


def normal_floats(low, high):
    return st.floats(low, high, allow_subnormal=False)  # the backends take them for 0


@pytest.mark.once
@settings(max_examples=30, deadline=None, derandomize=True)
@given(
    name=st.sampled_from(NAMES),
    shape=SHAPES,
    strength=st.floats(0, 4),
    x=st.lists(normal_floats(-30, 30), min_size=1, max_size=8),
    data=st.data(),
)
def test_any_combination(name, shape, strength, x, data):
    x = np.array(x)
    upstream = np.array(
        data.draw(st.lists(normal_floats(-9, 9), min_size=len(x)))[: len(x)]
    )
    value, gradient = value_and_gradient(gaaf(name, shape, strength), x, upstream)
    np.testing.assert_array_equal(
        value, keras.ops.convert_to_numpy(keras.activations.get(name)(x))
    )
    slope = reference.DERIVATIVES[name](x) + strength * shape_in_numpy(shape, x)
    assert_gradient(gradient, upstream * slope, upstream, precision=value.dtype)
