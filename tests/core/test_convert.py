"""Existing models, accelerated and restored."""

import keras
import numpy as np
import pytest

import gaaf_keras
from gaaf_keras import GAAF, Gaussian, accelerate, gaaf, restore
from gaaf_keras.layers import accelerated_layers
from tests.convert.zoo import (
    LAYERS,
    MODELS,
    architecture,
    assert_same_outputs,
    data_for,
    names,
    sequential,
    tied,
    wide_functional,
)
from tests.gradients import value_and_gradient

# All kinds on TensorFlow, and where JAX and PyTorch could differ on those.
ON_OTHER_BACKENDS = ("prelu", "mixed precision", "recurrent", "tied", "wide", "wrapped")
NAMES = MODELS if keras.backend.backend() == "tensorflow" else ON_OTHER_BACKENDS
models = pytest.mark.parametrize("name", NAMES)


@models
def test_same_outputs_more_gradient_and_the_way_back(name):
    make, count = MODELS[name]
    model = make()
    config = architecture(model)
    accelerated, report = accelerate(model, verbose=False, return_report=True)
    assert architecture(model) == config
    assert len(report.accelerated) == count
    restored = restore(accelerated)
    assert architecture(restored) == config
    assert not accelerated_layers(restored)
    assert type(accelerated) is type(restored) is type(model)
    for other in (accelerated, restored):
        assert names(other) == names(model)
        assert len(other.weights) == len(model.weights)
    assert_same_outputs(model, accelerated, restored)
    random = np.random.default_rng(5)
    for weight in model.weights:
        weight.assign(random.normal(size=weight.shape).astype("float32"))
    accelerated.set_weights(model.get_weights())
    restored.set_weights(accelerated.get_weights())
    assert_same_outputs(model, accelerated, restored)


@pytest.mark.parametrize("name", sorted(set(NAMES) - {"masked"}))  # has no gradient
def test_gradients_differ_in_training_only(name):
    model = MODELS[name][0]()
    if name == "wide":
        inputs = keras.Input((8,))
        parts = keras.ops.split(inputs, 2, axis=1)
        model = keras.Model(inputs, model(parts)["a"])
    accelerated = accelerate(model, verbose=False)
    x = data_for(model)

    def gradient(model, training):
        keras.utils.set_random_seed(7)
        function = lambda x: keras.ops.sum(  # noqa: E731
            keras.ops.cast(model(x, training=training), "float32")
        )
        return value_and_gradient(function, x, np.float32(1))[1]

    np.testing.assert_array_equal(gradient(model, False), gradient(accelerated, False))
    assert np.all(np.isfinite(gradient(accelerated, True)))
    assert np.max(np.abs(gradient(model, True) - gradient(accelerated, True))) > 1e-3


def test_sharing_is_kept():
    accelerated = accelerate(tied(), verbose=False)
    assert len(accelerated.weights) == 4
    outer = accelerated.get_layer("tied")
    assert accelerated.get_layer("left").get_layer("tied") is outer
    assert accelerated.get_layer("right").get_layer("tied") is outer
    model = wide_functional()
    shared = accelerate(model, verbose=False).get_layer("shared")
    assert len(shared._inbound_nodes) == 2


def test_an_activation_layer_shared_by_two_hosts():
    leaky = LAYERS.LeakyReLU()
    model = sequential(
        LAYERS.Dense(3, activation=leaky),
        LAYERS.Dense(3, activation=leaky),
        LAYERS.Dense(2),
    )
    accelerated = accelerate(model, verbose=False)
    restored = restore(accelerated)
    for other, kind in ((accelerated, GAAF), (restored, LAYERS.LeakyReLU)):
        first, second, _ = other.layers
        assert first.activation is second.activation is not leaky
        assert isinstance(first.activation, kind)


def test_what_the_layers_become():
    model = sequential(
        LAYERS.Dense(3, activation="relu", name="one"),
        LAYERS.Activation("tanh", name="two"),
        LAYERS.ReLU(6, name="three"),
        LAYERS.Dense(2),
    )
    one, two, three, _ = accelerate(model, verbose=False).layers
    assert isinstance(one, LAYERS.Dense)
    assert isinstance(one.activation, GAAF)
    assert one.activation.name == "one_activation"
    assert isinstance(two, GAAF)
    assert two.activation is keras.activations.tanh
    assert two.shape == Gaussian(2.0)
    assert isinstance(three, GAAF)
    assert isinstance(three.activation, LAYERS.ReLU)
    assert three.name == three.activation.name == "three"


def test_restore_of_a_model_written_with_gaaf():
    inputs = keras.Input((4,))
    x = LAYERS.Dense(3, activation=gaaf_keras.gaaf_tanh)(inputs)
    x = LAYERS.Dense(3, activation=gaaf("relu", strength=2))(x)
    x = gaaf_keras.GAAFTanh(name="own")(x)
    x = LAYERS.Activation(gaaf_keras.gaaf_relu, name="function")(x)
    x = gaaf_keras.gaaf_relu(x)
    x = GAAF(LAYERS.LeakyReLU(0.1), name="leaky")(x)
    model = keras.Model(inputs, LAYERS.Dense(2)(x))
    plain = restore(model)
    assert "gaaf_keras" not in plain.to_json()
    assert plain.get_layer("own").activation is keras.activations.tanh
    assert plain.get_layer("leaky").negative_slope == 0.1
    assert_same_outputs(model, plain)


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


def test_trainable_flags_go_along():
    backbone = sequential(
        LAYERS.Dense(4, activation="relu"),
        LAYERS.BatchNormalization(),
        LAYERS.Dense(4, activation="relu"),
        name="backbone",
    )
    backbone.trainable = False
    inputs = keras.Input((4,))
    functional = keras.Model(inputs, backbone(inputs), name="functional")
    functional.trainable = False
    head = LAYERS.Dense(2, name="head")
    model = keras.Model(inputs, head(functional(inputs)))
    head.kernel.trainable = False
    accelerated = accelerate(model, verbose=False)
    for other in (accelerated, restore(accelerated)):
        assert [v.path for v in other.trainable_variables] == [
            v.path for v in model.trainable_variables
        ]
        assert not other.get_layer("functional").trainable
        assert not other.get_layer("functional").get_layer("backbone").trainable
        assert other.get_layer("head").trainable


def test_random_state_goes_along():
    model = sequential(
        LAYERS.Dense(50, activation="relu"),
        LAYERS.Dropout(0.5, seed=1),
        LAYERS.Dense(2),
    )
    x = data_for(model)
    model(x, training=True)  # beyond the state that the seed gives
    accelerated = accelerate(model, verbose=False)
    for _ in range(2):
        ours, theirs = (
            keras.ops.convert_to_numpy(either(x, training=True))
            for either in (model, accelerated)
        )
        np.testing.assert_array_equal(ours, theirs)


def test_a_model_without_inputs():
    model = keras.Sequential([LAYERS.Dense(3, activation="relu"), LAYERS.Dense(2)])
    accelerated = accelerate(model, verbose=False)
    assert not accelerated.built
    assert len(accelerated_layers(accelerated)) == 1
    assert architecture(restore(accelerated)) == architecture(model)


def test_adapted_layers_go_along():
    normalise = LAYERS.Normalization()
    normalise.adapt(np.random.default_rng(0).normal(3, 2, (100, 4)))
    model = sequential(normalise, LAYERS.Dense(3, activation="relu"), LAYERS.Dense(2))
    assert_same_outputs(model, accelerate(model, verbose=False))


def test_the_seeds_of_later_layers_are_not_used_up():
    def weights_of_the_next_layer(convert):
        keras.utils.set_random_seed(3)
        model = MODELS["separable"][0]()
        if convert:
            accelerate(model, verbose=False)
        return sequential(LAYERS.Dense(3)).get_weights()[0]

    np.testing.assert_array_equal(
        weights_of_the_next_layer(True), weights_of_the_next_layer(False)
    )


def test_training_one_leaves_the_other_alone():
    model = MODELS["dense"][0]()
    model.compile("sgd", "mse", jit_compile=False)
    accelerated = accelerate(model, verbose=False)
    before = model.get_weights()
    x = data_for(model)
    accelerated.train_on_batch(x, np.ones((3, 2), "float32"))
    for ours, theirs in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert np.any(accelerated.get_weights()[0] != before[0])


def test_one_training_step_by_hand():
    """Plain SGD on half the summed squares, against a float64 derivation in NumPy."""
    random = np.random.default_rng(0)
    x = random.normal(size=(6, 4)).astype("float32")
    y = random.normal(size=(6, 2)).astype("float32")
    model = sequential(
        LAYERS.Dense(5, activation="tanh"), LAYERS.ReLU(), LAYERS.Dense(2)
    )
    model.set_weights(
        [random.normal(size=w.shape).astype("float32") for w in model.get_weights()]
    )
    w1, b1, w2, b2 = (w.astype("float64") for w in model.get_weights())
    net = x @ w1 + b1
    tanh = np.tanh(net)
    relu = np.maximum(tanh, 0)
    error = (relu @ w2 + b2) - y
    step = lambda z: 1 / (1 + np.exp(-5 * (z + 0.5)))  # noqa: E731
    at_tanh = (error @ w2.T) * ((tanh > 0) + 0.5 * step(tanh))
    at_net = at_tanh * (1 / np.cosh(net) ** 2 + 0.5 * np.exp(-(net**2) / 4))
    gradients = [x.T @ at_net, at_net.sum(0), relu.T @ error, error.sum(0)]
    expected = [w - 0.1 * g for w, g in zip((w1, b1, w2, b2), gradients, strict=True)]

    model.compile(
        keras.optimizers.SGD(0.1),
        loss=lambda true, predicted: keras.ops.sum(
            0.5 * keras.ops.square(true - predicted)
        ),
    )
    accelerated = accelerate(model, strength=0.5, verbose=False)
    accelerated.train_on_batch(x, y)
    for ours, theirs in zip(accelerated.get_weights(), expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5)
    model.train_on_batch(x, y)
    assert np.abs(model.get_weights()[0] - expected[0]).max() > 1e-2
