"""What `accelerate` is asked: shapes, selections, reports, mistakes."""

import keras
import pytest

import gaaf_keras
from gaaf_keras import Gaussian, accelerate, gaaf, restore
from gaaf_keras.layers import accelerated_layers
from tests.convert.zoo import (
    LAYERS,
    architecture,
    assert_same_outputs,
    sequential,
    wide_functional,
)


def test_shapes_strength_and_unit_gain():
    model = sequential(
        LAYERS.Dense(3, activation="relu"),
        LAYERS.Dense(3, activation="tanh"),
        LAYERS.Dense(2),
    )

    def made(**arguments):
        layers = accelerated_layers(accelerate(model, verbose=False, **arguments))
        return [(layer.shape, layer.strength) for layer in layers]

    relu, tanh = (gaaf_keras.shapes.default_for(name) for name in ("relu", "tanh"))
    assert made() == [(relu, 1.0), (tanh, 1.0)]
    assert made(shapes=Gaussian(3), strength=0.5) == [(Gaussian(3), 0.5)] * 2
    assert made(shapes="gaussian") == [(Gaussian(2), 1.0)] * 2
    assert made(shapes={"tanh": Gaussian(3)}) == [(relu, 1), (Gaussian(3), 1)]
    assert made(shapes={keras.activations.relu: Gaussian(3)}) == [
        (Gaussian(3), 1.0),
        (tanh, 1.0),
    ]
    shape = gaaf("relu", "straight_through").shape
    assert made(shapes={"relu": "straight_through"})[0] == (shape, 1.0)
    scaled = accelerate(model, unit_gain=True, verbose=False)
    assert all(layer.get_config()["unit_gain"] for layer in accelerated_layers(scaled))


def test_recommended_shapes():
    model = sequential(
        LAYERS.Dense(3, activation="tanh"),
        LAYERS.Dense(3, activation="elu"),
        LAYERS.ReLU(max_value=6),
        LAYERS.Dense(2),
    )
    copy, report = accelerate(
        model, shapes="recommended", verbose=False, return_report=True
    )
    (layer,) = accelerated_layers(copy)
    assert layer.shape == gaaf_keras.recommended("tanh")
    assert [(row.activation, row.left_alone) for row in report.left_alone] == [
        ("elu", "nothing recommended"),
        ("relu6", "nothing recommended"),
    ]
    assert architecture(restore(copy)) == architecture(model)


def nested_for_selection():
    inner = sequential(
        LAYERS.Dense(4, activation="relu", name="dense_a"),
        LAYERS.Activation("tanh", name="act_a"),
        name="inner",
    )
    inputs = keras.Input((4,))
    x = LAYERS.Dense(4, activation="relu", name="dense_b")(inner(inputs))
    x = LAYERS.Reshape((4, 1))(x)
    x = LAYERS.TimeDistributed(
        LAYERS.Dense(4, activation="elu", name="dense_c"), name="timed"
    )(x)
    x = LAYERS.Flatten()(x)
    x = LAYERS.Dense(3, activation="sigmoid", name="out")(x)
    return keras.Model(inputs, LAYERS.Activation("linear")(x))


@pytest.mark.parametrize(
    ("layers", "selected"),
    [
        (None, ["inner/dense_a", "inner/act_a", "dense_b", "timed/dense_c"]),
        ("dense_b", ["dense_b"]),
        ("dense_*", ["inner/dense_a", "dense_b", "timed/dense_c"]),
        ("inner/*", ["inner/dense_a", "inner/act_a"]),
        ("inner", ["inner/dense_a", "inner/act_a"]),
        ("timed", ["timed/dense_c"]),
        ("timed/dense_c", ["timed/dense_c"]),
        (LAYERS.Activation, ["inner/act_a"]),
        (["act_a", "dense_b"], ["inner/act_a", "dense_b"]),
        (lambda layer: "_a" in layer.name, ["inner/dense_a", "inner/act_a"]),
        ("out", ["out"]),
        (["dense_b", "out"], ["dense_b", "out"]),
        (LAYERS.Dense, ["inner/dense_a", "dense_b", "timed/dense_c"]),
    ],
)
def test_selection(layers, selected):
    model = nested_for_selection()
    accelerated, report = accelerate(
        model, layers=layers, verbose=False, return_report=True
    )
    assert [row.layer for row in report.accelerated] == selected
    assert len(report.accelerated) + len(report.left_alone) == 5
    assert len(accelerated_layers(accelerated)) == len(selected)
    assert_same_outputs(model, accelerated)


def test_softmax_can_be_named():
    model = wide_functional()
    with pytest.raises(ValueError, match="'softmax' of layer 'classes' has no default"):
        accelerate(model, layers="classes", verbose=False)
    accelerated = accelerate(
        model, {"softmax": Gaussian(2.0)}, layers="classes", verbose=False
    )
    assert len(accelerated_layers(accelerated)) == 1


def test_in_two_steps():
    model = nested_for_selection()
    half = accelerate(model, layers="inner", strength=2, verbose=False)
    whole, report = accelerate(half, strength=3, verbose=False, return_report=True)
    assert [layer.strength for layer in accelerated_layers(whole)] == [2, 2, 3, 3]
    assert {row.left_alone for row in report.left_alone} == {
        "accelerated already",
        "output",
    }
    assert architecture(restore(whole)) == architecture(model)


def test_report(capsys):
    model = wide_functional()
    _, report = accelerate(model, return_report=True)
    printed = capsys.readouterr().out
    assert "wide: 3 of 5 activations accelerated" in printed
    assert "inner/inner_leaky" not in printed
    assert "LeakyReLU" in printed
    assert [(row.layer, row.kind, row.argument) for row in report.accelerated] == [
        ("shared", "Dense", "activation"),
        ("inner/inner_dense", "Dense", "activation"),
        ("inner/inner_leaky", "LeakyReLU", None),
    ]
    assert {row.layer: row.left_alone for row in report.left_alone} == {
        "probability": "output",
        "classes": "not elementwise",
    }
    assert "Gaussian(width=2.0)" in str(report)
    accelerate(model, verbose=False)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"layers": "dense_9"}, ValueError, "selects nothing.*'dense_9'.*shared"),
        ({"layers": []}, ValueError, "must not be empty"),
        ({"layers": 3}, TypeError, "`layers` must be a name"),
        ({"layers": lambda layer: False}, ValueError, "selects nothing"),
        ({"shapes": {"elu": "gaussian"}}, ValueError, "'elu'.*leaky_relu, relu, tanh"),
        ({"shapes": "nonsense"}, ValueError, "`shape`"),
        ({"strength": -1}, ValueError, "strength"),
    ],
)
def test_mistakes(arguments, error, message):
    with pytest.raises(error, match=message):
        accelerate(wide_functional(), verbose=False, **arguments)


def test_nothing_to_accelerate():
    model = sequential(LAYERS.Dense(3), LAYERS.Dense(2, activation="softmax"))
    with pytest.raises(
        ValueError, match=r"nothing to accelerate.*1 softmax \(not elem"
    ):
        accelerate(model, verbose=False)
    assert architecture(restore(model)) == architecture(model)
    model = sequential(LAYERS.Dense(3, activation="elu"), LAYERS.Dense(2))
    with pytest.raises(ValueError, match=r"nothing to acc.*1 elu \(nothing recomm"):
        accelerate(model, shapes="recommended", verbose=False)


def ending_in(function):
    inputs = keras.Input((4,))
    x = LAYERS.Dense(3, activation="relu", name="hidden")(inputs)
    return keras.Model(inputs, function(LAYERS.Dense(1, "sigmoid", name="end")(x)))


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x,
        lambda x: keras.ops.squeeze(x, -1),
        lambda x: keras.ops.reshape(x, (-1, 1, 1)),
        lambda x: x[:, 0],
        LAYERS.Dropout(0.5),
        LAYERS.Activation("linear", dtype="float32"),
        lambda x: LAYERS.Concatenate()([x, x]),
        lambda x: keras.ops.flip(keras.ops.stack([x, x], axis=1), axis=-1),
        lambda x: LAYERS.UpSampling1D(2)(LAYERS.RepeatVector(2)(x)),
        lambda x: LAYERS.Cropping1D(1)(LAYERS.ZeroPadding1D(2)(x[:, None])),
    ],
)
def test_what_is_rearranged_is_still_the_output(function):
    model = ending_in(function)
    _, report = accelerate(model, verbose=False, return_report=True)
    assert [row.layer for row in report.accelerated] == ["hidden"]
    assert report.left_alone[0].left_alone == "output"


def test_only_the_outputs_that_are_used():
    inputs = keras.Input((4,))
    features = LAYERS.Dense(3, activation="relu", name="features")(inputs)
    logits = LAYERS.Dense(2, activation="sigmoid", name="end")(features)
    nested = keras.Model(inputs, [features, logits], name="nested")
    outer = keras.Input((4,))
    model = keras.Model(outer, nested(outer)[1])
    _, report = accelerate(model, verbose=False, return_report=True)
    assert [row.layer for row in report.accelerated] == ["nested/features"]
    assert [row.layer for row in report.left_alone] == ["nested/end"]


def test_layers_themselves_can_be_given():
    model = nested_for_selection()
    chosen = [model.get_layer("dense_b"), model.get_layer("inner")]
    _, report = accelerate(model, layers=chosen, verbose=False, return_report=True)
    assert [row.layer for row in report.accelerated] == [
        *("inner/dense_a", "inner/act_a"),
        "dense_b",
    ]
    one = accelerate(model, layers=chosen[0], verbose=False)
    assert len(accelerated_layers(one)) == 1
