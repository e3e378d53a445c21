"""SavedModels: what is in them, and whether they need this package."""

import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

import gaaf_keras
from tests.tensorflow.exports import operations

# Loads a SavedModel where neither Keras nor this package can be imported.
SERVE = """
import sys
import numpy as np
sys.modules["gaaf_keras"] = None
sys.modules["keras"] = None
import tensorflow as tf
folder = sys.argv[1]
served = tf.saved_model.load(folder + "/saved_model")
data = np.load(folder + "/data.npz")
# Logits of up to 30 after eight sums of up to 144 terms, whose order is not given.
np.testing.assert_allclose(served.serve(data["x"]), data["y"], rtol=1e-5, atol=1e-4)
(output,) = served.signatures["serving_default"](image=tf.constant(data["x"])).values()
np.testing.assert_allclose(output, data["y"], rtol=1e-5, atol=1e-4)
"""


def convolutional(activation):
    return keras.Sequential(
        [
            keras.Input((8, 8, 1), name="image"),
            keras.layers.Rescaling(1 / 16),
            keras.layers.Conv2D(4, 3, padding="same", use_bias=False),
            keras.layers.BatchNormalization(),
            keras.layers.Activation(activation),
            keras.layers.MaxPooling2D(),
            keras.layers.Flatten(),
            keras.layers.Dense(10, name="logits"),
        ]
    )


def gaaf_model():
    return convolutional(gaaf_keras.gaaf_relu)


def kinds_of_operations(folder):
    return sorted(set(operations("tf_saved_model", folder)))


def test_served_without_keras_and_without_this_package(tmp_path):
    model = gaaf_model()
    x = np.random.default_rng(0).uniform(0, 16, (5, 8, 8, 1)).astype("float32")
    assert (
        gaaf_keras.export(model, tmp_path / "saved_model") == tmp_path / "saved_model"
    )
    np.savez(tmp_path / "data.npz", x=x, y=model.predict(x, verbose=0))
    subprocess.run([sys.executable, "-c", SERVE, str(tmp_path)], check=True)


def test_same_operations_as_the_plain_model(tmp_path):
    gaaf_keras.export(gaaf_model(), tmp_path / "gaaf")
    plain = convolutional("relu")
    gaaf_keras.export(plain, tmp_path / "plain")
    kinds = kinds_of_operations(str(tmp_path / "gaaf"))
    assert kinds == kinds_of_operations(str(tmp_path / "plain"))
    assert "IdentityN" not in kinds


def test_several_inputs(tmp_path):
    first, second = keras.Input((2,), name="first"), keras.Input((2,), name="second")
    total = gaaf_keras.GAAFTanh()(keras.layers.Add()([first, second]))
    model = keras.Model([first, second], total)
    gaaf_keras.export(model, tmp_path / "saved_model")
    x = np.ones((1, 2), "float32")
    served = tf.saved_model.load(str(tmp_path / "saved_model"))
    np.testing.assert_allclose(served.serve([x, x]), np.tanh(2 * x), atol=1e-6)


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
    gaaf_keras.export(model, tmp_path / "saved_model")
    served = tf.saved_model.load(str(tmp_path / "saved_model"))
    np.testing.assert_allclose(
        served.serve(x), model.predict(x, verbose=0), rtol=1e-5, atol=1e-5
    )
    assert "IdentityN" not in kinds_of_operations(str(tmp_path / "saved_model"))


def test_function_forms_are_plain_too(tmp_path):
    inputs = keras.Input((4,))
    outputs = keras.layers.Dense(3, activation=gaaf_keras.gaaf_tanh)(inputs)
    gaaf_keras.export(keras.Model(inputs, outputs), tmp_path / "saved_model")
    assert "IdentityN" not in kinds_of_operations(str(tmp_path / "saved_model"))


def test_a_file_is_replaced_when_asked(tmp_path):
    (tmp_path / "saved_model").touch()
    gaaf_keras.export(gaaf_model(), tmp_path / "saved_model", overwrite=True)
    assert (tmp_path / "saved_model" / "saved_model.pb").exists()


def test_nothing_is_overwritten_unless_asked(tmp_path):
    path = tmp_path / "saved_model"
    path.mkdir()
    (path / "keep").touch()
    with pytest.raises(FileExistsError, match="overwrite=True"):
        gaaf_keras.export(gaaf_model(), path)
    assert [file.name for file in path.iterdir()] == ["keep"]
    gaaf_keras.export(gaaf_model(), path, overwrite=True)
    assert not (path / "keep").exists()
    assert [file.name for file in tmp_path.iterdir()] == ["saved_model"]


def test_failure_leaves_nothing_behind(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises((OSError, tf.errors.OpError)):
        gaaf_keras.export(gaaf_model(), tmp_path / "file" / "saved_model")
    assert [file.name for file in tmp_path.iterdir()] == ["file"]


def test_model_without_inputs_is_refused(tmp_path):
    with pytest.raises(ValueError, match="`model`"):
        gaaf_keras.export(keras.Sequential([gaaf_keras.GAAFTanh()]), tmp_path / "m")


def stored(folder):
    """Shapes and bytes of what the file of variables holds."""
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
    gaaf_keras.export(model, tmp_path / "served", trainable=trainable)
    shapes, sizes, size = stored(tmp_path / "served")
    assert shapes == sorted(tuple(variable.shape) for variable in model.variables)
    assert sizes <= size < sizes + 20_000  # and what says how they are connected
    loaded = tf.saved_model.load(str(tmp_path / "served"))
    for name in ("variables", "trainable_variables", "non_trainable_variables"):
        ours, theirs = getattr(model, name), getattr(loaded, name)
        for variable, other in zip(ours, theirs, strict=True):
            np.testing.assert_array_equal(variable, other)
    for variable in loaded.trainable_variables:
        variable.assign(tf.zeros_like(variable))  # is what the endpoint uses
    assert not np.any(loaded.serve(np.ones((1, 300), "float32")))


def test_lookup_tables(tmp_path):
    words = keras.layers.TextVectorization(output_mode="multi_hot")
    words.adapt(["a good film", "a bad film"])
    inputs = keras.Input((), dtype="string", name="text")
    outputs = keras.layers.Dense(1, activation=gaaf_keras.GAAFTanh())(words(inputs))
    model = keras.Model(inputs, outputs)
    text = tf.constant(["good film", "unknown"])
    expected = model.predict(text, verbose=0)
    gaaf_keras.export(model, tmp_path / "served", trainable=True)
    program = LOOK_UP.format(folder=str(tmp_path / "served"))
    done = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True
    )
    served = np.array(done.stdout.split(), "float32").reshape(expected.shape)
    np.testing.assert_allclose(served, expected, atol=1e-6)


LOOK_UP = """
import sys
sys.modules["gaaf_keras"] = sys.modules["keras"] = None
import tensorflow as tf
loaded = tf.saved_model.load({folder!r})
text = tf.constant(["good film", "unknown"])
outputs = loaded.signatures["serving_default"](text=text)
for value in tf.reshape(list(outputs.values())[0], [-1]).numpy():
    print(value)
"""
