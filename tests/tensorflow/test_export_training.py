"""Training SavedModels further, in TensorFlow alone."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import gaaf_keras
from gaaf_keras import GAAF, GAAFReLU, gaaf
from tests.processes import python
from tests.tensorflow.exports import (
    LAYERS,
    exported,
    images,
    metadata,
    network,
    served,
)

# Trains a SavedModel where neither Keras nor this package can be imported.
FINE_TUNE = """
import sys
import numpy as np
sys.modules["gaaf_keras"] = sys.modules["keras"] = None
import tensorflow as tf
folder = sys.argv[1]
model = tf.saved_model.load(folder + "/model")
data = np.load(folder + "/data.npz")
for _ in range(10):
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(tf.square(model.train(data["x"]) - data["y"]))
    variables = list(model.trainable_variables)
    for variable, gradient in zip(variables, tape.gradient(loss, variables)):
        variable.assign_sub(0.1 * gradient)
values = {v.name.removesuffix(":0"): v.numpy() for v in model.variables}
np.savez(folder + "/trained.npz", **values)
"""


def convolutional():
    return network(lambda name: GAAF(name, unit_gain=name == "tanh")), (8, 8, 3), 3


def recurrent():
    inputs = keras.Input((6, 4))
    x = LAYERS.LSTM(5, activation=GAAF("tanh"), recurrent_activation=GAAF("sigmoid"))(
        inputs
    )
    x = LAYERS.BatchNormalization()(LAYERS.Dense(4, activation=GAAFReLU())(x))
    return keras.Model(inputs, LAYERS.Dense(2)(x)), (6, 4), 2


@pytest.mark.parametrize(
    "make", [pytest.param(convolutional, marks=pytest.mark.slow), recurrent]
)
def test_fine_tuned_in_tensorflow_alone(make, tmp_path):
    model, input_shape, outputs = make()
    for layer in model.layers:
        if isinstance(layer, LAYERS.Dropout):
            layer.rate = 0.0  # its noise is not the same in a loaded function
    random = np.random.default_rng(0)
    x = random.normal(size=(12, *input_shape)).astype("float32")
    y = random.normal(size=(12, outputs)).astype("float32")
    np.savez(tmp_path / "data.npz", x=x, y=y)
    gaaf_keras.export(model, tmp_path / "model", trainable=True)
    gaaf_keras.export(model, tmp_path / "plain.keras")
    plain = keras.saving.load_model(tmp_path / "plain.keras")
    python("-c", FINE_TUNE, tmp_path)
    for trained in (model, plain):
        trained.compile(keras.optimizers.SGD(0.1), loss="mse", jit_compile=False)
        before = trained.get_weights()
        for _ in range(10):
            with tf.GradientTape() as tape:
                predicted = trained(x, training=True)
                loss = tf.reduce_mean(tf.square(predicted - y))
            trained.optimizer.apply(
                tape.gradient(loss, [v.value for v in trained.trainable_variables]),
                trained.trainable_variables,
            )
    with np.load(tmp_path / "trained.npz") as file:
        elsewhere = sorted(
            [file[name] for name in file], key=lambda a: (a.shape, a.sum())
        )
    here = sorted(
        [v.numpy() for v in model.variables if v.dtype == "float32"],
        key=lambda a: (a.shape, a.sum()),
    )
    elsewhere = [a for a in elsewhere if a.dtype == np.float32]
    assert len(here) == len(elsewhere)
    for ours, theirs in zip(here, elsewhere, strict=True):
        # Ten such steps end 1e-5 away from the same in float64, as one rounding of the
        # weights, 1e-7, grows up to forty times. (A strength 1% off shows as 0.4.)
        np.testing.assert_allclose(theirs, ours, atol=1e-4)
    # The accelerated gradient made a difference.
    assert np.abs(model.get_weights()[0] - plain.get_weights()[0]).max() > 1e-3
    assert np.abs(model.get_weights()[0] - before[0]).max() > 1e-3
    outputs = served("tf_saved_model", tmp_path / "model", x)
    assert outputs.shape == (12, y.shape[1])


def test_a_changing_strength_is_exported_as_it_is(tmp_path):
    model = network(GAAF)
    model.compile("sgd", "mse")
    schedule = gaaf_keras.AccelerationSchedule(lambda epoch: 0.25)
    x = images()
    model.fit(x, np.zeros((5, 3), "float32"), callbacks=[schedule], verbose=0)
    loaded = exported(model, tmp_path / "model", trainable=True)
    said = metadata("tf_saved_model", tmp_path / "model")
    assert {entry["strength"] for entry in said["accelerated"]} == {0.25}
    assert len(loaded.variables) == len(model.weights) + 1  # dropout's random state


class Compiled(LAYERS.Layer):
    """Has a `call` that is a separate graph."""

    def __init__(self, **arguments):
        super().__init__(**arguments)
        self.dense = LAYERS.Dense(1, kernel_initializer="ones")
        self.activation = gaaf("tanh")

    def build(self, input_shape):
        self.dense.build(input_shape)

    @tf.function
    def call(self, x):
        return self.activation(self.dense(x))


@pytest.mark.parametrize(
    "layer",
    [
        Compiled,
        lambda: LAYERS.Dense(1, activation=GAAF("hard_tanh", unit_gain=True)),
        lambda: LAYERS.Dense(1, activation=gaaf("tanh", frequency=1e4)),
        lambda: LAYERS.Dense(1, activation=GAAF(LAYERS.LeakyReLU(0.1))),
    ],
)
def test_train_has_the_layers_own_gradients(layer, tmp_path):
    inputs = keras.Input((2,))
    model = keras.Model(inputs, layer()(inputs))
    loaded = exported(model, tmp_path / "model", trainable=True)
    x = tf.random.normal((9, 2), stddev=2.0)

    def gradients(call, variables):
        with tf.GradientTape() as tape:
            total = tf.reduce_sum(call(x))
        return tape.gradient(total, variables)

    ours = gradients(
        lambda x: model(x, training=True), [v.value for v in model.trainable_variables]
    )
    theirs = gradients(loaded.train, list(loaded.trainable_variables))
    plain = gradients(loaded.serve, list(loaded.trainable_variables))
    for gradient, expected, other in zip(theirs, ours, plain, strict=True):
        np.testing.assert_allclose(gradient, expected, rtol=1e-4, atol=1e-4)
        assert np.abs(gradient - other).max() > 1e-2


class Branching(Compiled):
    """Branches on the values of its input."""

    @tf.function
    def call(self, x):
        x = self.dense(x)
        if tf.reduce_sum(x) > 100:
            x = 2 * x
        return self.activation(x)


def test_a_graph_that_depends_on_values_is_refused(tmp_path):
    model = keras.Sequential([keras.Input((3,)), Branching(), LAYERS.Dense(2)])
    assert model.predict(np.ones((2, 3)), verbose=0).shape == (2, 2)
    with pytest.raises(ValueError, match=r"`if` or a loop .*`keras.ops.cond`"):
        gaaf_keras.export(model, tmp_path / "new")
    assert not list(tmp_path.iterdir())
