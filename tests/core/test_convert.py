"""Existing models, accelerated and restored."""

import keras
import numpy as np
import pytest

from gaaf_keras import accelerate, restore
from gaaf_keras.layers import accelerated_layers
from tests.convert.zoo import (
    LAYERS,
    MODELS,
    architecture,
    assert_same_outputs,
    data_for,
    names,
    sequential,
)
from tests.gradients import value_and_gradient

# All kinds on TensorFlow; where JAX and PyTorch could differ on those.
ON_OTHER_BACKENDS = ("mixed precision", "lstm", "wide")
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


@pytest.mark.once
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
