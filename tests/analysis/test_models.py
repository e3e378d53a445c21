"""Where activations are found, and that looking leaves no trace."""

import keras
import numpy as np
import pytest
from keras import layers, ops

from gaaf_keras import GAAF, GAAFReLU, analysis, gaaf_tanh
from gaaf_keras.analysis.observation import observed_activations

X = np.random.default_rng(0).normal(size=(12, 4)).astype("float32")
Y = np.zeros((12, 2), "float32")


class OwnModel(keras.Model):
    def __init__(self):
        super().__init__(name="own")
        self.first = layers.Dense(3, activation="tanh", name="first")
        self.activation_layer = GAAFReLU(name="second")
        self.last = layers.Dense(2, name="last")

    def call(self, x):
        return self.last(self.activation_layer(self.first(x)))


def nested():
    inner = keras.Sequential(
        [keras.Input((4,)), layers.Dense(4, activation="relu", name="inside")],
        name="inner",
    )
    inputs = keras.Input((4,))
    x = inner(inputs)
    x = ops.tanh(x)
    shared = layers.Dense(4, activation=GAAF("tanh"), name="shared")
    x = shared(shared(x))
    x = gaaf_tanh(x)
    x = layers.PReLU(alpha_initializer="ones", name="leaky")(x)
    outputs = layers.Dense(2, activation="softmax", name="end")(x)
    return keras.Model(inputs, outputs)


def recurrent():
    return keras.Sequential(
        [
            keras.Input((4,)),
            layers.Reshape((2, 2)),
            layers.LSTM(3, name="lstm"),
            layers.Dense(2, activation="gelu", name="dense"),
        ]
    )


def test_names():
    model = OwnModel()
    with pytest.raises(ValueError, match="must be built"):
        analysis.saturation(model, X)
    model(X)
    assert list(analysis.saturation(model, X)) == ["first", "second"]
    names = list(analysis.saturation(nested(), X))
    assert names[0] == "inside"
    assert names[2:4] == ["shared", "shared (2)"]
    assert names[5] == "leaky"
    assert len(names) == 6
    assert list(analysis.saturation(recurrent(), X)) == ["dense"]


@pytest.mark.parametrize("make", [OwnModel, nested, recurrent])
def test_every_analysis_on_models_of_all_kinds(make):
    model = make()
    model(X)
    before = [np.array(ops.convert_to_numpy(v)) for v in model.variables]
    flow = analysis.gradient_flow(model, X, Y, loss="mse")
    assert all(layer.net_input_gradient > 0 for layer in flow.values())
    results = [
        analysis.saturation(model, X),
        analysis.correlations(model, X),
        analysis.ablation(model, X, Y, loss="mse"),
        analysis.net_variance(model, X, draws=2),
    ]
    for result in results:
        assert list(result) == list(flow)
    assert len(analysis.weights(model)) >= 2
    assert analysis.weight_noise(model, X, Y, loss="mse", draws=1).losses[1] > 0
    assert analysis.input_noise(model, X, Y, loss="mse").accuracies
    assert analysis.hessian_eigenvalue(model, X, Y, loss="mse", iterations=3) != 0
    for value, variable in zip(before, model.variables, strict=True):
        np.testing.assert_array_equal(ops.convert_to_numpy(variable), value)


def test_nothing_is_left_in_the_model():
    model = nested()
    attributes = [set(vars(a.holder)) for a in observed_activations(model)]
    held = [getattr(a.holder, "activation", None) for a in observed_activations(model)]
    analysis.gradient_flow(model, X, Y, loss="mse")
    with pytest.raises(ValueError, match="incompatible with the layer"):
        analysis.saturation(model, X[:, :3])
    for index, activation in enumerate(observed_activations(model)):
        assert set(vars(activation.holder)) == attributes[index]
        assert getattr(activation.holder, "activation", None) is held[index]
    assert analysis.weights(keras.models.clone_model(model))


def test_several_inputs_and_outputs_with_compiled_losses():
    first, second = keras.Input((4,), name="a"), keras.Input((4,), name="b")
    x = layers.Dense(3, activation="tanh", name="hidden")(first + second)
    outputs = [layers.Dense(2)(x), layers.Dense(1)(x)]
    model = keras.Model([first, second], outputs)
    model.compile("sgd", ["mse", "mae"], loss_weights=[1.0, 0.0])
    data, targets = [X, X], [Y, Y[:, :1]]
    flow = analysis.gradient_flow(model, data, targets)
    alone = keras.Model([first, second], outputs[0])
    expected = analysis.gradient_flow(alone, data, Y, loss="mse")
    assert flow["hidden"].net_input_gradient == pytest.approx(
        expected["hidden"].net_input_gradient, rel=1e-5
    )
    assert analysis.weight_noise(model, data, targets).accuracies == []


def test_regularisation_is_part_of_a_compiled_loss():
    model = keras.Sequential(
        [keras.Input((4,)), layers.Dense(3, activation="tanh", name="hidden")]
    )
    model.layers[0].kernel_regularizer = keras.regularizers.L2(0.1)
    model = keras.models.clone_model(model)
    y = np.zeros((12, 3), "float32")
    model.compile("sgd", "mse")
    kernel = ops.convert_to_numpy(model.layers[0].kernel)
    with_it = analysis.weight_noise(model, X, y, sizes=()).losses[0]
    without = analysis.weight_noise(model, X, y, sizes=(), loss="mse").losses[0]
    assert with_it - without == pytest.approx(0.1 * np.sum(kernel**2), rel=1e-4)


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_half_precision(policy):
    model = keras.Sequential(
        [
            keras.Input((4,)),
            layers.Dense(3, activation=GAAF("tanh"), name="hidden", dtype=policy),
            layers.Dense(2, dtype="float32"),
        ]
    )
    exact = keras.Sequential(
        [
            keras.Input((4,)),
            layers.Dense(3, activation=GAAF("tanh"), name="hidden"),
            layers.Dense(2),
        ]
    )
    exact.set_weights(model.get_weights())
    # So small a loss that its gradient would be 0 in float16.
    loss = lambda y, outputs: 1e-8 * keras.losses.mean_squared_error(y, outputs)  # noqa: E731
    got = analysis.gradient_flow(model, X, Y, loss=loss)["hidden"]
    expected = analysis.gradient_flow(exact, X, Y, loss=loss)["hidden"]
    tolerance = 0.2 if policy == "mixed_float16" else 0.05
    assert got.output_gradient == pytest.approx(expected.output_gradient, rel=tolerance)
    assert analysis.saturation(model, X)["hidden"].share == pytest.approx(
        analysis.saturation(exact, X)["hidden"].share, abs=0.05
    )


def test_accelerated_derivatives_are_told_from_plain_ones():
    model = keras.Sequential([keras.Input((1,)), GAAF("tanh", name="t")])
    x = np.linspace(-6, 6, 601, dtype="float32")[:, None]
    found = analysis.saturation(model, x)["t"]
    assert found.share == pytest.approx(400 / 601, abs=0.01)
    assert found.accelerated_share == pytest.approx(1 - 3.3 / 6, abs=0.02)


def test_curve_of_the_live_object():
    x = np.array([-3.0, 0.0, 0.5])
    curve = analysis.curve(GAAF("relu", strength=0.5), x)
    np.testing.assert_allclose(curve.value, [0, 0, 0.5])
    np.testing.assert_allclose(curve.derivative, [0, 0, 1])
    shape = 1 / (1 + np.exp(-5 * (x + 0.5)))
    np.testing.assert_allclose(curve.added, 0.5 * shape, rtol=1e-5)
    assert np.all(analysis.curve("tanh", x).added == 0)
    assert analysis.curve("gaaf_tanh", [0.0]).derivative_in_training[0] == 2
    assert len(analysis.curve(layers.PReLU()).value) == 401


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m: analysis.gradient_flow(m, X, Y), "Argument `loss` must be given"),
        (lambda m: analysis.saturation(m, X, threshold=0), "`threshold`"),
        (lambda m: analysis.saturation(m, X[:0]), "at least one"),
        (lambda m: analysis.gradient_flow(m, X, Y[:3], loss="mse"), "3, 12"),
        (lambda m: analysis.net_variance(m, X, draws=1), "`draws`"),
        (lambda m: analysis.ablation(m, X, Y, loss="mse", shares=[1.5]), "`shares`"),
        (lambda m: analysis.weight_noise(m, X, Y, loss="mse", sizes=[-1]), "`sizes`"),
        (lambda m: analysis.GradientFlow(X, Y, every=0), "`every`.*Received: every=0"),
        (lambda m: analysis.GradientFlow(X, Y, batch_size=0), "`batch_size`"),
        (lambda m: analysis.saturation(keras.Sequential([m.layers[-1]]), X), "must"),
        (lambda m: analysis.paired_difference([1], [1, 2]), "1 and 2"),
        (lambda m: analysis.paired_difference([1], [1], confidence=95), "confidence"),
    ],
)
def test_errors_name_the_argument(call, message):
    model = OwnModel()
    model(X)
    with pytest.raises(ValueError, match=message):
        call(model)
