"""Options of `accelerate`: shapes, selections, tables, mistakes."""

import contextlib
import io

import keras
import pytest

import gaaf_keras
from gaaf_keras import GAAFTanh, Gaussian, accelerate, gaaf, gaaf_relu, summary
from gaaf_keras.layers import accelerated_layers
from tests.acceleration.zoo import LAYERS, sequential, wide_functional


def test_shapes_strength_and_unit_gain():
    model = sequential(
        LAYERS.Dense(3, activation="relu"),
        LAYERS.Dense(3, activation="tanh"),
        LAYERS.Dense(2),
    )

    def made(**arguments):
        with accelerate(model, **arguments) as acceleration:
            layers = accelerated_layers(model)
            rows = acceleration.accelerated
            assert [layer.shape_function for layer in layers] == [
                row.shape_function for row in rows
            ]
            assert {layer.unit_gain for layer in layers} == {rows[0].unit_gain}
            return [(layer.shape_function, layer.strength) for layer in layers]

    relu, tanh = (gaaf_keras.shapes.default_for(name) for name in ("relu", "tanh"))
    assert made() == [(relu, 1.0), (tanh, 1.0)]
    assert made(shape_function=Gaussian(3), strength=0.5) == [(Gaussian(3), 0.5)] * 2
    assert made(shape_function="gaussian") == [(Gaussian(2), 1.0)] * 2
    assert made(shape_function={"tanh": Gaussian(3)}) == [(relu, 1), (Gaussian(3), 1)]
    assert made(shape_function={keras.activations.relu: Gaussian(3)}) == [
        (Gaussian(3), 1.0),
        (tanh, 1.0),
    ]
    shape = gaaf("relu", "straight_through").shape_function
    assert made(shape_function={"relu": "straight_through"})[0] == (shape, 1.0)
    for given in ({}, {"unit_gain": False}):
        with accelerate(model, **given):
            assert accelerated_layers(model)[0].unit_gain == (not given)


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
    with accelerate(model, layers=layers) as acceleration:
        assert [row.layer for row in acceleration.accelerated] == selected
        assert len(acceleration.rows) == 5
        assert len(accelerated_layers(model)) == len(selected)


def in_time():
    return sequential(
        LAYERS.Dense(3, activation="relu", name="before"),
        LAYERS.LSTM(3, name="lstm", return_sequences=True),
        LAYERS.Bidirectional(LAYERS.GRU(3, name="gru"), name="both"),
        LAYERS.Dense(2),
        shape=(5, 4),
    )


GATES = "recurrent_activation"


@pytest.mark.parametrize(
    ("layers", "selected"),
    [
        (None, [("before", "activation")]),
        ("lstm", [("lstm", "activation"), ("lstm", GATES)]),
        (f"lstm/{GATES}", [("lstm", GATES)]),
        (LAYERS.LSTM, [("lstm", "activation"), ("lstm", GATES)]),
        (
            f"*/{GATES}",
            [
                ("lstm", GATES),
                ("both/forward_gru", GATES),
                ("both/backward_gru", GATES),
            ],
        ),
    ],
)
def test_recurrent_layers_are_left_alone_unless_named(layers, selected):
    acceleration = accelerate(in_time(), layers=layers)
    assert [(row.layer, row.argument) for row in acceleration.accelerated] == selected
    if layers is None:
        assert len(acceleration.left_alone) == 6
        assert {row.left_alone for row in acceleration.left_alone} == {
            "recurrent: compounds over time steps"
        }


def test_what_is_known_to_harm():
    model = in_time()
    with pytest.warns(
        UserWarning, match=r"`activation` of rec.*\(lstm\).*Try unit_gain=True"
    ):
        accelerate(model, layers="lstm", unit_gain=False).remove()
    deep = sequential(*[LAYERS.Dense(4, "relu") for _ in range(6)], LAYERS.Dense(2))
    with pytest.warns(UserWarning, match=r"in 6 activations.*Try unit_gain=True"):
        acceleration = accelerate(deep, unit_gain=False)
    assert "Full strength without unit gain" in str(acceleration)


def test_models_with_gaaf_in_them():
    inputs = keras.Input((4,))
    x = LAYERS.Dense(4, activation=gaaf_relu)(inputs)
    x = gaaf("elu")(LAYERS.Dense(4, activation="tanh", name="plain")(x))
    x = GAAFTanh(strength=2)(LAYERS.Dense(4, activation=gaaf("relu"))(x))
    model = keras.Model(inputs, LAYERS.Dense(2)(x))
    expected = ["relu", "elu", "relu", "tanh"]
    assert [row.activation for row in summary(model).accelerated] == expected
    assert summary(model).accelerated[-1].gradient == "2 * Gaussian(width=2.0)"
    with accelerate(model) as acceleration:
        assert [row.layer for row in acceleration.accelerated] == ["plain"]
        reasons = {row.left_alone for row in acceleration.left_alone}
        assert reasons == {"already accelerated"}
        assert len(summary(model).accelerated) == 5
        with pytest.raises(ValueError, match="already accelerated, in: plain"):
            accelerate(model)


def test_table():
    model = wide_functional()
    acceleration = accelerate(model)
    printed = str(acceleration)
    assert printed == repr(acceleration)
    assert "wide: 3 of 5 activations accelerated" in printed
    assert "Gaussian(width=2.0), unit gain" in printed
    html = acceleration._repr_mimebundle_([], [])["text/html"]
    assert "inner_leaky" in html
    rows = acceleration.accelerated
    assert [(row.layer, row.kind, row.argument) for row in rows] == [
        ("shared", "Dense", "activation"),
        ("inner/inner_dense", "Dense", "activation"),
        ("inner/inner_leaky", "LeakyReLU", None),
    ]
    assert {row.layer: row.left_alone for row in acceleration.left_alone} == {
        "probability": "output",
        "classes": "not elementwise",
    }


def test_the_table_in_ascii():
    layers = [keras.layers.Dense(2, "relu", name=f"{i}" * 20) for i in range(3)]
    table = summary(keras.Sequential([keras.Input((2,)), *layers]))
    file = io.TextIOWrapper(io.BytesIO(), "ascii")
    with contextlib.redirect_stdout(file):
        print(table)
    file.seek(0)
    assert f"| {'0' * 20} ~ 22~ |" in file.read()


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"layers": "dense_9"}, ValueError, "selects nothing.*'dense_9'.*shared"),
        ({"layers": []}, ValueError, "must not be empty"),
        ({"layers": 3}, TypeError, "`layers` must be a name"),
        ({"layers": lambda layer: False}, ValueError, "selects nothing"),
        ({"layers": lambda: True}, TypeError, "function in `layers` must take a layer"),
        (
            {"shape_function": {"elu": "gaussian"}},
            ValueError,
            "'elu'.*leaky_relu, relu, tanh",
        ),
        ({"shape_function": "nonsense"}, ValueError, "`shape_function`"),
        ({"strength": -1}, ValueError, "strength"),
    ],
)
def test_mistakes(arguments, error, message):
    with pytest.raises(error, match=message):
        accelerate(wide_functional(), **arguments)


def test_a_shape_for_what_is_left_alone():
    with pytest.raises(ValueError, match=r"not accelerated.*'tanh'. Accelerated: relu"):
        accelerate(in_time(), shape_function={"tanh": "gaussian"})


def test_nothing_to_accelerate():
    model = sequential(LAYERS.Dense(3), LAYERS.Dense(2, activation="softmax"))
    with pytest.raises(
        ValueError, match=r"nothing to accelerate.*1 softmax \(not elem"
    ):
        accelerate(model)
    with pytest.raises(TypeError, match=r"a Keras model or layer. Received: model='m"):
        accelerate("model.keras")


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
    report = accelerate(model)
    assert [row.layer for row in report.accelerated] == ["hidden"]
    assert report.left_alone[0].left_alone == "output"


def test_only_the_outputs_that_are_used():
    inputs = keras.Input((4,))
    features = LAYERS.Dense(3, activation="relu", name="features")(inputs)
    logits = LAYERS.Dense(2, activation="sigmoid", name="end")(features)
    nested = keras.Model(inputs, [features, logits], name="nested")
    outer = keras.Input((4,))
    model = keras.Model(outer, nested(outer)[1])
    report = accelerate(model)
    assert [row.layer for row in report.accelerated] == ["nested/features"]
    assert [row.layer for row in report.left_alone] == ["nested/end"]


def test_layers_themselves_can_be_given():
    model = nested_for_selection()
    chosen = [model.get_layer("dense_b"), model.get_layer("inner")]
    report = accelerate(model, layers=chosen)
    assert [row.layer for row in report.accelerated] == [
        *("inner/dense_a", "inner/act_a"),
        "dense_b",
    ]
    report.remove()
    assert len(accelerate(model, layers=chosen[0]).accelerated) == 1
