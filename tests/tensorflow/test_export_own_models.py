"""Exports of user model classes, whose inputs Keras does not know."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import gaaf_keras
from gaaf_keras import GAAF, gaaf
from tests.tensorflow.exports import LAYERS, SUFFIXES, exported, served

RANDOM = np.random.default_rng(0)
ROWS = RANDOM.normal(size=(6, 4)).astype("float32")
TOKENS = RANDOM.integers(0, 9, (6, 5))


class Network(keras.Model):
    def __init__(self, **arguments):
        super().__init__(**arguments)
        self.hidden = LAYERS.Dense(5, activation=GAAF("tanh"))
        self.norm = LAYERS.BatchNormalization()
        self.last = LAYERS.Dense(2, activation=gaaf("relu"))

    def call(self, inputs, training=None):
        return self.last(self.norm(self.hidden(inputs), training=training))


class Tokens(Network):
    def __init__(self, mask=False):
        super().__init__()
        self.embedding = LAYERS.Embedding(9, 4, mask_zero=mask)

    def call(self, tokens):
        return super().call(keras.ops.mean(self.embedding(tokens), axis=1))


class Pair(Network):
    def call(self, inputs, training=None):
        first, second = inputs
        return super().call(first - second, training=training)


class Named(Tokens):
    """Takes both kinds of inputs, not in the order of their names."""

    def call(self, inputs):
        return Network.call(self, inputs["rows"]) + super().call(inputs["ids"])


class Arguments(Network):
    def call(self, rows, others, training=None):
        return super().call(rows - others, training=training)


class Built(Arguments):
    def build(self, rows_shape, others_shape):
        self.hidden.build(rows_shape)
        self.norm.build((None, 5))
        self.last.build((None, 5))


def used(make, *arguments):
    """A model that has been called."""
    model = make()
    model(*arguments)
    for weight in model.weights:
        weight.assign(weight + 0.1)
    return model


@pytest.mark.parametrize("kind", ["tf_saved_model", "litert", "onnx"])
@pytest.mark.parametrize(
    ("make", "x"),
    [(Network, ROWS), (Tokens, TOKENS.astype("int32"))],
    ids=["rows", "tokens"],
)
def test_in_all_formats(make, x, kind, tmp_path):
    model = make()
    model.compile("sgd", "mse")
    model.fit(x, np.zeros((6, 2)), verbose=0)
    path = gaaf_keras.export(model, tmp_path / f"model{SUFFIXES[kind]}")
    np.testing.assert_allclose(
        served(kind, path, x), model.predict(x, verbose=0), atol=1e-5
    )


@pytest.mark.parametrize(
    ("make", "arguments", "dtypes"),
    [
        (Network, [ROWS], {"inputs": "float32"}),
        (Tokens, [TOKENS], {"tokens": "int32"}),
        (lambda: Tokens(mask=True), [TOKENS], {"tokens": "int32"}),
        (Pair, [[ROWS, ROWS + 1]], {"inputs_0": "float32", "inputs_1": "float32"}),
        (Named, [{"rows": ROWS, "ids": TOKENS}], {"ids": "int32", "rows": "float32"}),
        (Built, [ROWS, ROWS + 1], {"rows": "float32", "others": "float32"}),
    ],
)
def test_inputs(make, arguments, dtypes, tmp_path):
    model = used(make, *arguments)
    loaded = exported(model, tmp_path / "model", trainable=True)
    fewer = keras.tree.map_structure(lambda array: array[:3], arguments)
    np.testing.assert_allclose(
        loaded.serve(*fewer), model(*fewer, training=False), atol=1e-6
    )
    assert loaded.train(*fewer).shape == (3, 2)
    _, inputs = loaded.signatures["serving_default"].structured_input_signature
    assert {name: spec.dtype.name for name, spec in inputs.items()} == dtypes


def test_the_precision_of_inputs_is_that_of_the_weights(tmp_path):
    model = used(lambda: Network(dtype="mixed_float16"), ROWS)
    loaded = exported(model, tmp_path / "model")
    np.testing.assert_allclose(loaded.serve(ROWS), model(ROWS), atol=1e-2)


class Text(Network):
    def __init__(self):
        super().__init__()
        self.words = LAYERS.TextVectorization(output_mode="multi_hot")
        self.words.adapt(["a good film", "a bad film"])

    def call(self, text):
        return super().call(self.words(text))


class Table(Network):
    """Takes only integers."""

    def call(self, index):
        return super().call(keras.ops.take(keras.ops.eye(9), index, axis=0))


@pytest.mark.parametrize(
    ("make", "x"),
    [(Text, tf.constant(["good film", "bad"])), (Table, np.int32([2, 8]))],
    ids=["text", "indices"],
)
def test_text_and_indices(make, x, tmp_path):
    model = used(make, x)
    loaded = exported(model, tmp_path / "model")
    np.testing.assert_allclose(loaded.serve(x), model(x), atol=1e-6)


def test_what_keras_does_not_know_can_be_given(tmp_path):
    model = used(Arguments, ROWS, ROWS)
    with pytest.raises(ValueError, match=r"`input_signature` is required .*others"):
        gaaf_keras.export(model, tmp_path / "model")
    row = keras.InputSpec(shape=(None, 4), dtype="float64")
    for name, signature in {
        "specs": [row, row],
        "model.tflite": [row, row],
        "model.onnx": [row, row],
        "tensors": [keras.Input((4,), name="one"), tf.TensorSpec((None, 4))],
    }.items():
        gaaf_keras.export(model, tmp_path / name, input_signature=signature)
    loaded = tf.saved_model.load(str(tmp_path / "specs"))
    expected = model(ROWS, ROWS + 1)
    double = ROWS.astype("float64")
    np.testing.assert_allclose(loaded.serve(double, double + 1), expected, atol=1e-6)
    loaded = tf.saved_model.load(str(tmp_path / "tensors"))
    np.testing.assert_allclose(loaded.serve(ROWS, ROWS + 1), expected, atol=1e-6)


def test_a_signature_of_a_functional_model(tmp_path):
    inputs = keras.Input((None, 4))
    model = keras.Model(inputs, LAYERS.Dense(2, activation=GAAF("tanh"))(inputs))
    spec = keras.InputSpec(shape=(1, 7, 4), dtype="float32")
    loaded = exported(model, tmp_path / "model", input_signature=spec)
    serve = loaded.signatures["serve"]
    (value,) = serve.structured_input_signature[1].values()
    assert value.shape == (1, 7, 4)


@pytest.mark.parametrize("signature", [[(None, 4)], [keras.InputSpec(ndim=2)], "x"])
def test_mistakes_in_signatures(signature, tmp_path):
    with pytest.raises(TypeError, match="`input_signature` must be a list"):
        gaaf_keras.export(
            used(Network, ROWS), tmp_path / "model", input_signature=signature
        )


def test_loaded_from_a_keras_file(tmp_path):
    model = used(Network, ROWS)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(
        tmp_path / "model.keras", custom_objects={"Network": Network}
    )
    again = exported(loaded, tmp_path / "model")
    np.testing.assert_allclose(again.serve(ROWS[:2]), model(ROWS[:2]), atol=1e-6)


@pytest.mark.parametrize("make", [Network, lambda: keras.Sequential([GAAF("tanh")])])
def test_never_called(make, tmp_path):
    with pytest.raises(ValueError, match="`model` must be built"):
        gaaf_keras.export(make(), tmp_path / "model")
