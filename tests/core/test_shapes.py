"""Shape functions: values, configuration, lookup and errors."""

import dataclasses

import keras
import numpy as np
import pytest

from gaaf_keras import GAAF, gaaf, shapes
from gaaf_keras.shapes.base import DEFINED
from tests import reference
from tests.gradients import assert_accelerated, points, value_and_gradient

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
        (shapes.Constant(0.3), np.full_like(X, 0.3)),
        (
            2 * shapes.Gaussian() - shapes.Constant(0.5) * 3,
            2 * reference.gaussian(X) - 1.5,
        ),
        (
            -shapes.Gaussian() + shapes.Gaussian(5),
            reference.gaussian(X, 5) - reference.gaussian(X),
        ),
        (shapes.Gaussian().clip(0.1, 0.6), np.clip(reference.gaussian(X), 0.1, 0.6)),
        (shapes.Gaussian().one_sided(), reference.gaussian(X) * (X <= 0)),
        (
            shapes.Gaussian().one_sided("positive", at=1),
            reference.gaussian(X) * (X > 1),
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
    "shape",
    [
        0.5 * shapes.Gaussian() - shapes.Constant().clip(0, 1).one_sided("positive", 2),
        shapes.b_silu(1.5).bound_to("relu"),
        *(shapes.get(defined.example or name) for name, defined in DEFINED.items()),
    ],
    ids=repr,
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
    with pytest.raises(
        ValueError, match=r"'gaussian', 'shifted_sigmoid', .*'b_silu'"
    ) as error:
        shapes.get(identifier)
    assert repr(identifier) in str(error.value)


SURROGATES = {
    "b_silu": lambda x: (
        reference.shifted_sigmoid(x, 1, 0)
        + (x + 1.67) * reference.tanh_derivative(x / 2) / 4
    ),
    "nelu": lambda x: np.where(x > 0, 1.0, 0.2 * x / (1 + x * x) ** 2),
    "helu": lambda x: np.where(x > -0.5, 1.0, 0.0),
    "leaky": lambda x: np.where(x > 0, 1.0, 0.3),
    "straight_through": np.ones_like,
}


def tanh_under_noise(x, noise_std):
    noise, step = np.linspace(-9, 9, 2001, retstep=True)
    density = np.exp(-(noise**2) / 2) / np.sqrt(2 * np.pi)
    values = reference.tanh_derivative(x[:, None] + noise_std * noise)
    return step * (values * density).sum(axis=1)


# Of the example in the definition, or of the defaults if that has none.
FORMULAS = {
    "gaussian": lambda x: reference.gaussian(x, 3),
    "shifted_sigmoid": reference.shifted_sigmoid,
    "constant": lambda x: np.full_like(x, 0.1),
    "sum": lambda x: reference.gaussian(x) + 0.1,
    "scaled": lambda x: reference.shifted_sigmoid(x) / 2,
    "clipped": lambda x: np.minimum(reference.gaussian(x), 0.5),
    "one_sided": lambda x: np.where(x > 0, 0, reference.shifted_sigmoid(x)),
    "from_derivative": lambda x: reference.gaussian(x) - reference.tanh_derivative(x),
    "b_silu_derivative": SURROGATES["b_silu"],
    "nelu_derivative": SURROGATES["nelu"],
    "dropout_matched": lambda x: (
        tanh_under_noise(x, 1.5) - reference.tanh_derivative(x)
    ),
}


@pytest.mark.parametrize("name", DEFINED)
def test_example_of_the_definition(name):
    if name not in FORMULAS and name not in SURROGATES:
        pytest.fail(f"write the formula of {name!r} in NumPy, in FORMULAS above")
    defined = DEFINED[name]
    shape = shapes.get(defined.example or name).bound_to(defined.on)
    x = points("float64", limit=12.0)
    if name in SURROGATES:
        expected = SURROGATES[name](x) - reference.DERIVATIVES[defined.on](x)
    else:
        expected = FORMULAS[name](x)
    value = keras.ops.convert_to_numpy(shape(keras.ops.convert_to_tensor(x)))
    np.testing.assert_allclose(value, expected, rtol=1e-9, atol=2e-6)


@pytest.mark.parametrize("name", SURROGATES)
@pytest.mark.parametrize("activation", ["relu", "tanh", "gelu"])
def test_surrogates_are_the_total_derivative(name, activation):
    layer = GAAF(activation, shape_function=name)
    assert_accelerated(layer, activation, SURROGATES[name], points("float32"))


@pytest.mark.parametrize("name", SURROGATES)
def test_surrogates_at_the_ends(name):
    x = np.array([np.inf, -np.inf, 3e38, -3e38], "float32")
    _, gradient = value_and_gradient(gaaf("relu", name), x)
    limits = SURROGATES[name](np.array([50.0, -1e6, 50.0, -1e6]))
    np.testing.assert_allclose(gradient, limits, atol=1e-6)


def test_strength_interpolates_towards_the_wanted_derivative():
    x = points("float64")
    shape = shapes.FromDerivative(shapes.Gaussian(3.0))
    _, gradient = value_and_gradient(gaaf("relu", shape, 0.25), x)
    expected = 0.75 * reference.relu_derivative(x) + 0.25 * reference.gaussian(x, 3)
    np.testing.assert_allclose(gradient, expected, rtol=1e-6, atol=1e-12)


def test_a_shape_of_ones_own():
    @keras.saving.register_keras_serializable("tests")
    @dataclasses.dataclass(frozen=True)
    class Lorentzian(shapes.Shape):
        width: float = 1.0

        def __call__(self, x):
            return 1 / (1 + keras.ops.square(x / self.width))

    layer = GAAF("tanh", shape_function=Lorentzian(2.0) + shapes.Constant(0.1))
    copy = GAAF.from_config(layer.get_config())
    assert copy.shape_function == layer.shape_function
    np.testing.assert_allclose(
        keras.ops.convert_to_numpy(copy.shape_function(X)),
        1 / (1 + X * X / 4) + 0.1,
        rtol=1e-6,
    )


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: shapes.Gaussian(width=-1), ValueError, "`width`.*width=-1"),
        (lambda: shapes.Gaussian(width=0), ValueError, "`width`.*width=0"),
        (lambda: shapes.Gaussian(width="wide"), TypeError, "`width`.*'wide'"),
        (lambda: shapes.Gaussian(width=float("nan")), ValueError, "`width`.*nan"),
        (lambda: shapes.ShiftedSigmoid(slope=0), ValueError, "`slope`.*slope=0"),
        (lambda: shapes.ShiftedSigmoid(shift=float("inf")), ValueError, "`shift`.*inf"),
        (lambda: shapes.ShiftedSigmoid(shift=True), TypeError, "`shift`.*True"),
        (lambda: shapes.Gaussian() + 1, TypeError, "unsupported operand"),
        (lambda: shapes.Gaussian() * "a", TypeError, "`factor`.*'a'"),
        (lambda: shapes.Gaussian().clip(2, 1), ValueError, "minimum=2.0, maximum=1.0"),
        (lambda: shapes.Gaussian().one_sided("left"), ValueError, "`side`.*'left'"),
        (lambda: shapes.Gaussian().one_sided(at="x"), TypeError, "`at`.*'x'"),
        (
            lambda: shapes.OneSided("gaussian"),
            TypeError,
            "`shape_function`.*'gaussian'",
        ),
        (lambda: shapes.Constant(-0.1), ValueError, "`value`.*-0.1"),
        (lambda: shapes.FromDerivative(1.0), TypeError, "`derivative`.*1.0"),
        (lambda: shapes.FromDerivative(shapes.b_silu()), TypeError, "total derivative"),
        (
            lambda: shapes.FromDerivative(shapes.b_silu().clip(0, 1)),
            TypeError,
            "total derivative",
        ),
        (lambda: shapes.b_silu()(X), ValueError, "depends on the activation"),
        (lambda: shapes.helu(-1), ValueError, "`alpha`.*-1"),
        (lambda: shapes.nelu(float("nan")), ValueError, "`alpha`.*nan"),
        (lambda: shapes.FromDerivative(shapes.Constant(1), "mish"), ValueError, "mish"),
        (lambda: gaaf("tanh", shapes.b_silu().bound_to("relu")), ValueError, "'tanh'"),
        (
            lambda: gaaf(lambda x: x, shapes.straight_through()),
            ValueError,
            "derivative is known",
        ),
        (
            lambda: gaaf("relu", 2 * shapes.DropoutMatched("tanh", 1)),
            ValueError,
            "matched to activation 'tanh'.*'relu'",
        ),
        (lambda: shapes.DropoutMatched("elu", 1), ValueError, "tanh, sigmoid.*'elu'"),
        (lambda: shapes.DropoutMatched("relu", 0), ValueError, "`noise_std`.*0"),
        (
            lambda: shapes.default_for("exponential"),
            ValueError,
            "`shape_function`.*tanh.*expon",
        ),
    ],
)
def test_misuse_is_named(call, error, message):
    with pytest.raises(error, match=message):
        call()
