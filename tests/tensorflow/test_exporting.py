"""SavedModels: their contents, and where they are written."""

import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf

import gaaf_keras
from tests.tensorflow.exports import exported, network, operations, served


def test_several_inputs(tmp_path):
    first, second = keras.Input((2,), name="first"), keras.Input((2,), name="second")
    total = gaaf_keras.GAAFTanh()(keras.layers.Add()([first, second]))
    loaded = exported(keras.Model([first, second], total), tmp_path / "model")
    x = np.ones((1, 2), "float32")
    np.testing.assert_allclose(loaded.serve([x, x]), np.tanh(2 * x), atol=1e-6)


@pytest.mark.parametrize("built_by", ["input", "call", "fit"])
def test_sequential(built_by, tmp_path):
    inputs = [keras.Input((4,))] if built_by == "input" else []
    layers = [keras.layers.Dense(3, activation=gaaf_keras.GAAFTanh())]
    model = keras.Sequential([*inputs, *layers, keras.layers.Dense(2)])
    x = np.random.default_rng(0).normal(size=(5, 4)).astype("float32")
    if built_by == "call":
        model(x)
    elif built_by == "fit":
        model.compile("sgd", "mse")
        model.fit(x, x[:, :2], verbose=0)
    loaded = exported(model, tmp_path / "model")
    np.testing.assert_allclose(
        loaded.serve(x), model.predict(x, verbose=0), rtol=1e-5, atol=1e-5
    )
    assert "IdentityN" not in operations("tf_saved_model", tmp_path / "model")


def test_a_file_is_replaced_when_asked(tmp_path):
    (tmp_path / "saved_model").touch()
    gaaf_keras.export(
        network(gaaf_keras.GAAF), tmp_path / "saved_model", overwrite=True
    )
    assert (tmp_path / "saved_model" / "saved_model.pb").exists()


def test_nothing_is_overwritten_unless_asked(tmp_path):
    path = tmp_path / "saved_model"
    path.mkdir()
    (path / "keep").touch()
    with pytest.raises(FileExistsError, match="overwrite=True"):
        gaaf_keras.export(network(gaaf_keras.GAAF), path)
    assert [file.name for file in path.iterdir()] == ["keep"]
    gaaf_keras.export(network(gaaf_keras.GAAF), path, overwrite=True)
    assert not (path / "keep").exists()
    assert [file.name for file in tmp_path.iterdir()] == ["saved_model"]


def test_failure_leaves_nothing_behind(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises((OSError, tf.errors.OpError)):
        gaaf_keras.export(network(gaaf_keras.GAAF), tmp_path / "file" / "saved_model")
    assert [file.name for file in tmp_path.iterdir()] == ["file"]


def stored(folder):
    """Shapes and bytes of the values in the variables file."""
    file = str(folder / "variables" / "variables")
    reader = tf.train.load_checkpoint(file)
    shapes = reader.get_variable_to_shape_map()
    types = reader.get_variable_to_dtype_map()
    shapes.pop("_CHECKPOINTABLE_OBJECT_GRAPH")
    size = (folder / "variables" / "variables.data-00000-of-00001").stat().st_size
    sizes = [np.prod(shapes[name]) * types[name].size for name in shapes]
    return sorted(map(tuple, shapes.values())), int(sum(sizes)), size


@pytest.mark.parametrize("trainable", [False, True])
def test_every_weight_is_stored_once(trainable, tmp_path):
    inputs = keras.Input((300,))
    x = keras.layers.Dense(200, activation=gaaf_keras.GAAFReLU())(inputs)
    x = keras.layers.Dropout(0.5)(keras.layers.BatchNormalization()(x))
    model = keras.Model(inputs, keras.layers.Dense(100)(x))
    loaded = exported(model, tmp_path / "served", trainable=trainable)
    shapes, sizes, size = stored(tmp_path / "served")
    assert shapes == sorted(tuple(variable.shape) for variable in model.variables)
    assert sizes <= size < sizes + 20_000  # and what says how they are connected
    for name in ("variables", "trainable_variables", "non_trainable_variables"):
        ours, theirs = getattr(model, name), getattr(loaded, name)
        for variable, other in zip(ours, theirs, strict=True):
            np.testing.assert_array_equal(variable, other)
    for variable in loaded.trainable_variables:
        variable.assign(tf.zeros_like(variable))  # is what the endpoint uses
    assert not np.any(loaded.serve(np.ones((1, 300), "float32")))


def test_an_endpoint_for_training_without_acceleration(tmp_path):
    layers = [keras.Input((4,)), keras.layers.Dense(3, "tanh"), keras.layers.Dense(2)]
    model = keras.Sequential(layers)
    with warnings.catch_warnings(), gaaf_keras.accelerate(model):
        warnings.simplefilter("error", UserWarning)
        gaaf_keras.export(model, tmp_path / "inside", trainable=True)
        gaaf_keras.export(model, tmp_path / "served")
    with pytest.warns(UserWarning, match="no accelerated activation.*inside") as caught:
        gaaf_keras.export(model, tmp_path / "after", trainable=True)
    assert caught[0].filename == __file__


def test_lookup_tables(tmp_path):
    words = keras.layers.TextVectorization(output_mode="multi_hot")
    words.adapt(["a good film", "a bad film"])
    inputs = keras.Input((), dtype="string", name="text")
    outputs = keras.layers.Dense(1, activation=gaaf_keras.GAAFTanh())(words(inputs))
    model = keras.Model(inputs, outputs)
    text = np.array(["good film", "unknown"])
    expected = model.predict(tf.constant(text), verbose=0)
    path = gaaf_keras.export(model, tmp_path / "served", trainable=True)
    found = served("tf_saved_model", path, text)
    np.testing.assert_allclose(found, expected, atol=1e-6)
