"""What is beside the weights: adapted layers, losses, optimizers."""

import keras
import numpy as np
import pytest

from gaaf_keras import AccelerationSchedule, GAAFTanh, accelerate, restore
from gaaf_keras.layers import accelerated_layers
from tests.convert.zoo import LAYERS, assert_same_outputs, sequential

SINCE_KERAS_3_14 = pytest.mark.skipif(
    tuple(map(int, keras.__version__.split(".")[:2])) < (3, 14),
    reason="Keras itself cannot call or load these layers before 3.14",
)


def head():
    return [LAYERS.Dense(3, activation="tanh"), LAYERS.Dense(2)]


def normalised(wrap):
    layer = LAYERS.Normalization()
    layer.adapt(np.random.default_rng(0).normal(3, 2, (50, 4)).astype("float32"))
    return sequential(wrap(layer), *head(), shape=(5, 4)), np.ones((2, 5, 4), "float32")


def discretised():
    layer = LAYERS.Discretization(num_bins=4, output_mode="one_hot")
    layer.adapt(np.random.default_rng(0).normal(size=(50, 1)).astype("float32"))
    x = np.linspace(-2, 2, 9, dtype="float32")[:, None]
    return sequential(layer, *head(), shape=(1,)), x


def looked_up(**arguments):
    layer = LAYERS.StringLookup(**arguments)
    layer.adapt(["b", "b", "a", "c"])
    inputs = keras.Input((1,), dtype="string")
    x = LAYERS.Flatten()(LAYERS.Embedding(6, 3)(layer(inputs)))
    for part in head():
        x = part(x)
    x_values = keras.ops.convert_to_tensor([["a"], ["b"], ["c"], ["d"]])
    return keras.Model(inputs, x), x_values


def vectorised():
    layer = LAYERS.TextVectorization(output_mode="tf_idf")
    layer.adapt(["a b", "b c", "c c d"])
    inputs = keras.Input((), dtype="string")
    x = layer(inputs)
    for part in head():
        x = part(x)
    return keras.Model(inputs, x), keras.ops.convert_to_tensor(["a b b", "c d", "x"])


@pytest.mark.parametrize(
    "make",
    [
        lambda: normalised(lambda layer: layer),
        lambda: normalised(LAYERS.TimeDistributed),
        pytest.param(discretised, marks=SINCE_KERAS_3_14),
        looked_up,
        pytest.param(vectorised, marks=SINCE_KERAS_3_14),
    ],
)
def test_adapted_layers_go_along(make):
    model, x = make()
    accelerated = accelerate(model, verbose=False)
    expected = model(x).numpy()
    assert np.ptp(expected) > 0
    np.testing.assert_array_equal(accelerated(x), expected)
    np.testing.assert_array_equal(restore(accelerated)(x), expected)


class Scaled(keras.Loss):
    """Has no `get_config` of its own."""

    def __init__(self, factor=1.0, **kwargs):
        super().__init__(**kwargs)
        self.factor = factor

    def call(self, true, predicted):
        return self.factor * keras.ops.mean(keras.ops.square(true - predicted), -1)


def test_the_very_same_loss():
    model = sequential(*head())
    model.compile("sgd", Scaled(3.0))
    accelerated = accelerate(model, verbose=False)
    x, y = np.ones((4, 4), "float32"), np.zeros((4, 2), "float32")
    assert accelerated.evaluate(x, y, verbose=0) == model.evaluate(x, y, verbose=0)


def test_metrics_that_cannot_be_made_again():
    class Counting(keras.metrics.Mean):
        def __init__(self, start, **kwargs):
            super().__init__(**kwargs)
            self.start = start

        def get_config(self):
            return {"name": self.name}

    model = sequential(*head())
    model.compile("sgd", "mse", metrics=[Counting(3)])
    with pytest.warns(UserWarning, match="is not compiled, compile it yourself"):
        accelerated = accelerate(model, verbose=False)
    assert not accelerated.compiled


def test_compiled_state_goes_along():
    model = sequential(LAYERS.Dense(3, activation="relu"), LAYERS.Dense(1))
    x, y = np.ones((8, 4), "float32"), np.ones((8, 1), "float32")

    def squared(true, predicted):  # neither registered nor importable
        return keras.ops.mean(keras.ops.square(true - predicted), axis=-1)

    model.compile(
        keras.optimizers.Adam(0.01), loss=squared, metrics=["mae"], jit_compile=False
    )
    model.fit(x, y, epochs=2, verbose=0)
    accelerated = accelerate(model, verbose=False)
    assert accelerated.optimizer.iterations == model.optimizer.iterations == 2
    for ours, theirs in zip(
        accelerated.optimizer.variables, model.optimizer.variables, strict=True
    ):
        np.testing.assert_array_equal(
            keras.ops.convert_to_numpy(ours), keras.ops.convert_to_numpy(theirs)
        )
    assert accelerated.evaluate(x, y, verbose=0) == model.evaluate(x, y, verbose=0)
    plain = restore(accelerated)
    for trained in (model, plain):  # go on alike
        keras.utils.set_random_seed(1)
        trained.fit(x, y, epochs=2, verbose=0, shuffle=False)
    for ours, theirs in zip(plain.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-6)


def test_loss_scaling_goes_along():
    keras.config.set_dtype_policy("mixed_float16")
    try:
        model = sequential(*head())
        model.compile("adam", "mse")
        model.fit(np.ones((8, 4)), np.ones((8, 2)), verbose=0)
    finally:
        keras.config.set_dtype_policy("float32")
    accelerated = accelerate(model, verbose=False)
    assert accelerated.dtype_policy.name == "mixed_float16"
    assert isinstance(accelerated.optimizer, keras.optimizers.LossScaleOptimizer)
    assert accelerated.optimizer.iterations == model.optimizer.iterations


def test_random_states_go_along_after_a_schedule():
    recurrent = LAYERS.LSTM(4, dropout=0.5, activation=GAAFTanh())
    model = sequential(recurrent, LAYERS.Dense(2), shape=(3, 4))
    model.compile("sgd", "mse")
    schedule = AccelerationSchedule(lambda epoch: 1.0 / (epoch + 1))
    x, y = np.ones((8, 3, 4), "float32"), np.ones((8, 2), "float32")
    model.fit(x, y, callbacks=[schedule], verbose=0)

    def state(model):
        generator = model.layers[0].cell.seed_generator
        return keras.ops.convert_to_numpy(generator.state).tolist()

    assert state(restore(model)) == state(model)


@pytest.mark.parametrize("scaled", [False, True])
@pytest.mark.parametrize("fitted", [False, True])
def test_what_weight_decay_leaves_alone(fitted, scaled):
    model = sequential(*head())
    first, second = model.layers
    optimizer = keras.optimizers.SGD(0.1, weight_decay=0.5)
    optimizer.exclude_from_weight_decay(var_list=[second.kernel], var_names=["bias"])
    if scaled:
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
    model.compile(optimizer, loss=lambda true, predicted: 0 * predicted)
    first.bias.assign(np.ones(3))
    x, y = np.ones((4, 4), "float32"), np.zeros((4, 2), "float32")
    if fitted:
        model.fit(x, y, verbose=0)
    accelerated = accelerate(model, verbose=False)
    before = [weight.copy() for weight in accelerated.get_weights()]
    accelerated.fit(x, y, verbose=0)
    for factor, old, new in zip(
        (0.95, 1, 1, 1), before, accelerated.get_weights(), strict=True
    ):
        np.testing.assert_allclose(new, factor * old, rtol=1e-6)


def test_layers_frozen_after_compiling():
    model = sequential(*head())
    model.compile("adam", "mse")
    x, y = np.ones((4, 4), "float32"), np.zeros((4, 2), "float32")
    model.fit(x, y, verbose=0)
    model.layers[0].trainable = False
    with pytest.warns(UserWarning, match="new optimizer state"):
        accelerated = accelerate(model, verbose=False)
    accelerated.fit(x, y, verbose=0)
    np.testing.assert_array_equal(accelerated.layers[0].kernel, model.layers[0].kernel)


def test_as_many_other_layers_trained_since_compiling():
    hidden, out = LAYERS.Dense(4, activation="tanh"), LAYERS.Dense(4)
    model = sequential(hidden, out)
    hidden.trainable = False
    model.compile("adam", "mse")
    x, y = np.ones((4, 4), "float32"), np.zeros((4, 4), "float32")
    model.fit(x, y, verbose=0)
    hidden.trainable, out.trainable = True, False
    with pytest.warns(UserWarning, match="new optimizer state"):
        accelerated = accelerate(model, verbose=False)
    assert accelerated.optimizer.iterations == 0
    accelerated.fit(x, y, verbose=0)
    np.testing.assert_array_equal(accelerated.layers[1].get_weights()[0], out.kernel)


class Normalising(LAYERS.Layer):
    """Has parts of which its configuration says nothing."""

    def __init__(self, activation="relu", **kwargs):
        super().__init__(**kwargs)
        self.activation = keras.activations.get(activation)
        self.dense = LAYERS.Dense(4)
        self.norm = LAYERS.BatchNormalization()

    def build(self, input_shape):
        self.dense.build(input_shape)
        self.norm.build((None, 4))

    def call(self, x, training=None):
        return self.activation(self.norm(self.dense(x), training=training))

    def get_config(self):
        activation = keras.activations.serialize(self.activation)
        return {**super().get_config(), "activation": activation}


def test_parts_that_are_frozen():
    block = Normalising()
    model = sequential(block, LAYERS.Dense(2))
    block.norm.trainable = False
    block.norm.gamma.trainable = True
    accelerated = accelerate(model, verbose=False)
    for other in (accelerated, restore(accelerated)):
        norm = other.layers[0].norm
        assert not norm.trainable
        assert [v.trainable for v in norm.weights] == [True, False, False, False]
        assert_same_outputs(model, other)


class Sharing(LAYERS.Layer):
    """Returns its part as it is, and not its configuration."""

    def __init__(self, inner, **kwargs):
        super().__init__(**kwargs)
        self.inner = inner

    def call(self, x):
        return self.inner(x)

    def get_config(self):
        return {**super().get_config(), "inner": self.inner}


def test_the_scale_of_lora_goes_along():
    model = sequential(*head(), shape=(4,))
    layer = model.layers[0]
    layer.enable_lora(2)
    layer.lora_alpha = 8
    layer.lora_kernel_b.assign(np.ones(layer.lora_kernel_b.shape))
    assert_same_outputs(model, accelerate(model, verbose=False))


def test_parts_are_not_shared_with_the_copy():
    model = sequential(Sharing(LAYERS.Dense(4)), *head())
    with pytest.raises(ValueError, match="would share with the model"):
        accelerate(model, verbose=False)


def test_a_part_that_layers_share():
    cell = LAYERS.GRUCell(4, name="cell")
    layers = [LAYERS.RNN(cell, return_sequences=True), LAYERS.RNN(cell, name="second")]
    model = sequential(*layers, *head(), shape=(5, 4))
    with pytest.raises(ValueError, match=r"'cell' \(GRUCell\) is a part of .*'second'"):
        accelerate(model, verbose=False)


def test_a_variable_in_an_operation():
    inputs = keras.Input((5,), dtype="int32")
    embedding = LAYERS.Embedding(7, 4)
    x = LAYERS.Dense(4, activation="relu")(embedding(inputs))
    tied = keras.ops.einsum("bij,kj->bik", x, embedding.embeddings)
    with pytest.raises(ValueError, match=r"uses the variable .*embeddings"):
        accelerate(keras.Model(inputs, tied), verbose=False)


def test_under_a_strategy():
    import tensorflow as tf

    strategy = tf.distribute.MirroredStrategy(["CPU:0"])
    with strategy.scope():
        model = sequential(*head())
        model.compile("sgd", "mse")
    accelerated = accelerate(model, verbose=False)
    assert accelerated.distribute_strategy is strategy
    accelerated.fit(np.ones((4, 4)), np.zeros((4, 2)), verbose=0)
    assert len(accelerated_layers(accelerated)) == 1
