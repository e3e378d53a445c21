"""`.keras` files of models with plain activations, loaded without this package."""

import random

import keras
import numpy as np
import pytest

import gaaf_keras
from gaaf_keras import GAAF, GAAFReLU, GAAFTanh, gaaf, gaaf_relu, gaaf_tanh
from tests.tensorflow.exports import LAYERS, network, served


def rows(*shape):
    return np.random.default_rng(0).normal(size=shape).astype("float32")


@pytest.mark.parametrize("way", [GAAF, gaaf])
def test_it_is_the_plain_model(way, tmp_path):
    described = []
    for activation in (way, lambda name: name):
        keras.utils.clear_session()
        model = network(activation)
        model.compile("sgd", "mse")
        described.append(model)
    gaaf_keras.export(described[0], tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert loaded.to_json() == described[1].to_json()
    assert loaded.compiled


def test_everywhere(tmp_path):
    inner = keras.Sequential([LAYERS.Dense(4), GAAFReLU(name="inside")], name="inner")
    inputs = keras.Input((5, 4))
    x = LAYERS.LSTM(
        4,
        activation=GAAF("tanh"),
        recurrent_activation=gaaf("sigmoid"),
        return_sequences=True,
    )(inputs)
    x = LAYERS.TimeDistributed(GAAF("elu", name="each"))(x)
    x = LAYERS.Bidirectional(LAYERS.GRU(3, activation=GAAFTanh()))(x)
    x = GAAFTanh(name="layer", activity_regularizer="l2", trainable=False)(x)
    x = gaaf("softsign")(x)
    x = gaaf_relu(x)
    x = inner(LAYERS.Activation(gaaf_tanh)(x))
    x = GAAF(LAYERS.ReLU(max_value=6), name="limited")(x, training=False)
    x = LAYERS.Dense(3, activation=GAAF(LAYERS.PReLU()))(x)
    x = GAAF(LAYERS.PReLU(), name="learned")(x)
    model = keras.Model(inputs, LAYERS.Dense(2, activation=gaaf_tanh)(x))
    model(rows(1, 5, 4))  # only now PReLU has its weights in the one dense layer
    for weight in model.weights:
        weight.assign(weight + 0.1 * rows(*weight.shape))
    path = gaaf_keras.export(model, tmp_path / "model.keras")
    x = rows(7, 5, 4)
    np.testing.assert_allclose(
        served("keras", path, x), model.predict(x, verbose=0), atol=1e-5
    )
    loaded = keras.saving.load_model(path)
    layer = loaded.get_layer("layer")
    assert type(layer) is LAYERS.Activation
    assert layer.activation is keras.activations.tanh
    assert layer.activity_regularizer.l2 == np.float32(0.01)
    assert not layer.trainable
    assert loaded.get_layer("limited").max_value == 6
    assert type(loaded.get_layer("learned")) is LAYERS.PReLU
    assert loaded.get_layer("inner").get_layer("inside").activation.__name__ == "relu"
    assert [v.path.split("/")[-1] for v in loaded.weights] == [
        v.path.split("/")[-1] for v in model.weights
    ]


def own_loss(y, predicted):
    return keras.ops.mean(keras.ops.square(y - predicted), axis=-1)


@pytest.mark.parametrize(
    "settings",
    [
        {"optimizer": "adam", "loss": "mse", "metrics": ["mae"]},
        {"optimizer": keras.optimizers.SGD(0.1, momentum=0.5), "loss": own_loss},
    ],
)
def test_the_optimizer_goes_on(settings, tmp_path):
    inputs = keras.Input((4,))
    x = LAYERS.Dense(8, activation=GAAF("tanh"))(inputs)
    model = keras.Model(inputs, LAYERS.Dense(1)(x))
    model.compile(**settings)
    model.fit(rows(9, 4), rows(9, 1), verbose=0)
    gaaf_keras.export(model, tmp_path / "model.keras")
    loaded = keras.saving.load_model(
        tmp_path / "model.keras", custom_objects={"own_loss": own_loss}
    )
    assert len(model.optimizer.variables) > 3
    for ours, theirs in zip(
        model.optimizer.variables, loaded.optimizer.variables, strict=True
    ):
        np.testing.assert_array_equal(ours, theirs)
    assert loaded.evaluate(rows(9, 4), rows(9, 1), verbose=0) is not None


def test_a_compilation_that_keras_cannot_read(tmp_path):
    model = keras.Sequential([keras.Input((4,)), LAYERS.Dense(1), GAAFTanh()])
    model.compile("sgd", loss=lambda y, predicted: (y - predicted) ** 2)
    with pytest.warns(UserWarning, match="saved without its compilation"):
        gaaf_keras.export(model, tmp_path / "model.keras")
    assert not keras.saving.load_model(tmp_path / "model.keras").compiled


def test_what_was_learned_beside_the_weights(tmp_path):
    words = LAYERS.TextVectorization(output_mode="multi_hot")
    words.adapt(["a good film", "a bad film"])
    scaled = LAYERS.Normalization()
    scaled.adapt(rows(50, 5))
    inputs = keras.Input((), dtype="string")
    x = scaled(words(inputs))
    model = keras.Model(inputs, LAYERS.Dense(2, activation=GAAF("tanh"))(x))
    gaaf_keras.export(model, tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    text = keras.ops.convert_to_tensor(["good film", "bad", "else"])
    np.testing.assert_allclose(loaded(text), model(text), atol=1e-6)


class Own(LAYERS.Layer):
    def __init__(self, function=None, **arguments):
        super().__init__(**arguments)
        self.function = keras.activations.get(function)

    def call(self, x):
        return self.function(x)

    def get_config(self):
        function = keras.saving.serialize_keras_object(self.function)
        return {**super().get_config(), "function": function}


class Hiding(LAYERS.Layer):
    def __init__(self, **arguments):
        super().__init__(**arguments)
        self.inside = GAAF("tanh")

    def call(self, x):
        return self.inside(x)


class Silent(LAYERS.Layer):
    """Has an argument that its configuration lacks."""

    def __init__(self, size, **arguments):
        super().__init__(**arguments)

    def call(self, x):
        return x

    def get_config(self):
        return super().get_config()


class OwnModel(keras.Model):
    def __init__(self, function, **arguments):
        super().__init__(**arguments)
        self.dense = LAYERS.Dense(3, activation=function)

    def call(self, x):
        return self.dense(x)

    def get_config(self):
        function = keras.saving.serialize_keras_object(self.dense.activation)
        return {**super().get_config(), "function": function}

    @classmethod
    def from_config(cls, config):
        function = keras.saving.deserialize_keras_object(config.pop("function"))
        return cls(function, **config)


@pytest.mark.parametrize("function", [GAAF("tanh"), gaaf("tanh"), gaaf_tanh])
def test_classes_of_ones_own(function, tmp_path):
    layers = [keras.Input((4,)), LAYERS.Dense(3), Own(function)]
    own = OwnModel(function)
    own(rows(2, 4))
    for model in (keras.Sequential(layers), own):
        gaaf_keras.export(model, tmp_path / "model.keras", overwrite=True)
        objects = {"Own": Own, "OwnModel": OwnModel}
        loaded = keras.saving.load_model(tmp_path / "model.keras", objects)
        np.testing.assert_allclose(loaded(rows(3, 4)), model(rows(3, 4)), atol=1e-6)
        assert "gaaf_keras" not in str(keras.saving.serialize_keras_object(loaded))


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ([Hiding], r"'hiding\w*' \(Hiding\) has an accelerated .*`get_config`"),
        ([Hiding, GAAFTanh], r"'hiding\w*' \(Hiding\) has an accelerated"),
        ([lambda: Silent(3), GAAFTanh], r"cannot be rebuilt .*`get_config`.*Silent"),
    ],
)
def test_what_cannot_be_plain(layers, message, tmp_path):
    model = keras.Sequential([keras.Input((4,)), *(make() for make in layers)])
    with pytest.raises(ValueError, match=f"(?s){message}"):
        gaaf_keras.export(model, tmp_path / "model.keras")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("name", "layer"),
    [
        ("hidden/gaaf", lambda f: LAYERS.Dense(3, GAAF(f, "gaussian"), name="hidden")),
        ("hidden", lambda f: LAYERS.Dense(3, gaaf(f, "gaussian"), name="hidden")),
        ("hidden", lambda f: LAYERS.Dense(3, f, name="hidden")),
        ("accelerated", lambda f: GAAF(f, "gaussian", name="accelerated")),
        ("own/gaaf", lambda f: Own(GAAF(f, "gaussian"), name="own")),
    ],
)
def test_lambdas_are_refused(name, layer, tmp_path):
    layers = [layer(lambda x: 2 * keras.ops.tanh(x)), LAYERS.Dense(3, GAAFTanh())]
    model = keras.Sequential([keras.Input((4,)), *layers])
    with pytest.raises(ValueError, match=rf"^Layer '{name}\w*' has a lambda"):
        gaaf_keras.export(model, tmp_path / "model.keras")
    assert not list(tmp_path.iterdir())


def test_a_lambda_that_a_layer_of_ones_own_keeps(tmp_path):
    layers = [Own(lambda x: 2 * x), LAYERS.Dense(3, GAAFTanh())]
    model = keras.Sequential([keras.Input((4,)), *layers])
    path = gaaf_keras.export(model, tmp_path / "model.keras")
    loaded = keras.saving.load_model(path, {"Own": Own}, safe_mode=False)
    np.testing.assert_allclose(loaded(rows(3, 4)), model(rows(3, 4)), atol=1e-6)


def test_a_model_without_accelerated_activations_is_saved_as_it_is(tmp_path):
    model = keras.Sequential([keras.Input((4,)), Silent(3), LAYERS.Dense(2)])
    gaaf_keras.export(model, tmp_path / "model.keras")
    assert (tmp_path / "model.keras").exists()


def test_random_numbers_stay_as_they_were(tmp_path):
    model = keras.Sequential(
        [keras.Input((4,)), LAYERS.Dense(3), LAYERS.Dropout(0.5), GAAF("tanh")]
    )
    states = []
    for export in (False, True):
        random.seed(1)
        if export:
            gaaf_keras.export(model, tmp_path / "model.keras")
        states.append(random.random())
    assert states[0] == states[1]
