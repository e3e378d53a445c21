"""Round trips through configuration, JSON and `.keras` files, comparing gradients."""

import json

import keras
import numpy as np
import pytest

import gaaf_keras
from gaaf_keras import GAAF, GAAFReLU, GAAFTanh, Gaussian, ShiftedSigmoid, gaaf
from tests.gradients import value_and_gradient
from tests.processes import python

LAYERS = keras.layers
MODELS = {
    "function in Dense": lambda: [LAYERS.Dense(3, activation=gaaf_keras.gaaf_tanh)],
    "gaaf in Dense": lambda: [
        LAYERS.Dense(3, activation=gaaf("relu", ShiftedSigmoid(4, 0.1), 0.7))
    ],
    "layer in Dense": lambda: [LAYERS.Dense(3, activation=GAAFReLU(strength=0.5))],
    "function in Activation": lambda: [LAYERS.Activation(gaaf_keras.gaaf_relu)],
    "GAAF": lambda: [GAAF("softsign", shape_function=Gaussian(1.5), strength=2)],
    "GAAFTanh": lambda: [GAAFTanh(Gaussian(1.5))],
    "GAAFReLU": lambda: [GAAFReLU("gaussian", strength=0.3)],
    "function in LSTM": lambda: [LAYERS.LSTM(3, activation=gaaf_keras.gaaf_tanh)],
    "layer in LSTM": lambda: [LAYERS.LSTM(3, activation=GAAFTanh())],
    "TimeDistributed": lambda: [LAYERS.TimeDistributed(GAAFTanh(strength=0.5))],
    "called on a Keras tensor": lambda: [gaaf_keras.gaaf_tanh, gaaf("relu")],
}


def build(name):
    x = inputs = keras.Input((4, 2))
    for layer in MODELS[name]():
        x = layer(x)
    return keras.Model(inputs, x)


def behaviour(model, training):
    x = np.random.default_rng(0).normal(size=(3, 4, 2), scale=2).astype("float32")
    shape = keras.ops.shape(model(x))
    upstream = np.random.default_rng(1).normal(size=shape).astype("float32")
    return value_and_gradient(lambda x: model(x, training=training), x, upstream)


def assert_same(first, second):
    for training in (True, False):
        for ours, theirs in zip(
            behaviour(first, training), behaviour(second, training), strict=True
        ):
            np.testing.assert_array_equal(ours, theirs)


@pytest.mark.once
@pytest.mark.parametrize("name", MODELS)
def test_keras_file(name, tmp_path):
    model = build(name)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras", safe_mode=True)
    assert_same(model, loaded)
    assert (
        json.loads(loaded.to_json())["config"] == json.loads(model.to_json())["config"]
    )


@pytest.mark.parametrize("name", ["gaaf in Dense", "layer in Dense", "GAAF"])
def test_json_and_clone(name):
    model = build(name)
    for copy in (
        keras.models.model_from_json(model.to_json()),
        keras.models.clone_model(model),
    ):
        copy.set_weights(model.get_weights())
        assert_same(model, copy)


@pytest.mark.parametrize(
    "layer",
    [
        GAAF(
            "relu",
            shape_function=Gaussian(3),
            strength=0.25,
            name="one",
            dtype="float64",
        ),
        GAAFTanh(shape_function=Gaussian(3), strength=0.25, name="two"),
        GAAFReLU(strength=0.25, trainable=False, unit_gain=True, name="three"),
    ],
)
def test_layer_configuration_is_complete(layer):
    config = layer.get_config()
    copy = type(layer).from_config(config)
    assert copy.get_config() == config
    assert copy.name == layer.name
    assert copy.dtype_policy == layer.dtype_policy
    for name in ("shape_function", "strength", "unit_gain"):
        assert getattr(copy, name) == getattr(layer, name)
    assert config["unit_gain"] is layer.unit_gain
    assert keras.saving.get_registered_name(type(layer)) == (
        f"gaaf_keras>{type(layer).__name__}"
    )


def test_masks_pass_through():
    layer = GAAFTanh()
    assert layer.supports_masking
    embedded = LAYERS.Embedding(5, 4, mask_zero=True)(np.array([[1, 2, 0]]))
    mask = keras.ops.convert_to_numpy(layer(embedded)._keras_mask)
    assert mask.tolist() == [[True, True, False]]


def dtype_of(tensor):
    return keras.backend.standardize_dtype(tensor.dtype)


def test_own_dtype_policy_is_kept():
    layer = GAAFTanh(dtype="mixed_bfloat16")
    for again in (layer, GAAFTanh.from_config(layer.get_config())):
        assert dtype_of(again(np.ones((2, 2), "float32"))) == "bfloat16"
        assert dtype_of(again(keras.Input((2,)))) == "bfloat16"
    assert layer.compute_output_shape((None, 7)) == (None, 7)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_without_one_it_computes_in_the_dtype_of_its_input(dtype):
    layer = GAAFTanh()
    for again in (layer, GAAFTanh.from_config(layer.get_config())):
        assert dtype_of(again(keras.ops.ones((2, 2), dtype))) == dtype
        assert dtype_of(again(keras.KerasTensor((2, 2), dtype))) == dtype


@pytest.mark.once
@pytest.mark.parametrize("policy", ["float32", "float64", "mixed_bfloat16"])
@pytest.mark.parametrize("default", ["float32", "mixed_float16"])
@pytest.mark.parametrize(
    "host",
    [
        lambda **kwargs: LAYERS.Dense(3, **kwargs),
        lambda **kwargs: LAYERS.LSTM(3, **kwargs),
    ],
    ids=["Dense", "LSTM"],
)
def test_inside_another_layer_the_precision_is_that_layers(host, policy, default):
    x = np.random.default_rng(0).normal(size=(2, 5, 4)).astype("float32")
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(default)
    try:
        plain = host(activation="tanh", dtype=policy)
        ours = host(activation=GAAFTanh(), dtype=policy)
        expected = plain(x)
        ours.build(x.shape)
        ours.set_weights(plain.get_weights())
        assert dtype_of(ours(x)) == dtype_of(expected)
        np.testing.assert_array_equal(
            keras.ops.convert_to_numpy(keras.ops.cast(ours(x), "float32")),
            keras.ops.convert_to_numpy(keras.ops.cast(expected, "float32")),
        )
    finally:
        keras.config.set_dtype_policy(before)


def test_a_base_activation_with_weights_is_built_with_the_model(tmp_path):
    inputs = keras.Input((3,))
    model = keras.Model(inputs, GAAF(LAYERS.PReLU(), shape_function=Gaussian())(inputs))
    assert model.count_params() == 3
    model.set_weights([np.full(3, 0.25, "float32")])
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded.get_weights()[0], model.get_weights()[0])


def test_training_rule_inside_recurrent_layers():
    """Keras's recurrent layers treat a missing `training` as False."""
    inputs = keras.Input((4, 2))
    model = keras.Model(inputs, LAYERS.LSTM(3, activation=GAAFTanh())(inputs))
    false, true = (behaviour(model, training)[1] for training in (False, True))
    np.testing.assert_array_equal(behaviour(model, None)[1], false)
    assert np.abs(true - false).max() > 1e-3


@pytest.mark.parametrize("training", [None, True, False])
def test_integers_are_refused_always(training):
    for call in (
        lambda: GAAFReLU()(np.arange(3), training=training),
        lambda: GAAFReLU()(keras.Input((3,), dtype="int32"), training=training),
        lambda: gaaf_keras.gaaf_relu(keras.Input((3,), dtype="int32")),
    ):
        with pytest.raises(TypeError, match="floating-point"):
            call()


def test_what_the_layer_is_made_of_is_not_silently_replaced():
    layer = GAAFTanh()
    with pytest.raises(AttributeError):
        layer.activation = keras.activations.relu
    layer.shape_function = "constant"
    layer.strength = 3.0
    x = np.linspace(-2, 2, 5, dtype="float32")
    _, gradient = value_and_gradient(layer, x)
    np.testing.assert_allclose(gradient, 1 - np.tanh(x) ** 2 + 0.3, atol=1e-6)
    copy = GAAFTanh.from_config(layer.get_config())
    assert (copy.shape_function, copy.strength) == (layer.shape_function, 3.0)

    base = LAYERS.PReLU()
    for activation in (base, lambda x: x):
        layer = GAAF(activation, "gaussian")
        layer.shape_function = "constant"
        assert layer.activation is layer._accelerated.activation is activation


def test_symbolic_calls_keep_shape_and_dtype():
    x = keras.KerasTensor((None, 3, 4), dtype="float16")
    for function in (gaaf_keras.gaaf_tanh, gaaf_keras.gaaf_relu, gaaf("tanh")):
        y = function(x)
        assert isinstance(y, keras.KerasTensor)
        assert (y.shape, y.dtype) == (x.shape, "float16")
    assert GAAFReLU(dtype="float16")(x).dtype == "float16"


@pytest.mark.once
def test_keras_file_in_a_fresh_process(tmp_path):
    model = build("gaaf in Dense")
    model.save(tmp_path / "model.keras")
    value, gradient = behaviour(model, training=True)
    np.savez(tmp_path / "expected.npz", value=value, gradient=gradient)
    program = """
import sys
import keras, numpy as np
try:
    keras.models.load_model(sys.argv[1] + "/model.keras")
except TypeError as error:
    assert "Could not locate class 'AcceleratedActivation'" in str(error)
else:
    raise AssertionError("docs/guides/serve.md says that this needs gaaf_keras")
import gaaf_keras
from tests.core.test_saving import behaviour
model = keras.models.load_model(sys.argv[1] + "/model.keras")
expected = np.load(sys.argv[1] + "/expected.npz")
value, gradient = behaviour(model, training=True)
np.testing.assert_allclose(value, expected["value"], rtol=1e-6, atol=1e-6)
np.testing.assert_allclose(gradient, expected["gradient"], rtol=1e-6, atol=1e-6)
"""
    python("-c", program, tmp_path)


@pytest.mark.parametrize("make", [lambda: gaaf_keras.gaaf_relu, GAAFReLU])
def test_fit_trains(make):
    model = keras.Sequential([LAYERS.Dense(16, activation=make()), LAYERS.Dense(1)])
    model.compile("adam", "mse")
    x = np.random.default_rng(0).normal(size=(64, 4)).astype("float32")
    losses = model.fit(x, x.sum(axis=1), epochs=5, verbose=0).history["loss"]
    assert losses[-1] < losses[0]
