"""train.py where TensorFlow is not installed: on JAX and PyTorch."""

import json
import os
import subprocess
import sys
from pathlib import Path

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
    assert f"On {backend} neither SavedModels nor TensorBoard" in done.stdout


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
    assert "train.py: Keras is to run on tensorflow, which is not ins" in done.stderr
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


COMPARED = """
import sys
import numpy as np, keras
from experiments import TrainingConfig, train_and_evaluate
from experiments.devices.jax import JaxStrategy

class Stop(keras.callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):
        if epoch == 1:
            raise KeyboardInterrupt

def outcome(folder, *, resumed=False, **given):
    given = {"hidden_units": (16, 16), "epochs": 4, "batch_size": 63, **given}
    config = TrainingConfig(**given, output_dir=folder)
    if resumed:
        try:
            train_and_evaluate(config, [Stop()])
        except KeyboardInterrupt:
            pass
    result = train_and_evaluate(config)
    history = [{**row, "seconds": 0} for row in result.history]
    if result.diverged:  # an epoch on the device ends all the same
        history = history[:-1]
    flow = open(f"{folder}/gradient_flow.csv").read()
    return history, result.diverged_at, flow, result.model.get_weights()

on_device = JaxStrategy._compiles
for number, given in enumerate([
    {"dropout": 0.3, "batch_norm": True, "gradient_flow": 7},
    {"augment": True, "acceleration_schedule": "linear"},
    {"precision": "mixed_float16", "learning_rate_schedule": "cosine"},
    {"activation": "relu", "learning_rate": 1e4},
    {"strength": 0.3, "learning_rate_schedule": "step", "weight_decay": 0.01},
    {"unit_gain": True, "warm_up_epochs": 1, "label_smoothing": 0.1, "dropout": 0.1},
]):
    one = outcome(f"device{number}", resumed=number < 2, **given)
    JaxStrategy._compiles = lambda *_: False
    other = outcome(f"fit{number}", **given)
    JaxStrategy._compiles = on_device
    # Inputs of the program where fit has constants: a division, a product.
    exact = given.get("dropout") != 0.3 and "weight_decay" not in given
    if exact:
        assert repr(one[:3]) == repr(other[:3]), (given, one[:2], other[:2])
    assert one[1] == other[1]
    for ours, theirs in zip(one[3], other[3], strict=True):
        np.testing.assert_allclose(ours, theirs, *((0, 0) if exact else (1e-4, 1e-6)))
print("the same")
"""


def test_epochs_on_the_device_are_those_of_fit(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", COMPARED],
        cwd=tmp_path,
        env={
            **os.environ,
            "KERAS_BACKEND": "jax",
            "PYTHONPATH": str(Path(__file__).parent.parent),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "the same\n", done.stderr
