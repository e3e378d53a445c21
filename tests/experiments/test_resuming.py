"""Training that resumes as if it had never stopped, and only if it is the same."""

import json
import shutil

import keras
import numpy as np
import pytest

from experiments import TrainingConfig, UsageError, train_and_evaluate
from experiments.data import datasets
from experiments.records import files, run_folder
from experiments.suites import plans, runs
from experiments.training import recorder
from experiments.training import run as training
from tests.processes import python

SMALL = {"hidden_units": (8,), "epochs": 3, "train_examples": 200, "export": False}


class StoppedError(Exception):
    pass


class StopIn(keras.callbacks.Callback):
    """Ends a run in the middle of an epoch, counted from 1."""

    def __init__(self, epoch):
        super().__init__()
        self._epoch = epoch

    def on_epoch_begin(self, epoch, logs=None):
        if epoch + 1 == self._epoch:
            raise StoppedError


@pytest.fixture(autouse=True)
def _save_after_each_epoch(monkeypatch):
    monkeypatch.setattr(recorder, "_MOST_SECONDS_BETWEEN_SAVES", 0.0)


def train(folder, *callbacks, **changes):
    config = TrainingConfig(**{**SMALL, **changes}, output_dir=str(folder))
    return train_and_evaluate(config, callbacks)


def contents(folder):
    return {path.name for path in folder.iterdir()}


# Trains two networks in one process, interrupted in the middle of epochs and not, and
# says in what the outcomes differ. (Determinism is a setting of the whole process.)
BITWISE = """
import json, sys
from pathlib import Path
import keras
from experiments import TrainingConfig, train_and_evaluate

class StopAfter(keras.callbacks.Callback):
    def __init__(self, batches):
        super().__init__()
        self.left = batches
    def on_train_batch_end(self, batch, logs=None):
        self.left -= 1
        if not self.left:
            raise KeyboardInterrupt

common = dict(
    hidden_units=(16, 16), epochs=5, batch_size=63, deterministic=True, export=False
)
variants = {
    "everything": dict(
        dropout=0.2, batch_norm=True, augment=True, optimizer="momentum",
        learning_rate=0.03, learning_rate_schedule="cosine", warm_up_epochs=1,
        acceleration_schedule="linear",
    ),
    "early stopping": dict(
        epochs=40, patience=2, learning_rate=0.05, optimizer="adam",
        precision="mixed_float16", label_smoothing=0.1,
    ),
}
outcomes = {}
for name, variant in variants.items():
    for way in ("at once", "in pieces"):
        folder = Path(sys.argv[1], name, way)
        config = TrainingConfig(**{**common, **variant}, output_dir=str(folder))
        starts = 0
        while True:
            stop = [StopAfter(2)] if way == "in pieces" and not starts else []
            try:
                result = train_and_evaluate(config, stop)
                break
            except KeyboardInterrupt:
                starts += 1
        numbers = {k: v for k, v in result.to_json().items() if k != "seconds"}
        rows = [{k: v for k, v in r.items() if k != "seconds"} for r in result.history]
        model = keras.saving.load_model(folder / "model.keras")
        strengths = [getattr(layer, "strength", None) for layer in model.layers]
        weights = b"".join(w.tobytes() for w in model.get_weights()).hex()
        outcomes[name, way] = [numbers, rows, weights, strengths]
    first, second = (outcomes[name, way] for way in ("at once", "in pieces"))
    print(name, first == second, starts, len(first[1]), first[3])
"""


@pytest.mark.slow  # tests/test_interruptions.py has a shorter one
def test_interrupted_training_is_bitwise_the_same(tmp_path):
    everything, early = python("-c", BITWISE, tmp_path).splitlines()
    assert everything.startswith("everything True 1 5")
    assert early.startswith("early stopping True 1")
    assert int(early.split()[4]) < 40


def test_one_epoch_is_lost_at_most(tmp_path):
    folder = tmp_path / "new"
    with pytest.raises(StoppedError):
        train(folder, StopIn(3))
    assert contents(folder) == {
        *("config.json", "history.csv", "gradient_flow.csv"),
        *("checkpoint.npz", "tensorboard"),
    }
    assert len((folder / "history.csv").read_text().splitlines()) == 3
    seen = []
    counter = keras.callbacks.LambdaCallback(
        on_epoch_begin=lambda epoch, logs: seen.append(epoch)
    )
    result = train(folder, counter)
    assert seen == [2]
    assert (result.epochs_before, result.epochs_run) == (2, 3)
    assert contents(folder) == {
        *("config.json", "history.csv", "gradient_flow.csv", "result.json"),
        *("model.keras", "tensorboard"),
    }


def test_the_gradient_flow_goes_on_too(tmp_path):
    def rows(folder):
        return (folder / "gradient_flow.csv").read_text().splitlines()

    train(tmp_path / "whole", gradient_flow=1)
    with pytest.raises(StoppedError):
        train(tmp_path / "parts", StopIn(2), gradient_flow=1)
    first = rows(tmp_path / "parts")
    # As if it had been killed after the gradients of an epoch, before its checkpoint.
    with (tmp_path / "parts" / "gradient_flow.csv").open("a") as file:
        file.write("2,activation_1,1.0,1.0,1.0,1.0\n")
    train(tmp_path / "parts", gradient_flow=1)
    whole, parts = rows(tmp_path / "whole"), rows(tmp_path / "parts")
    assert len(first) == 2
    assert parts[:2] == first
    assert len(parts) == len(whole) == 4  # a step an epoch
    for lines in zip(parts[1:], whole[1:], strict=True):
        one, other = (line.split(",") for line in lines)
        assert one[:2] == other[:2]
        np.testing.assert_allclose(*np.array([one[2:], other[2:]], float), rtol=1e-4)


def test_what_is_finished_is_read_and_not_trained_again(tmp_path):
    first = train(tmp_path / "new")
    files_before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    again = train(tmp_path / "new", StopIn(1))
    assert again.to_json() == first.to_json()
    assert again.history == first.history
    assert again.epochs_before == again.epochs_run == 3
    for ours, theirs in zip(
        again.model.get_weights(), first.model.get_weights(), strict=True
    ):
        np.testing.assert_array_equal(ours, theirs)
    assert files_before == {
        path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")
    }


def test_all_epochs_trained_and_nothing_saved_yet(tmp_path):
    """As if it were killed between the last epoch and the end."""
    first = train(tmp_path / "first", acceleration_schedule="linear")

    class StopAtTheEnd(keras.callbacks.Callback):
        def on_train_end(self, logs=None):
            raise StoppedError

    with pytest.raises(StoppedError):
        train(tmp_path / "new", StopAtTheEnd(), acceleration_schedule="linear")
    result = train(tmp_path / "new", StopIn(1), acceleration_schedule="linear")
    assert result.epochs_before == 3
    assert result.test_accuracy == first.test_accuracy
    strengths = [
        r.model.get_layer("activation_1").get_config()["strength"]
        for r in (first, result)
    ]
    assert strengths[0] == strengths[1] < 1  # of the best epoch


def test_leftovers_are_removed_and_places_may_change(tmp_path):
    with pytest.raises(StoppedError):
        train(tmp_path / "old", StopIn(3))
    (tmp_path / "old" / "checkpoint.unfinished.npz").write_bytes(b"half")
    (tmp_path / "old").rename(tmp_path / "new")
    result = train(tmp_path / "new", data_dir="elsewhere")
    assert result.epochs_before == 2
    assert not list((tmp_path / "new").glob("*unfinished*"))


def test_other_flags_are_refused(tmp_path):
    with pytest.raises(StoppedError):
        train(tmp_path / "new", StopIn(2))
    before = (tmp_path / "new" / "config.json").read_bytes()
    with pytest.raises(
        UsageError,
        match=r"other flags: hidden_units was \[8\] and is \[4\]; seed was 0",
    ):
        train(tmp_path / "new", hidden_units=(4,), seed=1)
    assert (tmp_path / "new" / "config.json").read_bytes() == before
    assert train(tmp_path / "new").epochs_before == 1


def test_other_data_under_the_same_name_is_refused(tmp_path):
    path = tmp_path / "own.npz"
    arrays = {"x_train": np.zeros((20, 2)), "x_test": np.zeros((4, 2))}
    given = {"dataset": str(path), "batch_size": 9, "train_examples": None}

    def write(first):
        labels = {"y_train": np.arange(20) % 2, "y_test": (np.arange(4) + first) % 2}
        np.savez(path, **arrays, **labels)
        datasets.load.cache_clear()  # as in another process
        run_folder._sha256.cache_clear()

    write(0)
    train(tmp_path / "new", **given)
    write(1)
    with pytest.raises(UsageError, match=r"the contents of '.*own.npz' were different"):
        train(tmp_path / "new", **given)
    write(0)
    assert train(tmp_path / "new", **given).epochs_before == SMALL["epochs"]


def test_hidden_files_do_not_count(tmp_path):
    (tmp_path / ".DS_Store").write_text("of the file manager")
    assert train(tmp_path).epochs_before == 0


@pytest.mark.parametrize("name", ["result.json", "notes.txt", "other/config.json"])
def test_a_folder_with_something_else_is_left_alone(name, tmp_path):
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_text("precious")
    with pytest.raises(UsageError, match="is not empty"):
        train(tmp_path)
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == [path]
    assert path.read_text() == "precious"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("checkpoint.npz", "damaged", "The checkpoint is damaged"),
        ("result.json", "{", "its results cannot be read"),
        ("config.json", "{", "it has no run that could"),
    ],
)
def test_damaged_files_are_named(name, content, message, tmp_path):
    with pytest.raises(StoppedError):
        train(tmp_path, StopIn(2))
    (tmp_path / name).write_text(content)
    with pytest.raises(UsageError, match=message):
        train(tmp_path)


def test_a_checkpoint_of_another_model_is_refused(tmp_path):
    for name, units in (("one", 8), ("other", 9)):
        with pytest.raises(StoppedError):
            train(tmp_path / name, StopIn(2), hidden_units=(units,))
    shutil.copy(tmp_path / "other" / "checkpoint.npz", tmp_path / "one")
    with pytest.raises(UsageError, match="The checkpoint is of another model"):
        train(tmp_path / "one")


def test_a_suite_goes_on_where_it_was(tmp_path, capsys, monkeypatch):
    given = {"hidden_units": (8,), "epochs": 2, "train_examples": 200, "export": False}
    plan = plans.plan(None, given, runs=2)
    count = 0

    def counting(requests):
        nonlocal count
        count += 1
        (request,) = requests
        stop = [StopIn(2)] if count == 2 else []
        callbacks = [*request.callbacks, *stop]
        return training.train([request._replace(callbacks=callbacks)])

    monkeypatch.setattr(runs, "train", counting)
    with pytest.raises(StoppedError):
        runs.run(plan, tmp_path / "new")
    assert contents(tmp_path / "new") == {"plan.json", "seed_0", "seed_1"}
    runs.run(plan, tmp_path / "new")
    printed = capsys.readouterr().out
    assert "[1/2] gaaf_tanh, seed 0: test accuracy" in printed
    assert "s, finished earlier)" in printed
    assert "s, resumed after epoch 1)" in printed
    summary = json.loads((tmp_path / "new" / "summary.json").read_text())
    assert summary["variants"][0]["seeds"] == [0, 1]
    (tmp_path / "new" / "summary.json").unlink()
    runs.run(plan, tmp_path / "new")
    assert capsys.readouterr().out.count("finished earlier") == 2
    assert json.loads((tmp_path / "new" / "summary.json").read_text()) == summary
    other = plans.plan("digits", given, 1)
    with pytest.raises(UsageError, match=r"holds '.*', which is not from this"):
        runs.run(other, tmp_path / "new")


def test_files_are_written_whole_or_not_at_all(tmp_path):
    resource = pytest.importorskip("resource")  # not on Windows
    folder = tmp_path / "new"
    train(folder, epochs=1)
    size = max(path.stat().st_size for path in folder.iterdir() if path.is_file())
    before = {path: path.read_bytes() for path in folder.glob("*.*")}
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:  # a disk that is full behaves like a file that may not grow
        with pytest.raises(UsageError, match=r"model.keras' cannot be written \(File"):
            files.write_bytes(folder / "model.keras", bytes(size + 1))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert before == {path: path.read_bytes() for path in folder.glob("*.*")}


def test_too_little_space_is_seen_before_the_first_step(tmp_path, monkeypatch):
    with pytest.raises(UsageError, match=r"with .* MB free; this run needs about"):
        files.require_space(tmp_path, 10**18)
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=10**6))
    with pytest.raises(UsageError, match="with 1 MB free; this run needs about 10"):
        train(tmp_path / "new", StopIn(1))
