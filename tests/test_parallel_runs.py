"""Runs in several real processes at once, some of which are killed."""

import json
import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest

from experiments import TrainingConfig, UsageError
from experiments.devices import Strategy
from experiments.suites import parallel, plans, runs
from tests.processes import finished, history, start, train

TABLE = (
    *("--suite=digits", "--runs=1", "--hidden_units=16,8", "--epochs=4"),
    *("--noexport", "--noreport"),
)
VARIANTS = ("plain", "dropout", "GAAF")


def children(process):
    """Returns the training processes that a process has started."""
    tasks = Path(f"/proc/{process.pid}/task").glob("*/children")
    pids = [pid for task in tasks for pid in task.read_text().split()]
    return [int(pid) for pid in pids if b"spawn_main" in command_line(pid)]


def command_line(pid):
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except FileNotFoundError:
        return b""


def test_results_are_those_of_one_after_the_other(tmp_path):
    together = train(
        *TABLE, "--parallel_runs=2", "--output_dir=together", folder=tmp_path
    )
    assert together.returncode == 0, together.stderr
    given = {"hidden_units": (16, 8), "epochs": 4, "export": False}
    results = runs.run(plans.plan("digits", given, runs=1), tmp_path / "alone")
    assert results[-1].output_dir == tmp_path / "alone" / "GAAF" / "seed_0"
    assert not list(tmp_path.glob("*/*/*/saved_model"))
    for variant in VARIANTS:
        folder = f"{variant}/seed_0"
        one, other = tmp_path / "together" / folder, tmp_path / "alone" / folder
        np.testing.assert_allclose(history(one), history(other), rtol=1e-4)
    summaries = [
        json.loads((tmp_path / name / "summary.json").read_text())
        for name in ("together", "alone")
    ]
    for ours, theirs in zip(*(s["variants"] for s in summaries), strict=True):
        assert ours["name"] == theirs["name"]
        assert ours["test_accuracy"] == theirs["test_accuracy"]
    for variant in VARIANTS:
        assert f"{variant}, seed 0: test accuracy" in together.stdout


@pytest.mark.slow
def test_one_that_dies_does_not_take_the_others_along(tmp_path):
    flags = (*TABLE, "--parallel_runs=2", "--output_dir=table")
    process = start(*flags, "--epochs=300", "--patience=300", folder=tmp_path)
    deadline = time.monotonic() + 120
    while len(pids := children(process)) < 2 or not running(tmp_path / "table"):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    os.kill(pids[0], signal.SIGKILL)
    while children(process) in ([], pids, pids[1:]):  # until another takes its place
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    left = children(process)
    done = finished(process)
    assert done.returncode == 128 + signal.SIGTERM
    assert "FAILED: its process ended with SIGKILL" in done.stdout
    assert all(not command_line(pid) for pid in left)
    refused = train(*flags, folder=tmp_path)
    assert "holds a run with other flags: epochs was 300" in refused.stderr


def running(folder):
    return any(folder.glob("*/*/history.csv"))


@pytest.mark.slow
def test_a_failure_is_told_at_the_end_and_the_rest_is_complete(tmp_path):
    small = {"hidden_units": (4,), "epochs": 1, "train_examples": 200, "export": False}
    unwritable = tmp_path / "file"
    unwritable.write_text("")
    folders = [tmp_path / "a", unwritable, tmp_path / "b"]
    runs = [
        (path.name, TrainingConfig(**small, output_dir=str(path))) for path in folders
    ]
    found = {}
    for index, message in parallel.train_all(runs, 2):
        found.setdefault(index, []).append(message)
    assert isinstance(found[1][-1], parallel.Failure)
    assert "cannot be written to" in found[1][-1].reason
    for index in (0, 2):
        assert isinstance(found[index][0], parallel.Progress)
        assert found[index][-1].epochs_run == 1
        assert (folders[index] / "result.json").is_file()


def test_how_many_processes():
    cores = len(os.sched_getaffinity(0))
    one = Strategy(["/device:CPU:0"])
    assert parallel.processes_for("auto", 100, one) == cores
    assert parallel.processes_for("auto", 1, one) == 1
    assert parallel.processes_for("3", 100, one) == 3
    assert parallel.processes_for("auto", 100, Strategy(["/device:GPU:0"])) == 1
    two = Strategy(["cpu:0", "cpu:1"])
    assert parallel.processes_for("auto", 100, two) == 1
    with pytest.raises(UsageError, match=r"parallel_runs .* 2 replicas"):
        parallel.processes_for(2, 100, two)


def test_cores_are_divided():
    cores = os.sched_getaffinity(0)
    shares = parallel._shares(len(cores))
    assert [len(share) for share in shares] == [1] * len(cores)
    assert set().union(*shares) == cores
    assert parallel._shares(1) == [cores]
    assert parallel._shares(len(cores) + 1) == [cores] * (len(cores) + 1)
