"""The callback: what it measures, and that it does not change training."""

import keras
import numpy as np
import pytest
from keras import layers

from gaaf_keras import AccelerationSchedule, GAAFTanh, analysis

RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(64, 4)).astype("float32")
Y = RANDOM.integers(0, 3, 64)


def compiled(dropout=0.3):
    keras.utils.set_random_seed(3)
    model = keras.Sequential(
        [
            keras.Input((4,)),
            layers.Dense(8, name="hidden"),
            layers.BatchNormalization(),
            GAAFTanh(name="tanh"),
            layers.Dropout(dropout),
            layers.Dense(3),
        ]
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("sgd", loss, metrics=["accuracy"])
    return model


def fit(model, *callbacks, **arguments):
    keras.utils.set_random_seed(4)  # PyTorch's dropout knows no other
    arguments = {"epochs": 3, "batch_size": 16, **arguments}
    return model.fit(X, Y, callbacks=callbacks, verbose=0, shuffle=False, **arguments)


def test_training_is_the_same_with_it():
    plain, watched = compiled(), compiled()
    history = fit(plain).history
    flow = analysis.GradientFlow(X, Y, every=2, batch_size=16)
    assert fit(watched, flow).history == history
    assert [step for step, _ in flow.history] == [2, 4, 6, 8, 10, 12]
    for one, other in zip(plain.variables, watched.variables, strict=True):
        np.testing.assert_array_equal(*map(keras.ops.convert_to_numpy, (one, other)))


def test_it_measures_the_model_of_that_moment_on_the_next_batch():
    model = compiled(dropout=0.0)
    model.optimizer.learning_rate = 0.5
    flow = analysis.GradientFlow(X, Y, every=3, batch_size=24)
    own = []

    class Check(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            part = slice(24, 48) if len(own) % 2 else slice(0, 24)
            if len(flow.history) > len(own):
                own.append(analysis.gradient_flow(self.model, X[part], Y[part]))

    fit(model, flow, Check())
    assert len(own) == 4
    for (_, measured), expected in zip(flow.history, own, strict=True):
        assert measured["tanh"].pre_activation_gradient == pytest.approx(
            expected["tanh"].pre_activation_gradient, rel=1e-5
        )
    values = [m["tanh"].output_gradient for _, m in flow.history]
    assert flow.mean()["tanh"].output_gradient == pytest.approx(np.mean(values))


def test_training_that_is_shorter_than_the_interval_has_no_mean():
    flow = analysis.GradientFlow(X, Y, every=10_000)
    fit(compiled(), flow)
    with pytest.raises(ValueError, match=r"fewer steps than .* every=10000"):
        flow.mean()


def test_the_strength_of_a_schedule_is_followed():
    model = compiled()
    model.optimizer.learning_rate = 0.0
    strengths = {0: 0.0, 1: 3.0, 2: 0.0}
    flow = analysis.GradientFlow(X, Y, every=4, batch_size=64)
    fit(model, AccelerationSchedule(strengths.get), flow)
    first, second, third = (m["tanh"].pre_activation_gradient for _, m in flow.history)
    assert second > 2 * first
    assert third < second / 2


@pytest.mark.once  # PyTorch runs one at a time
def test_steps_run_several_at_once_and_resumed_runs():
    model = compiled()
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("sgd", loss, steps_per_execution=4)
    flow = analysis.GradientFlow(X, Y, every=6)
    fit(model, flow, epochs=4, initial_epoch=1)
    assert [step for step, _ in flow.history] == [8, 12]


def test_a_model_that_is_not_compiled_with_a_loss_is_refused():
    flow = analysis.GradientFlow(X, Y)
    flow.set_model(keras.Sequential([keras.Input((4,)), GAAFTanh()]))
    with pytest.raises(ValueError, match="compiled"):
        flow.on_train_begin()


def test_weights_are_those_of_the_examples_of_a_batch():
    weights = np.arange(64, dtype="float32") / 20
    flow = analysis.GradientFlow(X, Y, every=1, batch_size=16, sample_weight=weights)
    model = compiled(dropout=0.0)
    model.optimizer.learning_rate = 0.0
    fit(model, flow, epochs=1, sample_weight=weights)
    for step, found in flow.history[1:]:  # after its statistics have changed once
        part = slice(16 * (step - 1), 16 * step)
        own = analysis.gradient_flow(
            model, X[part], Y[part], sample_weight=weights[part]
        )
        gradient = found["tanh"].output_gradient
        assert gradient == pytest.approx(own["tanh"].output_gradient, rel=1e-5)
    one_hot = keras.utils.to_categorical(Y, 3)
    for targets in (Y, Y[:, np.newaxis]):
        by_class = analysis.gradient_flow(model, X, targets, class_weight={1: 3.0})
        again = analysis.gradient_flow(
            model,
            X,
            one_hot,
            loss=keras.losses.CategoricalCrossentropy(from_logits=True),
            class_weight={1: 3.0},
        )
        one, other = (each["tanh"].output_gradient for each in (by_class, again))
        assert one == pytest.approx(other, rel=1e-5)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"sample_weight": np.ones(63)}, "`y` and `sample_weight` must hold the same"),
        ({"sample_weight": np.ones(64), "class_weight": {}}, "cannot be given with"),
        (
            {
                "sample_weight": np.ones(64),
                "loss": lambda y, outputs: keras.ops.mean(outputs),
            },
            "must return one loss per example",
        ),
    ],
)
def test_wrong_weights(given, message):
    with pytest.raises(ValueError, match=message):
        analysis.gradient_flow(compiled(), X, Y, **given)


def test_class_weights_are_by_class():
    with pytest.raises(TypeError, match="must map classes to factors"):
        analysis.GradientFlow(np.zeros((4, 2)), np.zeros(4), class_weight=[1.0, 2.0])
