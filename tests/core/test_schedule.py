"""Strengths that change during training, without a new graph or a new weight."""

import keras
import numpy as np
import pytest

from gaaf_keras import GAAF, AccelerationSchedule, GAAFReLU, GAAFTanh
from gaaf_keras.layers import accelerated_layers
from tests import reference
from tests.gradients import value_and_gradient

X = np.random.default_rng(0).normal(size=(32, 3)).astype("float32")
Y = X.sum(axis=1, keepdims=True)


def build(activation=GAAFTanh):
    keras.utils.set_random_seed(1)
    model = keras.Sequential(
        [
            keras.Input((3,)),
            keras.layers.Dense(4, name="hidden"),
            activation(name="accelerated"),
            keras.layers.Dense(1, activation=GAAFReLU(name="inner"), name="last"),
        ]
    )
    model.compile(keras.optimizers.SGD(0.1), "mse")
    return model


def fit(model, callbacks=(), epochs=1, **kwargs):
    model.fit(
        X,
        Y,
        batch_size=32,
        epochs=epochs,
        shuffle=False,
        verbose=0,
        callbacks=list(callbacks),
        **kwargs,
    )
    return model.get_weights()


def with_constant_strengths(strengths):
    """Trains an epoch with each of these constant strengths."""
    model = build()
    for strength in strengths:
        for layer in (
            model.get_layer("accelerated"),
            model.get_layer("last").activation,
        ):
            layer.strength = strength
        model.compile(model.optimizer, "mse")
        fit(model)
    return model.get_weights()


def assert_same(ours, theirs):
    for our, their in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(our, their, rtol=2e-5, atol=1e-6)


def test_each_epoch_trains_with_its_strength():
    schedule = keras.optimizers.schedules.PolynomialDecay(2.0, 3, end_learning_rate=0.5)
    ours = fit(build(), [AccelerationSchedule(schedule)], epochs=4)
    assert_same(ours, with_constant_strengths([2.0, 1.5, 1.0, 0.5]))


def test_the_training_step_is_traced_once():
    traces = []

    def counting_tanh(x):
        traces.append(None)
        return keras.ops.tanh(x)

    model = build(lambda name: GAAF(counting_tanh, "gaussian", name=name))
    callback = AccelerationSchedule(lambda epoch: 1.0 / (epoch + 1))
    fit(model, [callback], epochs=1)
    first = len(traces)
    if keras.backend.backend() != "torch":  # which traces nothing and calls each time
        model.fit(X, Y, epochs=6, initial_epoch=1, verbose=0, callbacks=[callback])
        assert len(traces) <= 2 * first  # a new fit may trace; its epochs may not
        before = len(traces)
        model.fit(X, Y, epochs=20, initial_epoch=1, verbose=0, callbacks=[callback])
        assert len(traces) - before <= first


def test_a_model_that_was_trained_before_follows_the_schedule():
    model = build()
    fit(model)
    ours = fit(model, [AccelerationSchedule(lambda epoch: 0.0)])
    assert_same(ours, with_constant_strengths([1.0, 0.0]))


def test_per_layer():
    model = build()
    fit(model, [AccelerationSchedule({"inner": lambda epoch: 3.0 + epoch})], epochs=2)
    assert model.get_layer("last").activation.strength == 4.0
    assert model.get_layer("accelerated").strength == 1.0


def test_weights_stay_those_of_the_plain_model(tmp_path):
    model = build()
    before = [w.shape for w in model.get_weights()]
    fit(model, [AccelerationSchedule(lambda epoch: 0.5)])
    assert [w.shape for w in model.get_weights()] == before
    assert len(model.weights) == len(model.trainable_weights) == 4

    model.save_weights(tmp_path / "model.weights.h5")
    other = build()
    other.load_weights(tmp_path / "model.weights.h5")
    assert_same(other.get_weights(), model.get_weights())


def test_saving_keeps_the_strength_of_the_moment_and_training_goes_on(tmp_path):
    schedule = AccelerationSchedule(lambda epoch: 2.0 / (epoch + 1))
    whole = fit(build(), [schedule], epochs=4)

    model = build()
    fit(model, [schedule], epochs=2)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    layer = loaded.get_layer("accelerated")
    assert layer.strength == 1.0
    x = np.linspace(-3, 3, 7, dtype="float32")
    _, gradient = value_and_gradient(layer, x)
    np.testing.assert_allclose(gradient, reference.gaaf_tanh(x, 1.0), atol=1e-6)
    resumed = fit(loaded, [schedule], epochs=4, initial_epoch=2)
    assert_same(resumed, whole)


def test_strength_variable_reaches_the_gradient():
    layer = GAAFTanh(unit_gain=True)
    layer.make_strength_variable()
    x = np.linspace(-3, 3, 7, dtype="float32")
    for strength in (0.0, 0.5, 3.0):
        layer.strength = strength
        assert layer.strength == strength
        _, gradient = value_and_gradient(layer, x)
        expected = reference.gaaf_tanh(x, 1.0, strength) / (1 + strength)
        np.testing.assert_allclose(gradient, expected, atol=1e-6)


def test_half_precision_training_with_a_schedule():
    keras.utils.set_random_seed(1)
    model = keras.Sequential(
        [
            keras.layers.Dense(4, dtype="mixed_float16"),
            GAAFTanh(dtype="mixed_float16"),
            keras.layers.Dense(1),
        ]
    )
    optimizer = keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(0.1))
    model.compile(optimizer, "mse")
    weights = fit(
        model, [AccelerationSchedule(lambda epoch: 1.0 - epoch / 5)], epochs=5
    )
    assert all(np.isfinite(w).all() for w in weights)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: AccelerationSchedule(0.5), TypeError, "`schedule`.*0.5"),
        (lambda: AccelerationSchedule({"a": 1}), TypeError, "`schedule`.*1"),
        (
            lambda: fit(build(), [AccelerationSchedule(lambda epoch: None)]),
            TypeError,
            "`schedule` must return a number, 0 or greater. Received: None for epoch 0",
        ),
        (
            lambda: fit(build(), [AccelerationSchedule(lambda epoch: "0.3")]),
            TypeError,
            "`schedule` must return a number, .*Received: '0.3' for epoch 0",
        ),
        (
            lambda: fit(build(), [AccelerationSchedule({"nowhere": abs})]),
            ValueError,
            "nowhere. The model has: accelerated, inner",
        ),
        (
            lambda: fit(
                build(), [AccelerationSchedule(lambda epoch: 1 - epoch)], epochs=3
            ),
            ValueError,
            "`schedule` must return .*0 or greater. Received: -1 for epoch 2",
        ),
        (
            lambda: fit(
                build(lambda name: keras.layers.ReLU(name=name)),
                [AccelerationSchedule({"accelerated": abs})],
            ),
            ValueError,
            "accelerated. The model has: inner",
        ),
    ],
)
def test_misuse_is_named(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_a_name_stands_for_all_layers_of_that_name():
    cell = keras.layers.LSTM(2, activation=GAAFTanh(name="act"))
    model = keras.Sequential([keras.Input((3, 1)), keras.layers.Bidirectional(cell)])
    callback = AccelerationSchedule({"act": lambda epoch: 0.25})
    callback.set_model(model)
    callback.on_epoch_begin(0)
    assert [layer.strength for layer in accelerated_layers(model)] == [0.25, 0.25]
