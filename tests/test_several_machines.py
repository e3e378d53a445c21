"""Several workers: real processes on this machine."""

import os
import subprocess
import sys

import numpy as np
import pytest

from experiments import WorkerLostError
from experiments.devices import multi_worker, rendezvous
from tests.processes import (
    clusters,
    finished,
    history,
    start,
    train,
    wait_for_epochs,
)

TRAINING = (
    *("--hidden_units=16,16", "--batch_size=60", "--batch_norm", "--noexport"),
    *("--learning_rate=0.05", "--acceleration_schedule=linear", "--gradient_flow=19"),
)


def start_workers(count, *flags, folder):
    return [
        start(*flags, folder=folder, TF_CONFIG=config) for config in clusters(count)
    ]


def test_two_workers_train_like_one_device_though_one_dies(tmp_path):
    flags = (*TRAINING, "--epochs=8")
    path = tmp_path / "two" / "history.csv"
    workers = start_workers(2, *flags, "--output_dir=two", folder=tmp_path)
    wait_for_epochs(path, 2, workers[0])
    workers[1].kill()
    lost = finished(workers[0])
    workers[1].communicate()
    assert lost.returncode == 75
    assert "train.py: Another worker has stopped or cannot be reached." in lost.stderr
    assert "Traceback" not in lost.stderr
    assert 2 <= len(history(path.parent)) < 8
    workers = start_workers(2, *flags, "--output_dir=two", folder=tmp_path)
    alone = train(*flags, "--output_dir=one", folder=tmp_path)
    chief, other = map(finished, workers)
    assert [chief.returncode, other.returncode, alone.returncode] == [0, 0, 0]
    assert "resumed after epoch" in chief.stdout
    assert other.stdout == ""  # one tells, and one writes
    assert {p.name for p in tmp_path.iterdir()} == {"one", "two"}
    expected = history(tmp_path / "one")
    np.testing.assert_allclose(history(path.parent), expected, rtol=1e-5)
    flows = [
        np.genfromtxt(tmp_path / name / "gradient_flow.csv", delimiter=",")[1:, 2:]
        for name in ("one", "two")
    ]
    assert flows[0].shape == (2 * 8, 4)  # two layers, once in each of eight epochs
    np.testing.assert_allclose(*flows, rtol=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("victim", [0, 2])
def test_three_workers(victim, tmp_path):
    flags = (*TRAINING, "--epochs=12", "--optimizer=momentum")
    workers = start_workers(3, *flags, "--output_dir=three", folder=tmp_path)
    wait_for_epochs(tmp_path / "three" / "history.csv", 2, workers[0])
    workers[victim].terminate()
    codes = [finished(worker).returncode for worker in workers]
    assert codes == [143 if i == victim else 75 for i in range(3)]
    workers = start_workers(3, *flags, "--output_dir=three", folder=tmp_path)
    assert [finished(worker).returncode for worker in workers] == [0, 0, 0]
    assert train(*flags, "--output_dir=one", folder=tmp_path).returncode == 0
    expected = history(tmp_path / "one")
    np.testing.assert_allclose(history(tmp_path / "three"), expected, rtol=1e-5)


@pytest.mark.slow
def test_a_finished_training_and_other_flags(tmp_path):
    flags = (*TRAINING, "--epochs=2", "--output_dir=new")
    for printed in ("test accuracy", "finished earlier"):
        workers = start_workers(2, *flags, folder=tmp_path)
        chief, other = map(finished, workers)
        assert (chief.returncode, other.returncode) == (0, 0), chief.stderr
        assert printed in chief.stdout
    workers = start_workers(2, *flags, "--seed=1", folder=tmp_path)
    for done in map(finished, workers):
        assert done.returncode == 1
        assert "train.py: output_dir 'new' holds a run with other" in done.stderr


@pytest.mark.slow
def test_tasks_of_slurm(tmp_path):
    task = {
        "SLURM_STEP_NUM_TASKS": "2",
        "SLURM_STEP_NODELIST": "localhost",
        "SLURM_STEP_TASKS_PER_NODE": "2",
    }
    workers = [
        start(
            *(*TRAINING, "--epochs=2", "--output_dir=new"),
            **{**task, "SLURM_PROCID": str(number), "SLURM_LOCALID": str(number)},
            folder=tmp_path,
        )
        for number in range(2)
    ]
    assert [finished(worker).returncode for worker in workers] == [0, 0]
    assert len(history(tmp_path / "new")) == 2


# Trains with only one of the two places in Keras mended, or both.
PARTLY_MENDED = """
import sys
from keras.src.backend.tensorflow import trainer
from experiments import TrainingConfig, devices, train_and_evaluate

config = TrainingConfig(epochs=1, hidden_units=(4,), batch_size=60)
devices.get(config)
keep = {
    "build": (trainer.TensorFlowTrainer, "_maybe_symbolic_build"),
    "metrics": (trainer, "reduce_per_replica"),
}
if sys.argv[1] in keep:
    owner, name = keep[sys.argv[1]]
    original = getattr(owner, name)
    class Unchanged(type(sys)):
        pass
    import contextlib
    from experiments.devices import multi_worker
    mended = multi_worker._keras_issue_20585_worked_around
    @contextlib.contextmanager
    def partly():
        with mended():
            setattr(owner, name, original)
            yield
    multi_worker._keras_issue_20585_worked_around = partly
try:
    train_and_evaluate(config)
except Exception as error:
    print("FAILED", type(error).__name__, flush=True)
    import os
    os._exit(0)  # the other worker waits for this one
print("TRAINED")
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("unchanged", "outcome"),
    [("build", "FAILED"), ("metrics", "FAILED"), ("", "TRAINED")],
)
def test_keras_issue_20585_is_still_there(unchanged, outcome, tmp_path):
    """If this fails with "TRAINED", that part of the workaround can be removed."""
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", PARTLY_MENDED, unchanged],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "TF_CONFIG": config},
        )
        for config in clusters(2)
    ]
    printed = [finished(worker).stdout for worker in workers]
    assert all(outcome in text for text in printed), printed


def test_workers_that_do_not_come_are_named():
    addresses = ["127.0.0.1:1", "127.0.0.1:2"]
    with pytest.raises(WorkerLostError, match=r"Worker 1 waited for 0 \(127.0.0.1:1\)"):
        rendezvous.meet(addresses, own=1, seconds=0.2)


@pytest.mark.parametrize(
    ("written", "number"),
    [
        ("{}", None),
        ('{"cluster": {}}', None),
        (
            '{"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": 0}}',
            None,
        ),
        (
            '{"cluster": {"master": ["a:1"], "worker": ["b:1"]},'
            ' "task": {"type": "worker", "index": 0}}',
            1,
        ),
    ],
)
def test_what_describes_a_cluster(written, number, monkeypatch):
    monkeypatch.setenv("TF_CONFIG", written)
    cluster = multi_worker.find_cluster()
    assert (cluster is None) == (number is None)
    if cluster is not None:
        assert multi_worker._own_number(cluster) == number
