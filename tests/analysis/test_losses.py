"""The loss: the compiled or the given one."""

import keras
import numpy as np
import pytest
from keras import layers

from gaaf_keras import analysis

RANDOM = np.random.default_rng(0)


def of_fixed_batch_size():
    inputs = keras.Input((5, 3), batch_size=4)
    x = layers.GRU(3, stateful=True)(inputs)
    x = layers.Dense(3, activation="tanh", name="hidden")(x)
    model = keras.Model(inputs, layers.Dense(2)(x))
    model.compile("sgd", "mse")
    return model


@pytest.mark.parametrize(
    "analyse",
    [
        lambda m, x, y: analysis.gradient_flow(m, x, y, batch_size=4),
        lambda m, x, y: analysis.ablation(m, x[:4], y[:4]),
        lambda m, x, y: analysis.weight_noise(m, x[:4], y[:4], sizes=[0.1]),
        lambda m, x, y: analysis.input_noise(m, x[:4], y[:4], sizes=[0.1]),
        lambda m, x, y: analysis.hessian_eigenvalue(m, x[:4], y[:4], iterations=2),
    ],
)
def test_a_compiled_model_of_fixed_batch_size_before_training(analyse):
    model = of_fixed_batch_size()
    x = RANDOM.normal(size=(8, 5, 3)).astype("float32")
    y = RANDOM.normal(size=(8, 2)).astype("float32")
    found = analyse(model, x, y)
    model.evaluate(x, y, batch_size=4, verbose=0)
    model.layers[1].reset_states()
    assert found == analyse(model, x, y)


def test_the_callback_with_a_compiled_model_of_fixed_batch_size():
    x = RANDOM.normal(size=(8, 5, 3)).astype("float32")
    y = np.zeros((8, 2), "float32")
    flow = analysis.GradientFlow(x, y, every=1, batch_size=4)
    model = of_fixed_batch_size()
    model.layers[1].trainable = False  # Keras on PyTorch cannot train it
    model.compile("sgd", "mse")
    model.fit(x, y, batch_size=4, verbose=0, callbacks=[flow])
    assert [step for step, _ in flow.history] == [1, 2]


def with_two_outputs():
    inputs = keras.Input((4,))
    x = layers.Dense(3, activation="tanh", name="hidden")(inputs)
    return keras.Model(inputs, [layers.Dense(2)(x), layers.Dense(3)(x)])


X = RANDOM.normal(size=(12, 4)).astype("float32")
TARGETS = [RANDOM.normal(size=(12, 2)).astype("float32"), np.arange(12) % 3]
LOSSES = ["mse", keras.losses.SparseCategoricalCrossentropy(from_logits=True)]


@pytest.mark.parametrize("loss", ["mse", keras.losses.MeanSquaredError(), LOSSES])
@pytest.mark.parametrize(
    "analyse",
    [
        analysis.gradient_flow,
        analysis.ablation,
        analysis.weight_noise,
        analysis.input_noise,
        analysis.hessian_eigenvalue,
    ],
)
def test_losses_of_several_outputs_are_refused(analyse, loss):
    message = r"Argument `loss` must be one loss.*compile the model.*Received: loss="
    with pytest.raises(ValueError, match=message):
        analyse(with_two_outputs(), X, TARGETS, loss=loss)


def test_a_function_of_several_outputs_is_as_good_as_compiled_losses():
    def total(y, outputs):
        pairs = zip(LOSSES, y, outputs, strict=True)
        return sum(keras.losses.get(loss)(*pair) for loss, *pair in pairs)

    model = with_two_outputs()
    given = analysis.gradient_flow(model, X, TARGETS, loss=total)["hidden"]
    model.compile("sgd", LOSSES)
    compiled = analysis.gradient_flow(model, X, TARGETS)["hidden"]
    assert given.output_gradient == pytest.approx(compiled.output_gradient, rel=1e-5)
