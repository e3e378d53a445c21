"""Epochs on the device equal those of `keras.Model.fit`, number by number."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.test_backends import ALL_BACKENDS

COMPARED = """
from pathlib import Path
import keras
import numpy as np
from experiments import TrainingConfig, devices, train_and_evaluate
from experiments.devices.base import Strategy
from experiments.training import recorder

recorder._MOST_SECONDS_BETWEEN_SAVES = 0.0  # each epoch can be resumed from

class Stop(keras.callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):
        if epoch == 1:
            raise KeyboardInterrupt

def outcome(folder, *, resumed=False, **given):
    given = {"hidden_units": (16, 16), "epochs": 3, "batch_size": 63, **given}
    on_tensorflow = keras.backend.backend() == "tensorflow"
    export = False if on_tensorflow else None
    config = TrainingConfig(**given, output_dir=folder, export=export)
    if resumed:
        try:
            train_and_evaluate(config, [Stop()])
        except KeyboardInterrupt:
            pass
    result = train_and_evaluate(config)
    history = [{**row, "seconds": 0} for row in result.history]
    if result.diverged:  # an epoch on the device ends all the same
        history = history[:-1]
    flow = Path(folder, "gradient_flow.csv")
    flow = flow.read_text() if flow.exists() else ""  # an LSTM is not looked into
    return history, result.diverged_at, flow, result.model.get_weights()

strategy = type(devices.get(TrainingConfig()))
on_device = {name: getattr(strategy, name) for name in ("fit", "accuracy")}
assert on_device["fit"] is not Strategy.fit
for number, given in enumerate([
    {"dropout": 0.3, "batch_norm": True, "gradient_flow": 7},
    {
        **{"augment": True, "acceleration_schedule": "linear"},
        **{"precision": "mixed_float16", "learning_rate_schedule": "cosine"},
    },
    {"model": "cnn", "width": 2, "epochs": 1, "train_examples": 200},
    {"model": "lstm", "width": 4, "epochs": 1, "dropout": 0.1, "strength": 0.3},
    {"seed": 1, "learning_rate": 0.1, "epochs": 1},
    {"seed": 2, "learning_rate": 0.2, "epochs": 2},  # the programs of the run before
    {"strength": 0.3, "learning_rate_schedule": "step", "weight_decay": 0.01},
    {"precision": "mixed_float16", "dropout": 0.2, "epochs": 2},
    {"unit_gain": True, "warm_up_epochs": 1, "label_smoothing": 0.1, "dropout": 0.1},
]):
    one = outcome(f"device{number}", resumed=number < 2, **given)
    for name in on_device:
        setattr(strategy, name, getattr(Strategy, name))
    other = outcome(f"fit{number}", **given)
    for name, method in on_device.items():
        setattr(strategy, name, method)
    # On JAX numbers that fit has as constants are inputs: a division, a product.
    inputs = "dropout" in given or "weight_decay" in given
    exact = keras.backend.backend() != "jax" or not (inputs or "model" in given)
    if exact:
        assert repr(one[:3]) == repr(other[:3]), (given, one[:2], other[:2])
    assert one[1] == other[1]
    for ours, theirs in zip(one[3], other[3], strict=True):
        np.testing.assert_allclose(ours, theirs, *((0, 0) if exact else (1e-4, 1e-6)))
print("the same")
"""


@pytest.mark.parametrize(
    "backend",
    [
        "tensorflow",
        "jax",
        pytest.param("torch", marks=[*ALL_BACKENDS[1].marks, pytest.mark.slow]),
    ],
)
def test_epochs_on_the_device_are_those_of_fit(backend, tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", COMPARED],
        cwd=tmp_path,
        env={
            **os.environ,
            "KERAS_BACKEND": backend,
            "PYTHONPATH": str(Path(__file__).parent.parent),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "the same\n", done.stderr
