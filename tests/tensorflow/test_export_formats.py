"""Exports in all formats, opened without this package and Keras."""

import keras
import numpy as np
import pytest

import gaaf_keras
from gaaf_keras import GAAF, gaaf
from tests.tensorflow.exports import (
    LAYERS,
    SUFFIXES,
    WAYS,
    images,
    metadata,
    network,
    operations,
    served,
)


@pytest.mark.parametrize("kind", SUFFIXES)
def test_served_elsewhere(kind, tmp_path):
    model = network(GAAF)
    for weight in model.weights:  # moving averages among them
        weight.assign(
            weight + 0.1 * np.random.default_rng(1).uniform(size=weight.shape)
        )
    path = tmp_path / f"model{SUFFIXES[kind]}"
    assert gaaf_keras.export(model, path, kind) == path
    assert [file.name for file in tmp_path.iterdir()] == [path.name]
    x = images()
    expected = model.predict(x, verbose=0)
    np.testing.assert_allclose(served(kind, path, x), expected, atol=1e-5)


@pytest.mark.parametrize("kind", ["tf_saved_model", "litert", "onnx"])
def test_the_plain_models_operations(kind, tmp_path):
    name = f"plain{SUFFIXES[kind]}"
    gaaf_keras.export(network(lambda name: name), tmp_path / name, kind)
    plain = operations(kind, tmp_path / name)
    assert len(plain) > 5
    assert "IdentityN" not in plain
    for way, make in WAYS.items():
        path = tmp_path / f"{way}{SUFFIXES[kind]}"
        gaaf_keras.export(make(), path, kind)
        assert operations(kind, path) == plain, way


@pytest.mark.parametrize("kind", SUFFIXES)
def test_metadata(kind, tmp_path):
    model = network(lambda name: gaaf(name, strength=0.5))
    path = tmp_path / f"model{SUFFIXES[kind]}"
    gaaf_keras.export(model, path, kind)
    said = metadata(kind, path)
    assert said["gaaf_keras"] == gaaf_keras.__version__
    assert (said["model"], said["format"], said["trainable"]) == ("small", kind, False)
    assert [
        (entry["activation"], entry["shape_function"], entry["strength"])
        for entry in said["accelerated"]
    ] == [
        ("relu", "ShiftedSigmoid(slope=5.0, shift=0.5)", 0.5),
        ("tanh", "Gaussian(width=2.0)", 0.5),
        ("gelu", "ShiftedSigmoid(slope=5.0, shift=1.1)", 0.5),
    ]


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("served/1", "tf_saved_model"),
        ("m.tflite", "litert"),
        ("m.onnx", "onnx"),
        ("m.keras", "keras"),
    ],
)
def test_the_suffix_says_which_format(name, kind, tmp_path):
    model = keras.Sequential([keras.Input((2,)), LAYERS.Dense(1), GAAF("tanh")])
    path = gaaf_keras.export(model, str(tmp_path / name))
    assert metadata(kind, path)["format"] == kind


def test_a_saved_model_may_have_a_version_in_its_name(tmp_path):
    model = keras.Sequential([keras.Input((2,)), LAYERS.Dense(1), GAAF("tanh")])
    with pytest.raises(ValueError, match="only if `format` is given"):
        gaaf_keras.export(model, tmp_path / "model-1.2")
    gaaf_keras.export(model, tmp_path / "model-1.2", "tf_saved_model")
    assert metadata("tf_saved_model", tmp_path / "model-1.2")["accelerated"]


def test_arguments_in_the_wrong_order(tmp_path):
    model = keras.Sequential([keras.Input((2,)), LAYERS.Dense(1)])
    with pytest.raises(TypeError, match=r"`model` and `path`.*in this order.*m.onnx"):
        gaaf_keras.export(str(tmp_path / "m.onnx"), model)
    with pytest.raises(TypeError, match=r"in this order. Received: .*path=None"):
        gaaf_keras.export(model, None)


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_gelu_in_onnx(dtype, tmp_path):
    inputs = keras.Input((4,), dtype=dtype)
    dense = LAYERS.Dense(5, activation=GAAF("gelu"), dtype=dtype)
    model = keras.Model(inputs, dense(inputs))
    path = gaaf_keras.export(model, tmp_path / "model.onnx", "onnx")
    x = np.random.default_rng(0).normal(size=(3, 4)).astype(dtype)
    y = served("onnx", path, x)
    np.testing.assert_allclose(y, model.predict(x, verbose=0), atol=2e-3)


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("model", {"format": "tflite"}, r"This one is called 'litert'.*'tflite'"),
        ("model", {"format": "saved_model"}, "This one is called 'tf_saved_model'"),
        ("model", {"format": "h5"}, "`format` must be one of .'tf_saved_model', 'li"),
        (
            "model.h5",
            {},
            r"must have the suffix of the format: .*model.h5', format=None",
        ),
        ("m.onnx", {"format": "tf_saved_model"}, "none for 'tf_saved_model'"),
        ("m.onnx", {"format": "litert"}, r"'.tflite' for 'litert'.*m.onnx"),
        ("model", {"format": "onnx"}, r"'.onnx' for 'onnx'.*model', format='onnx'"),
        ("m.onnx", {"format": "onnx", "trainable": True}, "`trainable` must be False"),
        ("m.keras", {"format": "keras", "trainable": True}, "use `model.save`"),
        ("m.keras", {"input_signature": 5}, "must be left out.*input_signature=5"),
    ],
)
def test_mistakes(name, arguments, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        gaaf_keras.export(network(GAAF), tmp_path / name, **arguments)
    assert list(tmp_path.iterdir()) == []


def test_operations_that_onnx_has_not(tmp_path):
    inputs = keras.Input((4,))
    model = keras.Model(inputs, keras.ops.erfinv(LAYERS.Dense(2)(inputs)))
    with pytest.raises(ValueError, match=r"cannot be exported to ONNX.*SavedModel"):
        gaaf_keras.export(model, tmp_path / "model.onnx", "onnx")
    assert list(tmp_path.iterdir()) == []


def test_missing_packages_are_named(tmp_path, monkeypatch):
    found = lambda name: None if name == "tf2onnx" else object()  # noqa: E731
    monkeypatch.setattr("importlib.util.find_spec", found)
    with pytest.raises(ImportError, match=r"needs tf2onnx: pip install tf2onnx$"):
        gaaf_keras.export(network(GAAF), tmp_path / "model.onnx", "onnx")
