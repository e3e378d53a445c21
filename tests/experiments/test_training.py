"""One run: what it computes, what it writes, what it refuses."""

import csv
import json
import math

import keras
import numpy as np
import pytest

from experiments import TrainingConfig, UsageError, train_and_evaluate
from experiments.data import datasets
from gaaf_keras.layers import accelerated_layers
from tests.experiments.scores import accuracy
from tests.processes import python

SMALL = {"hidden_units": (16,), "epochs": 4, "batch_size": 63, "activation": "tanh"}


def train(*callbacks, **changes):
    return train_and_evaluate(TrainingConfig(**{**SMALL, **changes}), callbacks)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    return train(output_dir=str(tmp_path_factory.mktemp("training") / "new"))


def test_result_is_consistent(trained):
    accuracies = [row["val_accuracy"] for row in trained.history]
    assert trained.epochs_run == len(accuracies) == 4
    assert trained.validation_accuracy == max(accuracies)
    assert trained.best_epoch == accuracies.index(max(accuracies)) + 1
    assert trained.parameters == 65 * 16 + 17 * 10
    assert trained.test_examples == 360
    assert not trained.diverged
    assert trained.history[-1]["loss"] < trained.history[0]["loss"]


def test_scores_belong_to_the_returned_model(trained):
    data = datasets.load("digits")
    assert trained.test_accuracy == accuracy(trained.model, data.test)
    score = accuracy(trained.model, data.validation)
    assert trained.validation_accuracy == pytest.approx(score)


def test_files(trained):
    folder = trained.output_dir
    assert {path.name for path in folder.iterdir()} == {
        *("config.json", "history.csv", "result.json"),
        *("model.keras", "saved_model", "tensorboard", "gradient_flow.csv"),
    }
    assert json.loads((folder / "result.json").read_text()) == trained.to_json()
    config = json.loads((folder / "config.json").read_text())
    assert (config["hidden_units"], config["epochs"], config["seed"]) == ([16], 4, 0)
    resolved = config["resolved"]
    assert resolved["augment"] is False
    assert resolved["replicas"] == len(resolved["devices"]) == 1
    assert resolved["versions"]["keras"] == keras.__version__
    with (folder / "history.csv").open() as file:
        rows = list(csv.DictReader(file))
    columns = ["epoch", "loss", "accuracy", "val_loss", "val_accuracy", "seconds"]
    assert list(rows[0]) == columns
    assert [int(row["epoch"]) for row in rows] == [1, 2, 3, 4]
    assert [float(row["loss"]) for row in rows] == [
        row["loss"] for row in trained.history
    ]


def test_saved_model_is_the_returned_model(trained):
    x = datasets.load("digits").test.images.astype("float32")
    loaded = keras.models.load_model(trained.output_dir / "model.keras")
    np.testing.assert_array_equal(
        loaded.predict(x, verbose=0), trained.model.predict(x, verbose=0)
    )


def test_same_seed_same_training():
    starts = []

    class Start(keras.callbacks.Callback):
        def on_train_begin(self, logs=None):
            starts.append(self.model.get_weights()[0])

    first, second, _ = (
        train(Start(), dropout=0.3, epochs=2, seed=seed) for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(starts[0], starts[1])
    assert np.abs(starts[0] - starts[2]).max() > 0.01
    for ours, theirs in zip(
        first.model.get_weights(), second.model.get_weights(), strict=True
    ):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)
    assert first.output_dir is None


def test_early_stopping_and_patience():
    result = train(epochs=50, patience=2, learning_rate=0.5)
    assert result.epochs_run == result.best_epoch + 2 < 50


def test_gaaf_changes_the_training_and_not_the_start():
    losses = [
        train(epochs=1, activation=activation).history[0]["loss"]
        for activation in ("tanh", "gaaf_tanh")
    ]
    assert losses[0] != losses[1]


def test_a_training_that_diverges_stops_and_reports():
    result = train(activation="relu", learning_rate=1e30, epochs=20)
    assert result.diverged
    assert result.epochs_run < 20
    assert 0 <= result.test_accuracy < 1


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"model": "rnn"}, "model must be one of mlp, cnn, resmlp, lstm. Rec.*'rnn'"),
        ({"activation": "gaaf"}, "activation must be one of tanh.*'gaaf'"),
        ({"dropout": 1.0}, "dropout must be from 0 to below 1. Received: 1.0"),
        ({"learning_rate": 0}, "learning_rate must be finite and greater than 0"),
        ({"learning_rate": float("inf")}, "learning_rate must be finite.*inf"),
        ({"hidden_units": ()}, "hidden_units must be one or more"),
        ({"hidden_units": (4, 0)}, r"hidden_units must.*\(4, 0\)"),
        ({"epochs": 0}, "epochs must be 1 or greater. Received: 0"),
        ({"seed": -1}, "seed must be from 0"),
        ({"train_examples": 0}, "train_examples must be 1 or greater"),
        ({"strategy": "tpu"}, "strategy must be one of"),
    ],
)
def test_bad_configurations_are_refused(wrong, message):
    with pytest.raises(UsageError, match=message):
        TrainingConfig(**wrong)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"batch_size": 2000}, "batch_size must be at most 1197.*2000"),
        ({"train_examples": 9000}, "train_examples must be at most 1197"),
        ({"dataset": "digitz"}, "no data set 'digitz'.*digits"),
    ],
)
def test_what_cannot_be_trained_is_refused_before_anything_is_written(
    wrong, message, tmp_path
):
    with pytest.raises(UsageError, match=message):
        train_and_evaluate(TrainingConfig(**wrong, output_dir=str(tmp_path / "new")))
    assert list(tmp_path.iterdir()) == []


# Trains on as many logical CPU devices as told and prints the history and the scores.
REPLICAS = """
import json, sys
import tensorflow as tf
count = int(sys.argv[1])
tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0],
    [tf.config.LogicalDeviceConfiguration()] * count,
)
from experiments import TrainingConfig, train_and_evaluate
config = dict(epochs=3, hidden_units=(16, 16), activation="gaaf_tanh")
config["strategy"] = "mirrored"
tfds = dict(dataset="mnist", data_dir=sys.argv[2], train_examples=60, batch_size=20)
digits = dict(dataset="digits", batch_size=60, output_dir=sys.argv[3])  # 2 test batches
normalised = dict(dataset="digits", batch_size=60, batch_norm=True)
results = [
    train_and_evaluate(TrainingConfig(**config, **tfds)),
    train_and_evaluate(TrainingConfig(**config, **digits)),
    train_and_evaluate(TrainingConfig(**config, **normalised)),
    train_and_evaluate(TrainingConfig(**config, **normalised, sync_batch_norm=False)),
]
try:
    train_and_evaluate(TrainingConfig(strategy="mirrored", batch_size=61))
    print()
except ValueError as error:
    print(error)
print(json.dumps([{"history": r.history, **r.to_json()} for r in results]))
"""


@pytest.fixture(scope="module")
def one_replica(data_dir, tmp_path_factory):
    return replicas(1, data_dir, tmp_path_factory.mktemp("one_replica"))[0]


def replicas(count, data_dir, output_dir):
    *_, refused, results = python(
        "-c", REPLICAS, count, data_dir, output_dir
    ).splitlines()
    return json.loads(results), refused


@pytest.mark.slow  # test_train_script.py compares two replicas with one
@pytest.mark.parametrize("count", [2, 5])  # neither divides 12 and 37 examples evenly
def test_replicas_train_like_one_device(count, one_replica, data_dir, tmp_path):
    results, errors = replicas(count, data_dir, tmp_path)
    for result, expected in zip(results[:3], one_replica[:3], strict=True):
        for ours, theirs in zip(result["history"], expected["history"], strict=True):
            for column in ("loss", "accuracy", "val_loss", "val_accuracy"):
                assert ours[column] == pytest.approx(theirs[column], rel=1e-5), column
        assert result["test_accuracy"] == expected["test_accuracy"]
    per_replica, expected = results[3], one_replica[3]
    difference = per_replica["history"][0]["loss"] - expected["history"][0]["loss"]
    assert abs(difference) > 1e-3  # normalised over smaller batches
    assert [result["test_examples"] for result in results[:2]] == [37, 360]
    assert (tmp_path / "saved_model" / "saved_model.pb").exists()
    loaded = keras.models.load_model(tmp_path / "model.keras")
    score = accuracy(loaded, datasets.load("digits").test)
    assert score == results[1]["test_accuracy"]
    assert f"batch_size must be a multiple of {count}, the number" in errors


def test_the_best_epoch_is_scored_even_if_it_is_not_the_last():
    result = train(learning_rate=1.5, epochs=12, seed=5)
    last = result.history[-1]["val_accuracy"]
    assert last < result.validation_accuracy  # or the test would show nothing
    validation = datasets.load("digits").validation
    score = accuracy(result.model, validation)
    assert score == pytest.approx(result.validation_accuracy)


@pytest.mark.parametrize(
    ("name", "kind", "momentum"),
    [
        ("sgd", keras.optimizers.SGD, 0.0),
        ("momentum", keras.optimizers.SGD, 0.9),
        ("adam", keras.optimizers.Adam, None),
    ],
)
def test_optimizers(name, kind, momentum):
    optimizer = train(epochs=1, optimizer=name, learning_rate=0.015).model.optimizer
    assert type(optimizer) is kind
    assert float(optimizer.learning_rate) == pytest.approx(0.015)
    assert getattr(optimizer, "momentum", None) == momentum


def test_runs_that_differ_in_seed_or_rate_are_traced_once(monkeypatch):
    traces = []
    step = keras.Model.train_step

    def spy(model, data):
        traces.append(model)
        return step(model, data)

    monkeypatch.setattr(keras.Model, "train_step", spy)
    given = {"epochs": 1, "hidden_units": (7,), "label_smoothing": 0.1}
    first = train(seed=2, learning_rate=1.0, **given)
    weights = first.model.get_weights()
    second = train(seed=2, learning_rate=0.01, **given)
    assert first.history[0]["loss"] != second.history[0]["loss"]
    again = train(seed=2, learning_rate=1.0, **given)
    assert {**again.history[0], "seconds": 0} == {**first.history[0], "seconds": 0}
    assert len(traces) == 1
    for ours, theirs in zip(first.model.get_weights(), weights, strict=True):
        np.testing.assert_array_equal(ours, theirs)  # not those of later runs
    train(dropout=0.5, **given)
    assert len(traces) == 2


@pytest.mark.parametrize(
    ("dataset", "given", "augments"),
    [
        ("cifar10", None, True),
        ("cifar100", None, True),
        ("cifar10", False, False),
        ("cifar_own.npz", None, False),
        ("svhn_cropped", None, False),
        ("svhn_cropped", True, True),
    ],
)
def test_augmentation_by_default_for_cifar(dataset, given, augments):
    config = TrainingConfig(dataset=dataset, augment=given)
    assert config.augments is augments


@pytest.mark.parametrize(
    ("schedule", "strengths"),
    [
        ("linear", [2.0, 1.5, 1.0, 0.5]),
        ("cosine", [2.0, 1 + math.sqrt(0.5), 1.0, 1 - math.sqrt(0.5)]),
        ("warm_up", [0.0, 2.0, 2.0, 2.0]),
        ("constant", [2.0, 2.0, 2.0, 2.0]),
    ],
)
def test_acceleration_schedules(schedule, strengths):
    seen = []

    class Watch(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            seen.append(accelerated_layers(self.model)[0].strength)

    given = {"activation": "gaaf_tanh", "strength": 2.0}
    train(Watch(), train_examples=200, acceleration_schedule=schedule, **given)
    assert seen == pytest.approx(strengths, abs=1e-6)


@pytest.mark.parametrize(
    ("precision", "jit_compile", "activation"),
    [
        ("float32", "true", "gaaf_relu"),
        ("mixed_float16", "true", "gaaf_tanh"),
        ("mixed_float16", "false", "gaaf_relu"),
        ("mixed_bfloat16", "false", "gaaf_tanh"),
    ],
)
def test_precision_and_compilation(precision, jit_compile, activation):
    given = {"precision": precision, "jit_compile": jit_compile}
    result = train(epochs=5, activation=activation, batch_norm=True, **given)
    assert keras.config.dtype_policy().name == "float32"
    dense = result.model.get_layer("dense_1")
    assert dense.dtype_policy.name == precision
    assert dense.kernel.dtype == "float32"
    assert result.model.output.dtype == "float32"
    assert result.test_accuracy > 0.8
    assert not result.diverged
