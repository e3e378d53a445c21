"""Where activations are found, and that analyses leave no trace."""

import dataclasses

import keras
import numpy as np
import pytest
from keras import layers, ops

from gaaf_keras import GAAF, GAAFReLU, analysis, gaaf_tanh
from gaaf_keras.analysis.model_activations import observed_activations

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
    assert all(layer.pre_activation_gradient > 0 for layer in flow.values())
    results = [
        analysis.saturation(model, X),
        analysis.correlations(model, X),
        analysis.ablation(model, X, Y, loss="mse"),
        analysis.pre_activation_variance(model, X, draws=2),
    ]
    for result in results:
        assert list(result) == list(flow)
    assert len(analysis.weights(model)) >= 2
    assert analysis.weight_noise(model, X, Y, loss="mse", draws=1).losses[1] > 0
    assert analysis.input_noise(model, X, Y, loss="mse").losses[1] > 0
    assert analysis.hessian_eigenvalue(model, X, Y, loss="mse").eigenvalue != 0
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
    assert flow["hidden"].pre_activation_gradient == pytest.approx(
        expected["hidden"].pre_activation_gradient, rel=1e-5
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
        (lambda m: analysis.gradient_flow(m, X, Y, loss="mse", batch_size=0), "batch"),
        (lambda m: analysis.weight_noise(m, X, Y, loss="mse", draws=0), "`draws`"),
        (lambda m: analysis.weight_noise(m, X, Y, loss="mse", sizes=0.1), "`sizes`"),
        (lambda m: analysis.ablation(m, X, Y, loss="mse", repeats=0), "`repeats`"),
        (
            lambda m: analysis.hessian_eigenvalue(m, X, Y, loss="mse", iterations=0),
            "`iterations`",
        ),
        (lambda m: analysis.pre_activation_variance(m, X, threshold=-1), "`threshold`"),
        (lambda m: analysis.pre_activation_variance(m, X[:0]), "at least one"),
        (lambda m: analysis.pre_activation_variance(m, X, draws=1), "`draws`"),
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


@pytest.mark.parametrize("x", [[1.0, 2.0], "text", 3.0, iter([X])])
def test_what_is_no_array_is_refused(x):
    model = OwnModel()
    model(X)
    with pytest.raises(TypeError, match="Argument `x` must be an array"):
        analysis.saturation(model, x)
    with pytest.raises(TypeError, match="Argument `model` must be a Keras model"):
        analysis.saturation(x, X)


class Sampling(layers.Layer):
    """Random at inference too, as in a variational autoencoder; counts its calls."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.seed_generator = keras.random.SeedGenerator(5)
        self.calls = self.add_weight(shape=(), trainable=False, name="calls")

    def call(self, x):
        self.calls.assign_add(1.0)
        return x + keras.random.normal(ops.shape(x), seed=self.seed_generator)


def sampling(several_losses):
    inputs = keras.Input((4,))
    x = layers.Dense(4, activation="tanh", name="hidden")(inputs)
    x = Sampling()(x)
    outputs = {"a": layers.Dense(2, name="a")(x), "b": layers.Dense(1, name="b")(x)}
    model = keras.Model(inputs, outputs if several_losses else outputs["a"])
    model.compile("sgd", {"a": "mse", "b": "mae"} if several_losses else "mse")
    return model


@pytest.mark.parametrize("several_losses", [True, False])
def test_nothing_at_all_is_changed(several_losses):
    model = sampling(several_losses)
    y = {"a": Y, "b": Y[:, :1]} if several_losses else Y
    model.evaluate(X, y, verbose=0)

    def state():
        variables = [*model.variables, *model.metrics_variables]
        return [np.array(ops.convert_to_numpy(v)) for v in variables]

    before = state()
    analysis.gradient_flow(model, X, y)
    analysis.weight_noise(model, X, y)
    analysis.input_noise(model, X, y)
    analysis.ablation(model, X, y)
    analysis.hessian_eigenvalue(model, X, y)
    analysis.pre_activation_variance(model, X)
    for value, expected in zip(state(), before, strict=True):
        np.testing.assert_array_equal(value, expected)


@pytest.mark.parametrize("several_losses", [True, False])
def test_training_is_the_same_with_the_callback(several_losses):
    y = {"a": Y, "b": Y[:, :1]} if several_losses else Y
    histories = []
    for callbacks in ([], [analysis.GradientFlow(X, y, every=1)]):
        keras.utils.set_random_seed(1)
        model = sampling(several_losses)
        fit = model.fit(X, y, epochs=3, batch_size=6, verbose=0, callbacks=callbacks)
        histories.append(fit.history)
    assert histories[0] == histories[1]


def test_pre_activations_of_wide_layers_are_of_all_nodes():
    model = keras.Sequential(
        [keras.Input((2,)), layers.Dense(800, activation="tanh", name="wide")]
    )
    bias = np.arange(800) % 4
    model.layers[0].set_weights([np.zeros((2, 800)), bias])
    found = analysis.saturation(model, np.zeros((1000, 2), "float32"))["wide"]
    assert found.pre_activations.mean == pytest.approx(1.5, abs=1e-6)
    assert found.pre_activations.standard_deviation == pytest.approx(
        bias.std(), abs=1e-6
    )
    edges, density = (
        np.array(found.pre_activations.edges),
        found.pre_activations.density,
    )
    for value in range(4):
        near = np.abs((edges[:-1] + edges[1:]) / 2 - value) < 0.2
        share = np.sum(np.array(density)[near]) * (edges[1] - edges[0])
        assert share == pytest.approx(0.25, abs=0.01)


def test_a_models_own_activation_is_found():
    class Own(keras.Model):
        def __init__(self):
            super().__init__(name="own")
            self.dense = layers.Dense(3)
            self.activation = keras.activations.tanh

        def call(self, x):
            return self.activation(self.dense(x))

    model = Own()
    model(X)
    assert list(analysis.saturation(model, X)) == ["own"]


@dataclasses.dataclass  # which is not hashable
class ScaledTanh:
    factor: float = 1.0

    def __call__(self, x):
        return ops.tanh(x) * self.factor


def test_activations_need_not_be_hashable():
    plain, own = (
        keras.Sequential([keras.Input((4,)), layers.Dense(2, activation, name="d")])
        for activation in ("tanh", ScaledTanh(2.0))
    )
    own.set_weights(plain.get_weights())
    share = analysis.saturation(plain, X, threshold=0.5)["d"].share
    assert analysis.saturation(own, X, threshold=1.0)["d"].share == share
    assert list(analysis.gradient_flow(own, X, Y, loss="mse")) == ["d"]
    np.testing.assert_allclose(analysis.curve(ScaledTanh(2.0), [0.0]).derivative, [2])
    gaaf = GAAF(ScaledTanh(2.0), "gaussian")
    np.testing.assert_allclose(analysis.curve(gaaf, [0.0]).derivative, [2])


def test_an_own_loss_is_used():
    class Own(keras.Model):
        def compute_loss(self, x, y, y_pred, sample_weight=None, training=True):
            return ops.mean(ops.abs(y_pred - y))

    inputs = keras.Input((4,))
    model = Own(inputs, layers.Dense(2, activation="tanh", name="d")(inputs))
    own = analysis.gradient_flow(model, X, Y)["d"]
    assert own == analysis.gradient_flow(model, X, Y, loss="mae")["d"]


def test_channels_first():
    inputs = keras.Input((3, 8))
    x = layers.Permute((2, 1))(inputs)
    x = layers.Reshape((2, 4, 3))(x)
    outputs = layers.BatchNormalization(axis=1)(x)
    model = keras.Model(inputs, layers.Activation("tanh", name="t")(outputs))
    assert analysis.saturation(model, np.ones((2, 3, 8), "float32"))["t"].nodes == 3
    convolution = layers.Conv1D(5, 1, data_format="channels_first", name="c")
    if keras.backend.backend() == "tensorflow":
        return  # its CPU kernels cannot
    model = keras.Sequential(
        [keras.Input((3, 8)), convolution, layers.Activation("tanh", name="t")]
    )
    assert analysis.saturation(model, np.ones((2, 3, 8), "float32"))["t"].nodes == 5


def test_which_losses_classify():
    x = np.array([[2.0], [-3.0], [0.2]], "float32")
    labels = np.array([1, 0, 0])
    binary = keras.Sequential([keras.Input((1,)), layers.Activation("sigmoid")])
    found = analysis.input_noise(
        binary, x, labels[:, None], loss="binary_crossentropy", sizes=[]
    )
    assert found.accuracies == [pytest.approx(2 / 3)]
    plain = keras.Sequential([keras.Input((3,)), layers.Activation("tanh")])
    x = np.eye(3, dtype="float32")
    found = analysis.input_noise(plain, x, x, loss="mse", sizes=[])
    assert found.accuracies == []
    found = analysis.input_noise(
        plain, x, x[::-1], loss="categorical_crossentropy", sizes=[]
    )
    assert found.accuracies == [pytest.approx(1 / 3)]


def test_noise_is_not_added_to_whole_numbers():
    inputs = keras.Input((4,), dtype="int32")
    x = layers.Flatten()(layers.Embedding(9, 2)(inputs))
    model = keras.Model(inputs, layers.Dense(1, activation="tanh")(x))
    tokens = np.ones((3, 4), "int32")
    with pytest.raises(ValueError, match=r"floating-point inputs.*int32"):
        analysis.input_noise(model, tokens, np.zeros((3, 1)), loss="mse")


def test_distribution_of_values_that_hardly_differ():
    values = np.array([1.0, 1 - 2.2e-16] * 500)
    assert analysis.Distribution.of(values).mean == pytest.approx(1)
    assert np.isnan(analysis.Distribution.of(np.array([])).mean)


def test_biases_of_attention_are_no_kernels():
    inputs = keras.Input((3, 4))
    outputs = layers.MultiHeadAttention(2, 2)(inputs, inputs)
    assert len(analysis.weights(keras.Model(inputs, outputs))) == 4
