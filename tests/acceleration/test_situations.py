"""Models as users have them: functions, layers and models of many kinds and states."""

import functools
import gc
import weakref

import keras
import numpy as np
import pytest
import tensorflow as tf

import gaaf_keras
from gaaf_keras import GAAFReLU, Gaussian, accelerate, analysis, summary
from gaaf_keras.layers import accelerated_layers
from tests.acceleration.zoo import (
    LAYERS,
    assert_known_as,
    assert_only_training_changes,
    assert_same,
    attributes,
    outputs,
    sequential,
)
from tests.gradients import value_and_gradient
from tests.reference import shifted_sigmoid


def clipped(x):
    return tf.minimum(tf.nn.relu(x), 20.0)


def wave(x):
    return keras.ops.sin(x) * 3


approximate = functools.partial(keras.activations.gelu, approximate=True)

FUNCTIONS = {
    "tf.nn.gelu": (tf.nn.gelu, "gelu"),
    "tf.nn.leaky_relu": (tf.nn.leaky_relu, "leaky_relu"),
    "slope": (functools.partial(tf.nn.leaky_relu, alpha=0.05), "leaky_relu"),
    "partial": (approximate, "gelu"),
    "lambda": (lambda x: keras.activations.gelu(x, approximate=True), "gelu"),
    "own": (lambda x: x * tf.sigmoid(x), "silu"),
    "clipped": (clipped, "relu"),
    "ops": (keras.ops.hard_sigmoid, "hard_sigmoid"),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_that_are_an_activation(name):
    function, known = FUNCTIONS[name]
    assert_known_as(known, function)


def derivative_in_training(model, x):
    return value_and_gradient(lambda x: model(x, training=True), x)[1]


def ends_in(function):
    """A model made of a function and a layer after it for `accelerate`."""
    model = sequential(
        LAYERS.Activation(function, name="act"), LAYERS.Rescaling(1.0), shape=(8,)
    )
    x = np.linspace(-4, 4, 8, dtype="float32")[None]  # without the kink
    return model, x


def test_functions_beside_each_other():
    """The same function in another form has the same gradient."""
    for arguments in ({}, {"shape_function": {"relu": "b_silu"}}, {"unit_gain": False}):
        gradients = []
        for function in ("relu", tf.nn.relu, lambda x: tf.maximum(x, 0.0)):
            model, x = ends_in(function)
            with accelerate(model, **arguments):
                gradients.append(derivative_in_training(model, x))
        for gradient in gradients[1:]:
            np.testing.assert_allclose(gradient, gradients[0], rtol=1e-6)
    expected = (x > 0) + shifted_sigmoid(x.astype("float64"))
    np.testing.assert_allclose(gradients[0], expected, rtol=1e-5)


def test_functions_that_are_no_known_activation():
    model, x = ends_in(wave)
    with pytest.raises(ValueError, match=r"1 wave \(no default shape: give a"):
        accelerate(model)
    slope = 3 * np.cos(x.astype("float64"))
    added = np.exp(-(x.astype("float64") ** 2) / 4)
    with accelerate(model, {"wave": Gaussian(2.0)}, unit_gain=False):
        gradient = derivative_in_training(model, x)
    np.testing.assert_allclose(gradient, slope + added, rtol=1e-5, atol=1e-6)
    grid = np.linspace(-10, 10, 2_000_001)
    largest = np.abs(3 * np.cos(grid) + np.exp(-(grid**2) / 4)).max()
    with accelerate(model, Gaussian(2.0)):
        gradient = derivative_in_training(model, x)
    np.testing.assert_allclose(
        gradient, 3 / largest * (slope + added), rtol=1e-4, atol=1e-5
    )


def test_functions_that_are_not_elementwise():
    model, _ = ends_in(lambda x: x / tf.reduce_sum(x))
    with pytest.raises(ValueError, match="not elementwise"):
        accelerate(model, Gaussian(2.0))


class Box(keras.constraints.Constraint):
    def __call__(self, w):
        return keras.ops.clip(w, -0.5, 0.5)


class Decay(keras.regularizers.Regularizer):
    def __call__(self, x):
        return 0.1 * keras.ops.sum(keras.ops.abs(x))


class Eye(keras.initializers.Initializer):
    def __call__(self, shape, dtype=None, **kwargs):
        return keras.ops.eye(*shape, dtype=dtype)


class Fixed(LAYERS.Layer):
    """Takes only its own arguments, and has no configuration."""

    def __init__(self, length, width):
        super().__init__()
        self.length, self.width = length, width
        self.dense = LAYERS.Dense(width, "relu")

    def call(self, x):
        return self.dense(x)[:, : self.length]


class Named(LAYERS.Layer):
    """Keeps the name of its activation and compares it."""

    activation = None

    def __init__(self):
        super().__init__(name="named")
        self.activation = "relu"

    def call(self, x):
        return keras.ops.relu(x) if self.activation == "relu" else x


UNREGISTERED = {
    "constraint": lambda: LAYERS.Dense(4, "relu", kernel_constraint=Box()),
    "regularizer": lambda: LAYERS.Dense(4, "relu", kernel_regularizer=Decay()),
    "initializer": lambda: LAYERS.Dense(4, "relu", kernel_initializer=Eye()),
    "activity": lambda: LAYERS.Dense(4, "relu", activity_regularizer=Decay()),
    "no kwargs": lambda: Fixed(3, 4),
    "lambda": lambda: LAYERS.Lambda(lambda x: x + 1),
    "a name": Named,
}


@pytest.mark.parametrize("name", UNREGISTERED)
def test_what_keras_cannot_make_again(name):
    model = sequential(
        LAYERS.Dense(4, "tanh", name="before"), UNREGISTERED[name](), LAYERS.Dense(2)
    )
    model.compile("sgd", "mse")
    x = np.random.default_rng(0).normal(size=(8, 4)).astype("float32")
    model.fit(x, x[:, :2], verbose=0)
    value, before = outputs(model), attributes(model)
    for layers in (None, "before"):
        with accelerate(model, layers=layers) as acceleration:
            assert acceleration.accelerated[0].layer == "before"
            assert_same(outputs(model, training=True), value)
        assert attributes(model) == before
    with accelerate(model):
        model.fit(x, x[:, :2], verbose=0)


def test_attributes_stay():
    model = sequential(LAYERS.Dense(4, "relu"), LAYERS.Dense(2))
    model.layers[0].lr_multiplier = 0.1
    with accelerate(model):
        assert model.layers[0].lr_multiplier == 0.1


def test_assigned_by_the_user_meanwhile():
    model = sequential(LAYERS.Dense(4, "relu"), LAYERS.Dense(2))
    with accelerate(model):
        model.layers[0].activation = keras.activations.tanh
    assert [row.activation for row in summary(model).rows] == ["tanh"]


class Transformer(keras.Model):
    """Takes words and a mask; its head has weights."""

    def __init__(self):
        super().__init__(name="transformer")
        self.embedding = LAYERS.Embedding(9, 4)
        self.attention = LAYERS.MultiHeadAttention(2, 2)
        self.mlp = keras.Sequential([LAYERS.Dense(8, tf.nn.gelu), LAYERS.Dense(4)])
        self.dropout = LAYERS.Dropout(0.1, seed=0)

    def call(self, inputs, training=None):
        x = self.embedding(inputs["words"]) * inputs["mask"][..., None]
        x = x + self.attention(x, x)
        x = x + self.dropout(self.mlp(x), training=training)
        return keras.ops.matmul(x[:, 0], keras.ops.transpose(self.embedding.embeddings))


def words():
    random = np.random.default_rng(0)
    return {
        "words": random.integers(0, 9, (8, 5)).astype("int32"),
        "mask": np.ones((8, 5), "float32"),
    }


def test_a_transformer_of_ones_own(tmp_path):
    model = Transformer()
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.fit(words(), np.zeros(8), verbose=0)
    value = model(words(), training=False)
    with accelerate(model) as acceleration:
        (row,) = acceleration.accelerated
        assert row.activation == "gelu"
        assert "The outputs of 'transformer' are not known" in str(acceleration)
        model.fit(words(), np.zeros(8), verbose=0)
        assert np.any(model(words(), training=False) != value)
        model.save_weights(tmp_path / "model.weights.h5")
    twin = Transformer()
    twin(words())
    twin.load_weights(tmp_path / "model.weights.h5")
    np.testing.assert_array_equal(
        twin(words(), training=False), model(words(), training=False)
    )


class WithGAAF(keras.Model):
    def __init__(self, accelerated=True):
        super().__init__(name="with_gaaf")
        self.dense = LAYERS.Dense(6, GAAFReLU() if accelerated else "relu")
        self.head = LAYERS.Dense(2)

    def call(self, x):
        return self.head(self.dense(x))


@pytest.mark.parametrize("accelerated", [False, True])
def test_matching_dropout_in_a_model_of_ones_own(accelerated):
    model = WithGAAF(accelerated)
    x = np.random.default_rng(0).normal(size=(50, 4)).astype("float32")
    model(x)
    acceleration = None if accelerated else accelerate(model)
    (noise_std,) = gaaf_keras.match_dropout(model, x, rate=0.5).values()
    kernel = model.dense.get_weights()[0]
    noise = np.mean(np.square(x) @ np.square(kernel))
    assert noise_std == pytest.approx(np.sqrt(noise), rel=1e-5)
    assert accelerated_layers(model)[0].shape_function.noise_std == noise_std
    if acceleration is not None:
        acceleration.remove()
        with pytest.raises(ValueError, match=r"no accelerated activations to match"):
            gaaf_keras.match_dropout(model, x, rate=0.5)


def test_matching_dropout_needs_a_batch():
    model = WithGAAF()
    with pytest.raises(ValueError, match=r"cannot be called on argument `x`"):
        gaaf_keras.match_dropout(model, {"x": 3}, rate=0.5)
    with pytest.raises(TypeError, match="must be a Keras model"):
        gaaf_keras.match_dropout(None, np.zeros((2, 2)), rate=0.5)


REMAT = {
    "layer": lambda: LAYERS.Activation("relu"),
    "argument": lambda: LAYERS.Dense(5, activation="relu"),
    "gaaf": GAAFReLU,
    "gaaf as argument": lambda: LAYERS.Dense(5, activation=GAAFReLU()),
}


@pytest.mark.parametrize("mode", ["full", "activations", "larger_than"])
@pytest.mark.parametrize("kind", REMAT)
def test_rematerialisation(kind, mode):
    def weights(scope):
        keras.utils.set_random_seed(0)
        with keras.RematScope(mode=scope, output_size_threshold=1):
            layers = [LAYERS.Dense(5), REMAT[kind](), LAYERS.Dense(2)]
        model = sequential(*layers, shape=(6,))
        modes = [layer._remat_mode for layer in model.layers]
        # In graphs TensorFlow rematerialises no layer that Keras gives `training`.
        model.compile("sgd", "mse", run_eagerly=mode != "activations")
        x = np.random.default_rng(0).normal(size=(8, 6)).astype("float32")
        if not kind.startswith("gaaf"):
            accelerate(model)
        model.fit(x, x[:, :2], epochs=2, verbose=0)
        assert [layer._remat_mode for layer in model.layers] == modes
        return model.get_weights()

    for ours, theirs in zip(weights(mode), weights(None), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("mode", ["full", "activations"])
@pytest.mark.parametrize("kind", ["layer", "argument"])
def test_rematerialised_at_inference(kind, mode):
    """What is recomputed in the backward pass is plain then."""
    with keras.RematScope(mode=mode):
        layers = [LAYERS.Dense(5), REMAT[kind](), LAYERS.Dense(2)]
    model = sequential(*layers)
    x = np.random.default_rng(0).normal(size=(8, 4)).astype("float32")

    def gradients(training):
        function = lambda x: tf.reduce_sum(model(x, training=training) ** 2)  # noqa: E731
        return [value_and_gradient(function, x, np.float32(1))[1]]

    assert_only_training_changes(model, gradients)


def trained(model, **compilation):
    model.compile(keras.optimizers.Adam(0.01), "mse", **compilation)
    x = np.random.default_rng(0).normal(size=(16, 4)).astype("float32")
    before = model.get_weights()
    model.fit(x, x[:, :2], batch_size=8, epochs=2, verbose=0)
    assert any(np.any(a != b) for a, b in zip(model.get_weights(), before, strict=True))


def small():
    return sequential(LAYERS.Dense(8, "relu"), LAYERS.Dense(8, "tanh"), LAYERS.Dense(2))


class OwnStep(keras.Model):
    def train_step(self, data):
        x, y = data
        with tf.GradientTape() as tape:
            loss = self.compute_loss(x, y, self(x, training=True))
        variables = self.trainable_variables
        self.optimizer.apply(tape.gradient(loss, variables), variables)
        return {"loss": loss}


@pytest.mark.parametrize(
    "compilation",
    [{"jit_compile": True}, {"steps_per_execution": 2}, {"run_eagerly": True}],
)
def test_ways_to_compile(compilation):
    model = small()
    with accelerate(model):
        trained(model, **compilation)


def test_a_training_step_of_ones_own():
    inputs = keras.Input((4,))
    x = LAYERS.Dense(2)(LAYERS.Dense(8, "relu")(inputs))
    model = OwnStep(inputs, x)
    with accelerate(model):
        trained(model)


@pytest.mark.parametrize("mode", ["int8", "float8"])
def test_quantised_models(mode):
    model = small()
    model.quantize(mode)
    value = outputs(model)
    with accelerate(model) as acceleration:
        assert len(acceleration.accelerated) == 2
        assert_same(outputs(model), value)
        if mode == "float8":
            trained(model)


def test_lora():
    model = small()
    model.layers[0].enable_lora(2, lora_alpha=4)
    with accelerate(model):
        trained(model)
    assert model.layers[0].lora_alpha == 4


def test_under_a_strategy():
    strategy = tf.distribute.MirroredStrategy()
    with strategy.scope():
        model = sequential(
            *(LAYERS.Dense(8, "relu"), LAYERS.BatchNormalization()),
            *(LAYERS.Activation("tanh"), LAYERS.Dense(2)),
        )
        model.compile("sgd", "mse")
    x = np.random.default_rng(0).normal(size=(16, 4)).astype("float32")
    predicted = model.predict(x, verbose=0)
    with accelerate(model):
        np.testing.assert_array_equal(model.predict(x, verbose=0), predicted)
        model.fit(x, x[:, :2], verbose=0)
        inside = model.predict(x, verbose=0)
    np.testing.assert_array_equal(model.predict(x, verbose=0), inside)


def test_the_step_of_before_is_compiled_again():
    model = small()
    trained(model)
    model.optimizer.learning_rate = 0.0
    seen, first = [], model.layers[0]

    def call(*arguments, **keywords):
        seen.append(arguments)
        return type(first).call(first, *arguments, **keywords)

    first.call = call
    x = np.zeros((8, 4), "float32")
    model.fit(x, x[:, :2], verbose=0)
    seen.clear()
    model.fit(x, x[:, :2], verbose=0)
    assert not seen  # compiled, and not looked at again
    with accelerate(model):
        model.fit(x, x[:, :2], verbose=0)
        assert seen
    seen.clear()
    model.fit(x, x[:, :2], verbose=0)
    assert seen


def test_export_meanwhile(tmp_path):
    model = small()
    with accelerate(model):
        model.export(str(tmp_path / "keras"), verbose=False)
        gaaf_keras.export(model, tmp_path / "ours")
        gaaf_keras.export(model, tmp_path / "ours.keras")
    for name in ("keras", "ours"):
        graph = tf.saved_model.load(tmp_path / name).signatures["serving_default"].graph
        functions = graph.as_graph_def().library.function
        kinds = {node.op for function in functions for node in function.node_def}
        assert "Relu" in kinds
        assert "IdentityN" not in kinds
    loaded = keras.saving.load_model(tmp_path / "ours.keras")
    assert not summary(loaded).accelerated


def test_nothing_keeps_a_model_alive():
    model = sequential(
        LAYERS.Dense(4, lambda x: x * tf.sigmoid(1.5 * x), name="act"),
        LAYERS.Dense(4, "mish"),
        LAYERS.Dense(2),
    )
    with accelerate(model, Gaussian(2.0)) as acceleration:
        assert len(acceleration.accelerated) == 2
    model = weakref.ref(model)
    del acceleration
    gc.collect()
    assert model() is None


def test_analyses_see_the_gradient_that_trains():
    x = np.random.default_rng(0).normal(size=(16, 4)).astype("float32")
    y = np.arange(16) % 2
    networks = []
    for activation in ("tanh", gaaf_keras.GAAFTanh(unit_gain=True)):
        keras.utils.set_random_seed(0)
        model = sequential(LAYERS.Dense(8, activation, name="hidden"), LAYERS.Dense(2))
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile("sgd", loss)
        networks.append(model)
    model, _ = networks
    plain, expected = (analysis.gradient_flow(each, x, y) for each in networks)
    with accelerate(model):
        found = analysis.gradient_flow(model, x, y)
        assert analysis.saturation(model, x)["hidden"].accelerated_share >= 0
        callback = analysis.GradientFlow(x, y)
        model.fit(x, y, callbacks=[callback], verbose=0)
    assert found == expected != plain


@keras.saving.register_keras_serializable("tests")
class Watched(LAYERS.LSTM):
    """An LSTM that records the activation by which Keras would choose its kernel."""

    def inner_loop(self, *args, **kwargs):
        vars(self)["seen"].append(self.cell.activation)
        return super().inner_loop(*args, **kwargs)


@pytest.mark.parametrize("around", [lambda layer: layer, LAYERS.TimeDistributed])
def test_recurrent_layers_predict_by_the_plain_activation(around):
    lstm = Watched(3, name="lstm")
    vars(lstm)["seen"] = []  # past Keras's tracking
    shape = (5, 4) if around is not LAYERS.TimeDistributed else (2, 5, 4)
    model = sequential(around(lstm), LAYERS.Dense(2), shape=shape)
    x = np.ones((2, *shape), "float32")
    with accelerate(model, layers="lstm"):
        accelerated = lstm.activation
        vars(lstm)["seen"] = []
        model(x, training=True)
        assert all(each is accelerated for each in lstm.seen)
        lstm.seen.clear()
        model(x, training=False)
        model.predict(x, verbose=0)
        assert lstm.activation is accelerated
    assert lstm.activation is keras.activations.tanh
    assert lstm.seen
    assert all(each is keras.activations.tanh for each in lstm.seen)
