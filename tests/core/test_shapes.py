"""Shape functions: values, configuration, lookup and errors."""

import keras
import numpy as np
import pytest

from gaaf_keras import shapes
from tests import reference

X = np.linspace(-30, 30, 601)


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        (shapes.Gaussian(), np.exp(-(X**2) / 4)),
        (shapes.Gaussian(width=0.7), reference.gaussian(X, 0.7)),
        (shapes.ShiftedSigmoid(), reference.shifted_sigmoid(X)),
        (
            shapes.ShiftedSigmoid(slope=1.5, shift=-2),
            reference.shifted_sigmoid(X, 1.5, -2),
        ),
    ],
    ids=repr,
)
def test_values(shape, expected):
    value = keras.ops.convert_to_numpy(shape(keras.ops.convert_to_tensor(X)))
    assert value.dtype == np.float64
    np.testing.assert_allclose(value, expected, rtol=1e-12, atol=1e-300)


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("shape", [shapes.Gaussian(), shapes.ShiftedSigmoid()])
def test_dtype_is_kept_and_values_stay_finite(shape, dtype):
    x = keras.ops.cast([-60000.0, -300.0, 0.0, 300.0, 60000.0], dtype)
    value = shape(x)
    assert keras.backend.standardize_dtype(value.dtype) == dtype
    assert np.isfinite(
        keras.ops.convert_to_numpy(keras.ops.cast(value, "float32"))
    ).all()


@pytest.mark.parametrize(
    "shape", [shapes.Gaussian(width=3), shapes.ShiftedSigmoid(slope=2, shift=-1)]
)
def test_round_trip_through_configuration(shape):
    config = keras.saving.serialize_keras_object(shape)
    assert config["registered_name"] == f"gaaf_keras>{type(shape).__name__}"
    assert shapes.get(config) == shape
    assert hash(shapes.get(config)) == hash(shape)
    assert type(shape).from_config(shape.get_config()) == shape


def test_equality_is_of_kind_and_parameters():
    assert shapes.Gaussian() == shapes.Gaussian(width=2)
    assert shapes.Gaussian() != shapes.Gaussian(width=2.5)
    assert shapes.Gaussian() != shapes.ShiftedSigmoid()


def test_get():
    def function(x):
        return x

    assert shapes.get("gaussian") == shapes.Gaussian()
    assert shapes.get("shifted_sigmoid") == shapes.ShiftedSigmoid()
    assert shapes.get(function) is function


@pytest.mark.parametrize("identifier", ["gausian", 3, None, shapes.Gaussian])
def test_get_refuses_and_lists_what_exists(identifier):
    with pytest.raises(ValueError, match="'gaussian', 'shifted_sigmoid'") as error:
        shapes.get(identifier)
    assert repr(identifier) in str(error.value)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: shapes.Gaussian(width=-1), ValueError, "`width`.*width=-1"),
        (lambda: shapes.Gaussian(width=0), ValueError, "`width`.*width=0"),
        (lambda: shapes.Gaussian(width="wide"), TypeError, "`width`.*'wide'"),
        (lambda: shapes.Gaussian(width=float("nan")), ValueError, "`width`.*nan"),
        (lambda: shapes.ShiftedSigmoid(slope=0), ValueError, "`slope`.*slope=0"),
        (lambda: shapes.ShiftedSigmoid(shift=float("inf")), ValueError, "`shift`.*inf"),
        (lambda: shapes.ShiftedSigmoid(shift=True), TypeError, "`shift`.*True"),
    ],
)
def test_bad_parameters_are_named(make, error, message):
    with pytest.raises(error, match=message):
        make()
