"""Activations by name, configuration and object."""

import keras
import pytest

import gaaf_keras
from gaaf_keras import activations, gaaf, shapes


def test_other_identifiers():
    assert activations.get("gaaf_tanh") is gaaf_keras.gaaf_tanh
    assert activations.get("gaaf_relu") is gaaf_keras.gaaf_relu
    assert activations.get("tanh") is keras.activations.tanh
    assert activations.get(abs) is abs
    assert activations.get("gaaf_mish").shape_function == shapes.default_for("mish")
    with pytest.raises(ValueError, match="gaaf_mish"):
        activations.get("gaaf_mesh")
    function = gaaf("elu", "gaussian", 0.5, unit_gain=True)
    copy = activations.get(keras.activations.serialize(function))
    assert copy.get_config() == function.get_config()
    config = keras.activations.serialize(gaaf_keras.gaaf_tanh)
    assert activations.get(config) is gaaf_keras.gaaf_tanh


@pytest.mark.parametrize("identifier", ["gaaf_tnah", "tnah", "gaaf_softmax", 3])
def test_unknown_names_list_what_exists(identifier):
    with pytest.raises(ValueError, match=r"gaaf_tanh.*gaaf_gelu") as error:
        activations.get(identifier)
    assert f"identifier={identifier!r}" in str(error.value)


@pytest.mark.parametrize(
    ("text", "shape"),
    [
        ("gaussian", shapes.Gaussian(2.0)),
        ("gaussian(width=3)", shapes.Gaussian(3.0)),
        ("gaussian(3)", shapes.Gaussian(3.0)),
        ("one_sided(shifted_sigmoid)", shapes.ShiftedSigmoid().one_sided()),
        (
            "one_sided(gaussian(width=3), at=-1)",
            shapes.Gaussian(3.0).one_sided(at=-1),
        ),
        ("from_derivative(gaussian)", shapes.FromDerivative(shapes.Gaussian())),
        ("shifted_sigmoid(slope=4, shift=-0.5)", shapes.ShiftedSigmoid(4.0, -0.5)),
        ("helu(alpha=1e-1)", shapes.helu(0.1)),
        (" straight_through() ", shapes.straight_through()),
        ("gaussian - 0.5 * constant(1)", shapes.Gaussian() - 0.5 * shapes.Constant(1)),
        ("1 / 4 * gaussian(width=4)", 0.25 * shapes.Gaussian(4)),
        ("clipped(gaussian, 0, 0.5)", shapes.Gaussian().clip(0, 0.5)),
        ("dropout_matched('tanh', 0.7)", shapes.DropoutMatched("tanh", 0.7)),
    ],
)
def test_shapes_with_parameters(text, shape):
    assert shapes.get(text) == shape


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("gaussian(", "never closed"),
        ("gaussian(with=3)", "invalid syntax"),
        ("gaussian(breadth=3)", "'breadth'"),
        ("gaussian(width=abs(3))", "there is no shape 'abs', only gaussian"),
        ("gaussian(-1)", "width=-1"),
        ("gaussian(3) + 1", "unsupported operand"),
        ("2 * 'gaussian'", "it evaluates to 'gaussiangaussian'"),
        ("gaussian ** 2", "malformed"),
        ("1 / 0 * gaussian", "division by zero"),
        ("gaussian(3)(4)", "malformed"),
        ("gaussian(*[3])", "malformed"),
        ("one_sided", "'shape_function'"),
        ("one_sided(3)", "shape_function=3"),
        ("one_sided(gauss)", "there is no shape 'gauss', only gaussian"),
        ("from_derivative(b_silu)", "not a shape made from one"),
    ],
)
def test_wrong_parameters_are_refused(text, reason):
    with pytest.raises(ValueError, match=r"Argument `shape_function` must .*") as error:
        shapes.get(text)
    assert reason in str(error.value)
    assert f"shape_function={text!r}" in str(error.value)
