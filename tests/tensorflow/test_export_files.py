"""Exports on disk: where they are, and what remains when something goes wrong."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

import gaaf_keras
from gaaf_keras import GAAF
from tests.tensorflow.exports import LAYERS, network


def test_the_old_export_comes_back_if_the_new_cannot_be_moved(tmp_path, monkeypatch):
    path = tmp_path / "model"
    path.mkdir()
    (path / "old").touch()
    rename = Path.rename

    def fail(self, target):
        if Path(target) == path and "unfinished" in str(self) and self.name == "model":
            raise KeyboardInterrupt
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", fail)
    with pytest.raises(KeyboardInterrupt):
        gaaf_keras.export(network(GAAF), path, overwrite=True)
    assert [file.name for file in tmp_path.iterdir()] == ["model"]
    assert [file.name for file in path.iterdir()] == ["old"]


def test_paths(tmp_path, monkeypatch):
    model = keras.Sequential([keras.Input((2,)), LAYERS.Dense(1, activation="tanh")])
    with pytest.raises(ValueError, match="must be a local path"):
        gaaf_keras.export(model, "gs://bucket/model")
    (tmp_path / "a" / "b").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "a")
    written = gaaf_keras.export(model, "b/../c d/", overwrite=True)
    assert written == tmp_path / "a" / "c d"
    assert (written / "saved_model.pb").exists()
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    with pytest.raises(FileExistsError):
        gaaf_keras.export(model, tmp_path / "link")


# Exports again and again over the same path, and kills itself at a step of the last.
EXPORT = """
import os, signal, sys
import keras
import gaaf_keras
path, event, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1, activation="tanh")])
model.set_weights([keras.ops.ones((2, 1)), keras.ops.zeros(1)])
gaaf_keras.export(model, path)
model.set_weights([2 * keras.ops.ones((2, 1)), keras.ops.zeros(1)])
seen = 0
def kill(name, arguments):
    global seen
    if name == event:
        seen += 1
        if seen != count:
            return
        os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(kill)
print("started", flush=True)
while True:
    gaaf_keras.export(model, path, overwrite=True)
    if event == "never":
        print("done", flush=True)
"""


@pytest.mark.parametrize(
    ("name", "event", "count", "left"),
    [
        ("model", "os.rename", 1, "old"),  # before the old one is put aside
        ("model", "os.rename", 2, "none"),  # before the new one takes its place
        pytest.param("model.keras", "os.rename", 1, "old", marks=pytest.mark.slow),
        pytest.param("model", "shutil.rmtree", 1, "new", marks=pytest.mark.slow),
        pytest.param("model", "os.mkdir", 1, "old", marks=pytest.mark.slow),
        pytest.param("model", "never", 0, "any", marks=pytest.mark.slow),
        pytest.param("model.keras", "never", 0, "any", marks=pytest.mark.slow),
    ],
)
def test_killed_while_exporting(name, event, count, left, tmp_path):
    path = tmp_path / name
    program = [sys.executable, "-c", EXPORT, str(path), event, str(count)]
    with subprocess.Popen(program, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "started\n"
        if event == "never":
            time.sleep(0.1 + 0.4 * np.random.default_rng().random())
            process.send_signal(signal.SIGKILL)
        assert process.wait(timeout=120) == -signal.SIGKILL
    if left == "none":
        assert not path.exists()
        return
    if left == "any" and not path.exists():
        assert name == "model"  # a file is replaced in one step
        return
    x = np.float32([[0.5, 0.5]])
    if name.endswith(".keras"):
        (value,) = np.ravel(keras.saving.load_model(path)(x))
    else:
        loaded = tf.saved_model.load(str(path))
        (value,) = np.ravel(loaded.serve(x))
    outcomes = {"old": [np.tanh(1.0)], "new": [np.tanh(2.0)]}
    outcomes["any"] = outcomes["old"] + outcomes["new"]
    assert np.min(np.abs(np.subtract(outcomes[left], value))) < 1e-6
