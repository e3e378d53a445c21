"""The names in results, and their order."""

import keras
import numpy as np
import pytest
from keras import layers, ops

from gaaf_keras import analysis

X = np.random.default_rng(0).normal(size=(12, 4)).astype("float32")


def test_layers_of_one_name_in_different_models():
    parts = [
        keras.Sequential(
            [keras.Input((4,)), layers.Dense(4, activation=activation, name="h")]
        )
        for activation in ("tanh", "relu")
    ]
    inputs = keras.Input((4,))
    model = keras.Model(inputs, parts[1](parts[0](inputs)))
    found = analysis.saturation(model, X)
    inner = ops.convert_to_numpy(parts[0](X)) @ ops.convert_to_numpy(
        parts[1].layers[0].kernel
    )
    assert found["h (2)"].share == pytest.approx(np.mean(inner <= 0))


def test_kernels_of_one_path_in_different_models():
    inputs = keras.Input((4,))
    encoders = [
        keras.Model(inputs, layers.Dense(6, name="hidden")(inputs), name=name)
        for name in ("a", "b")
    ]
    total = encoders[0](inputs) + encoders[1](inputs)
    model = keras.Model(inputs, layers.Dense(2, name="last")(total))
    found = analysis.weights(model)
    assert list(found) == ["hidden/kernel", "hidden/kernel (2)", "last/kernel"]
    kernel = ops.convert_to_numpy(encoders[1].layers[-1].kernel)
    assert found["hidden/kernel (2)"].mean == pytest.approx(kernel.mean(), abs=1e-6)


def test_results_are_in_the_order_of_the_computation():
    names = [f"hidden_{number}" for number in range(1, 13)]
    model = keras.Sequential(
        [
            keras.Input((4,)),
            *(layers.Dense(4, activation="tanh", name=name) for name in names),
        ]
    )
    for found in (
        analysis.saturation(model, X),
        analysis.correlations(model, X),
        analysis.pre_activation_variance(model, X, draws=2),
        analysis.ablation(model, X, X, loss="mse", shares=[]),
        analysis.gradient_flow(model, X, X, loss="mse"),
    ):
        assert list(found) == names
    hidden = keras.Model(model.inputs, model.layers[9].output)
    values = ops.convert_to_numpy(hidden(X))
    pre_activations = analysis.saturation(model, X)["hidden_10"].pre_activations
    assert pre_activations.mean == pytest.approx(np.arctanh(values).mean(), abs=1e-5)
