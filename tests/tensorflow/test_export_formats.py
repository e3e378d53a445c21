"""Exports in all formats, opened where this package and Keras are not."""

import keras
import numpy as np
import pytest

import gaaf_keras
from gaaf_keras import GAAF, accelerate, gaaf
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


@pytest.mark.parametrize("kind", ["saved_model", "litert", "onnx"])
def test_the_plain_models_operations(kind, tmp_path):
    name = f"plain{SUFFIXES[kind]}"
    gaaf_keras.export(network(lambda name: name), tmp_path / name, kind)
    plain = operations(kind, tmp_path / name)
    assert len(plain) > 5
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
        (entry["activation"], entry["shape"], entry["strength"])
        for entry in said["accelerated"]
    ] == [
        ("relu", "ShiftedSigmoid(slope=5.0, shift=0.5)", 0.5),
        ("tanh", "Gaussian(width=2.0)", 0.5),
        ("gelu", "ShiftedSigmoid(slope=5.0, shift=1.1)", 0.5),
    ]


def test_keras_file_is_the_plain_model(tmp_path):
    plain = network(lambda name: name)
    plain.compile("sgd", "mse")
    model = accelerate(plain, verbose=False)
    gaaf_keras.export(model, tmp_path / "model.keras", "keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert loaded.to_json() == plain.to_json()
    assert loaded.compiled


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_gelu_in_onnx(dtype, tmp_path):
    import onnxruntime

    inputs = keras.Input((4,), dtype=dtype)
    dense = LAYERS.Dense(5, activation=GAAF("gelu"), dtype=dtype)
    model = keras.Model(inputs, dense(inputs))
    gaaf_keras.export(model, tmp_path / "model.onnx", "onnx")
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    x = np.random.default_rng(0).normal(size=(3, 4)).astype(dtype)
    (y,) = session.run(None, {session.get_inputs()[0].name: x})
    np.testing.assert_allclose(y, model.predict(x, verbose=0), atol=2e-3)


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("model", {"format": "tflite"}, "`format` must be one of 'saved_model', 'lit"),
        ("model", {"format": "onnx"}, "must end in '.onnx' for format 'onnx'"),
        ("model", {"format": "litert"}, "must end in '.tflite'"),
        ("m.onnx", {"format": "onnx", "trainable": True}, "`trainable` must be False"),
        ("m.keras", {"format": "keras", "trainable": True}, "use `model.save`"),
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
    with pytest.raises(ImportError, match=r"needs tf2onnx: pip install 'gaaf-keras\["):
        gaaf_keras.export(network(GAAF), tmp_path / "model.onnx", "onnx")
