"""train.py where TensorFlow is not installed: on JAX and PyTorch."""

import json

import numpy as np
import pytest

from tests.processes import history, train
from tests.test_backends import ALL_BACKENDS

NO_TENSORFLOW = "tensorflow,tensorflow_datasets,tensorboard"


def train_on(backend, *flags, data, folder):
    flags = ("--epochs=4", "--hidden_units=32", "--batch_size=60", *flags)
    done = train(
        *(f"--dataset={data}", "--batch_norm", *flags),
        folder=folder,
        without=NO_TENSORFLOW,
        KERAS_BACKEND=backend,
    )
    assert done.returncode == 0, done.stderr
    assert f"On {backend}, neither SavedModels nor TensorBoard" in done.stdout


@pytest.mark.parametrize(
    "backend",
    ["jax", pytest.param("torch", marks=[*ALL_BACKENDS[1].marks, pytest.mark.slow])],
)
def test_own_arrays(backend, digits_as_mnist, tmp_path):
    train_on(backend, "--output_dir=one", data=digits_as_mnist, folder=tmp_path)
    assert {path.name for path in (tmp_path / "one").iterdir()} == {
        *("config.json", "history.csv", "model.keras", "result.json"),
        "gradient_flow.csv",
    }
    result = json.loads((tmp_path / "one" / "result.json").read_text())
    assert result["test_accuracy"] > 0.8
    if backend == "jax":
        several = ("--strategy=mirrored", "--logical_devices=2", "--output_dir=two")
        train_on(backend, *several, data=digits_as_mnist, folder=tmp_path)
        config = json.loads((tmp_path / "two" / "config.json").read_text())
        assert config["resolved"]["devices"] == ["cpu:0", "cpu:1"]
        expected = history(tmp_path / "one")
        np.testing.assert_allclose(history(tmp_path / "two"), expected, rtol=1e-5)


def test_a_backend_that_is_missing_is_named(tmp_path):
    done = train(folder=tmp_path, without="tensorflow", KERAS_BACKEND="tensorflow")
    assert done.returncode == 1
    assert "train.py: Keras is set to run on tensorflow, which is not" in done.stderr
    assert "Traceback" not in done.stderr


def test_what_needs_tensorflow_says_so(tmp_path):
    done = train(
        *("--dataset=mnist", "--histograms"),
        folder=tmp_path,
        without=NO_TENSORFLOW,
        KERAS_BACKEND="jax",
    )
    assert done.returncode == 1
    assert "train.py: histograms needs Keras on TensorFlow" in done.stderr
