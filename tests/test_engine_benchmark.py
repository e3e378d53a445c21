"""benchmarks/engine.py: its hand-written loops learn, and are timed."""

import importlib
import json
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

from experiments import TrainingConfig
from experiments.data import datasets

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"


@pytest.fixture(scope="module")
def engine():
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.syspath_prepend(str(BENCHMARKS))
        yield importlib.import_module("engine")
        del sys.modules["engine"]


@pytest.mark.parametrize(
    "settings",
    [
        {"activation": "tanh"},
        {"model": "cnn", "width": 4, "activation": "relu", "batch_norm": True}
        | {"optimizer": "momentum", "precision": "mixed_bfloat16"},
    ],
    ids=["mlp", "cnn"],
)
def test_networks_by_hand_learn_what_those_of_keras_learn(engine, settings):
    config = TrainingConfig(batch_size=64, learning_rate=0.05, **settings)
    data = datasets.load("digits")
    loop = engine.loop([config], data)
    losses, accuracies = zip(
        *[np.ravel(loop.epoch())[[2, 3]] for _ in range(6)], strict=True
    )
    assert losses[-1] < losses[0]
    assert accuracies[-1] > 0.6


def test_a_ratio_is_printed_and_written(engine, tmp_path, capsys):
    path = tmp_path / "numbers.json"
    engine.main(["--network=digits", "--epochs=1", "--rounds=2", f"--json={path}"])
    (found,) = json.loads(path.read_text())["results"]
    assert found["ratio"] == pytest.approx(
        found["by_hand_ms_an_epoch_a_run"] / found["ms_an_epoch_a_run"], rel=0.5
    )
    assert f"{found['ratio']:.2f}" in capsys.readouterr().out


@pytest.mark.skipif(keras.backend.backend() != "jax", reason="one at a time elsewhere")
def test_runs_by_hand_train_at_once_as_they_train_alone(engine):
    data = datasets.load("digits")
    configs = [
        TrainingConfig(learning_rate=rate, seed=seed, batch_size=64, hidden_units=(16,))
        for rate, seed in ((0.1, 0), (0.02, 1))
    ]
    at_once = np.array(engine.loop(configs, data).epoch())
    alone = [np.array(engine.loop([each], data).epoch()) for each in configs]
    np.testing.assert_allclose(at_once.T, alone, rtol=1e-4)
