"""Records of a run: histograms, and the moment at which it diverges."""

import csv
import json

import keras
import numpy as np
import pytest

from experiments import TrainingConfig, train_and_evaluate
from experiments.data import datasets
from experiments.records import run_folder
from experiments.records.history import COLUMNS
from experiments.suites import plans, runs
from experiments.training.checkpoints import Checkpoint
from experiments.training.run import train
from experiments.training.watchers import write_hyperparameters
from tests.experiments.scores import accuracy


def test_history_file_keeps_every_digit(tmp_path):
    row = dict.fromkeys(COLUMNS, 1 / 3) | {"epoch": 1}
    run_folder.write_history(tmp_path, [row, row])
    assert run_folder.read_history(tmp_path) == [row, row]


def test_validation_in_several_batches_is_exact(tmp_path):
    random = np.random.default_rng(0)
    arrays = {}
    for part, count in (("train", 7770), ("test", 20)):  # a tenth is held out
        arrays[f"x_{part}"] = random.normal(size=(count, 3)).astype("float32")
        arrays[f"y_{part}"] = (arrays[f"x_{part}"].sum(axis=1) > 0).astype(int)
    path = str(tmp_path / "own.npz")
    np.savez(path, **arrays)
    result = train_and_evaluate(
        TrainingConfig(dataset=path, hidden_units=(3,), epochs=2)
    )
    validation = datasets.load(path).validation
    assert len(validation) == 777  # four batches, of which five run at once
    shares = [row["val_accuracy"] for row in result.history]
    assert shares == [round(share * 777) / 777 for share in shares]
    score = accuracy(result.model, validation)
    assert result.validation_accuracy == pytest.approx(score, rel=1e-6)
    assert result.best_epoch == 2  # the model whose loss is the last one
    logits = result.model.predict(validation.images, verbose=0).astype("float64")
    losses = np.log(np.exp(logits).sum(axis=1)) - logits[range(777), validation.labels]
    assert result.history[1]["val_loss"] == pytest.approx(losses.mean(), rel=1e-5)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16", "uint32", "bool"])
def test_checkpoint_file_keeps_every_dtype(dtype):
    values = keras.ops.convert_to_numpy(keras.ops.cast([0, 1, 3], dtype))
    again = Checkpoint.from_bytes(Checkpoint([], [values], [values[:2]]).to_bytes())
    assert again.last[0].dtype == values.dtype
    np.testing.assert_array_equal(again.last[0], values)
    np.testing.assert_array_equal(again.best[0], values[:2])


def test_what_tells_runs_apart_in_tensorboard(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

    config = TrainingConfig(seed=3, hidden_units=(8,), accelerate=False)
    write_hyperparameters(tmp_path, config)
    events = EventAccumulator(str(tmp_path))
    events.Reload()
    (found,) = [
        HParamsPluginData.FromString(each.plugin_data.content).session_start_info
        for tag, each in events.summary_metadata.items()
        if tag.endswith("session_start_info")
    ]
    assert found.hparams["seed"].number_value == 3
    assert found.hparams["hidden_units"].string_value == "(8,)"
    assert found.hparams["activation"].string_value == "gaaf_tanh"
    assert "batch_size" not in found.hparams


def test_histograms_for_tensorboard(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    config = TrainingConfig(
        hidden_units=(4,),
        epochs=2,
        train_examples=200,
        export=False,
        histograms=True,
        gradient_flow=1,
        output_dir=str(tmp_path / "new"),
    )
    train_and_evaluate(config)
    events = EventAccumulator(str(tmp_path / "new" / "tensorboard"))
    events.Reload()
    quantities = (
        "pre_activation_gradient",
        "output_gradient",
        "activity",
        "sensitivity",
    )
    weights = ("dense_1/kernel", "dense_1/bias", "logits/kernel", "logits/bias")
    assert set(events.Tags()["tensors"]) == {
        "_hparams_/session_start_info",
        "pre_activation/activation_1",
        "correlation/activation_1",
        *(f"{quantity}/activation_1" for quantity in quantities),
        *(f"weight/{path}" for path in weights),
    }
    assert [e.step for e in events.Tensors("activity/activation_1")] == [1, 2]
    steps = [event.step for event in events.Tensors("pre_activation/activation_1")]
    assert steps == [0, 1]


class _Spoil(keras.callbacks.Callback):
    """Makes the weights infinite after an epoch, counted from 1."""

    def __init__(self, epoch):
        super().__init__()
        self._epoch = epoch

    def on_epoch_begin(self, epoch, logs=None):
        if epoch == self._epoch:
            self.before = self.model.get_weights()
            variable = self.model.trainable_weights[0]
            variable.assign(np.full(variable.shape, np.inf))


def test_a_loss_that_is_not_a_number_stops_the_training(tmp_path):
    folder = tmp_path / "new"
    config = TrainingConfig(
        hidden_units=(8,),
        epochs=9,
        batch_size=63,
        export=False,
        output_dir=str(folder),
    )
    result = train_and_evaluate(config, [_Spoil(3)])
    assert result.diverged
    assert result.diverged_at == (4, 1)
    assert (result.epochs_run, result.best_epoch) == (4, 3)
    assert json.loads((folder / "result.json").read_text())["diverged_at"] == [4, 1]
    with (folder / "history.csv").open() as file:
        assert [row["loss"] for row in csv.DictReader(file)][3] == "nan"
    assert not (folder / "checkpoint.npz").exists()
    model = keras.saving.load_model(folder / "model.keras")
    score = accuracy(model, datasets.load("digits").test)
    assert score == result.test_accuracy > 0.5
    again = train_and_evaluate(config)
    assert again.diverged_at == (4, 1)
    assert np.isnan(again.history[3]["loss"])


def test_a_training_that_diverges_at_once_keeps_the_start():
    config = TrainingConfig(hidden_units=(8,), epochs=9, batch_size=63)
    spoil = _Spoil(0)
    result = train_and_evaluate(config, [spoil])
    assert (result.epochs_run, result.best_epoch) == (1, 0)
    for ours, theirs in zip(result.model.get_weights(), spoil.before, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    validation = datasets.load("digits").validation
    score = accuracy(result.model, validation)
    assert result.validation_accuracy == score


def test_the_likely_causes_are_named(tmp_path, capsys, monkeypatch):
    def spoiled(requests):
        (request,) = requests
        return train([request._replace(callbacks=[*request.callbacks, _Spoil(1)])])

    monkeypatch.setattr(runs, "train", spoiled)
    given = {"hidden_units": (8,), "epochs": 3, "precision": "mixed_float16"}
    plan = plans.plan(None, {**given, "export": False}, 1)
    runs.run(plan, tmp_path / "new")
    printed = capsys.readouterr().out
    assert "DIVERGED: the loss was not a number in epoch 2, by step 1" in printed
    for cause in ("a learning rate of 0.1", "--unit_gain", "mixed_float16, in which"):
        assert cause in printed
