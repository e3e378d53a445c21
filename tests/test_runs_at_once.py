"""Many runs that train at once on JAX, each as if alone."""

import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from experiments import TrainingConfig, UsageError
from experiments.data import datasets
from experiments.devices import Strategy
from experiments.suites import plans, runs
from tests.processes import history, train

ROOT = Path(__file__).parent.parent

# Runs of one kind that differ in all that they may; some stop early, some diverge.
SCRIPT = """
import sys
from pathlib import Path
from experiments import TrainingConfig
from experiments.suites.plans import Plan
from experiments.suites.runs import run

folder, at_once, epochs = sys.argv[1:]
common = {
    "hidden_units": (16, 16), "epochs": int(epochs), "batch_size": 63,
    "patience": max(4, int(epochs) // 10),
    "gradient_flow": 7, "dropout": 0.2, "weight_decay": 1e-4, "learning_rate": 0.05,
    "augment": True, "learning_rate_schedule": "cosine",
}
others = [
    {}, {"learning_rate": 0.1}, {"strength": 0.3}, {"dropout": 0.4},
    {"weight_decay": 1e-3}, {"learning_rate": 1e5},
]
variants = {
    f"v{number}": TrainingConfig(**{**common, **other}, variant=f"v{number}")
    for number, other in enumerate(others)
}
run(Plan("Runs at once", variants, runs=2), Path(folder), 1, int(at_once))
"""


def start(folder, at_once, epochs=10):
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT, folder, str(at_once), str(epochs)],
        env={
            **os.environ,
            "KERAS_BACKEND": "jax",
            "PYTHONPATH": str(ROOT),
            "XLA_FLAGS": "--xla_force_host_platform_device_count=2",
        },
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def ended(process):
    out, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    return out


def assert_same(folder, other, epochs=10):
    """Compares the runs of two folders to rounding, which training amplifies."""
    paths = sorted(folder.glob("v*/seed_*"))
    assert len(paths) == 12
    stopped = diverged = 0
    for path in paths:
        twin = other / path.relative_to(folder)
        ours, theirs = (
            json.loads((each / "result.json").read_text()) for each in (path, twin)
        )
        for key in ("seconds", "runs_at_once"):
            del ours[key], theirs[key]
        assert ours == theirs, path
        diverged += ours["diverged_at"] is not None
        stopped += ours["epochs_run"] < epochs and not ours["diverged_at"]
        rows = history(path)[: ours["best_epoch"] if ours["diverged_at"] else None]
        np.testing.assert_allclose(rows, history(twin)[: len(rows)], rtol=1e-4)
        flows = [
            np.genfromtxt(each / "gradient_flow.csv", delimiter=",", skip_header=1)
            for each in (path, twin)
        ]
        if not ours["diverged_at"]:
            np.testing.assert_allclose(*flows, rtol=1e-3)
    assert diverged == 2
    assert stopped > 0, "or the test would not show that each stops by itself"


def test_runs_at_once_on_two_devices_are_those_of_each_alone(tmp_path):
    alone, together = start(tmp_path / "alone", 1), start(tmp_path / "together", 12)
    printed = ended(together)
    assert "[12/12] v5, seed 1: test accuracy" in printed
    ended(alone)
    assert_same(tmp_path / "together", tmp_path / "alone")


def test_a_table_in_short_slots_comes_to_its_end(tmp_path):
    """Runs too short for a timed save, on a machine that may be slow for a while."""
    flags = (
        *("--dataset=digits", "--hidden_units=16", "--epochs=4000", "--patience=4000"),
        *("--gradient_flow=0", "--runs=40", "--runs_at_once=40", "--output_dir=table"),
    )
    reached = []
    while len(set(reached) - {0}) < 2 and len(reached) < 6:
        done = train(*flags, "--time_limit=14", folder=tmp_path, KERAS_BACKEND="jax")
        assert done.returncode == 142, done.stderr
        assert "stopped by the time limit" in done.stderr
        folders = [tmp_path / "table" / f"seed_{seed}" for seed in range(40)]
        begun = all((folder / "history.csv").exists() for folder in folders)
        reached.append(min(len(history(f)) for f in folders) if begun else 0)
    assert len(set(reached) - {0}) == 2
    assert reached == sorted(reached)


def test_what_cannot_train_at_once_is_refused(tmp_path):
    config = TrainingConfig()
    strategy, data = Strategy(["cpu:0"]), datasets.load("digits")
    assert strategy.runs_at_once("auto", config, data) == 1
    assert strategy.runs_at_once("1", config, data) == 1
    with pytest.raises(UsageError, match=r"runs_at_once needs Keras on JAX"):
        strategy.runs_at_once("2", config, data)
    plan = plans.plan(None, {}, runs=2)
    with pytest.raises(UsageError, match=r"cannot be combined.*Received: 2 and 3"):
        runs.run(plan, tmp_path, 2, "3")
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_killed_at_ten_random_moments(tmp_path):
    folder = tmp_path / "parts"
    resumed = 0
    for _ in range(10):
        process = start(folder, 12, epochs=300)
        time.sleep(random.uniform(8, 14))
        process.kill()
        resumed += "resumed after epoch" in process.communicate()[0]
    resumed += "resumed after epoch" in ended(start(folder, 12, epochs=300))
    assert resumed > 0, "or it was never killed in the middle"
    ended(start(tmp_path / "alone", 1, epochs=300))
    assert_same(folder, tmp_path / "alone", epochs=300)
