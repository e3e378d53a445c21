"""One training: fit, choose the best epoch on validation data, score it on test."""

import csv
import dataclasses
import math
import platform
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

import gaaf_keras
from gaaf_keras._version import __version__
from gaaf_keras.experiments import datasets, files, models, optimization
from gaaf_keras.experiments.config import TrainingConfig, UsageError
from gaaf_keras.experiments.strategies import (
    device_names,
    get_strategy,
    split_device,
)

_MOST_STEPS_AN_EXECUTION = 32


@dataclasses.dataclass(frozen=True)
class TrainingResult:
    """What came out of one training.

    Attributes:
        test_accuracy: Share of all test examples that the best epoch's weights
            classify rightly, from 0 to 1.
        validation_accuracy: The same on validation data: the best of all epochs.
        best_epoch: The first epoch with that validation accuracy, counted from 1.
        epochs_run: How many epochs were trained.
        seconds: Wall time of the training in seconds, validation included.
        parameters: Trainable parameters of the model.
        test_examples: How many test examples were scored: all of them.
        diverged: Whether the loss became infinite or not a number, at which training
            stopped. The scores are then those of the best epoch before, if any.
        history: A row an epoch: `epoch` (from 1), `loss`, `accuracy`, `val_loss`,
            `val_accuracy`, `seconds`.
        model: The trained model, with the best epoch's weights.
        output_dir: The folder written, if any.
    """

    test_accuracy: float
    validation_accuracy: float
    best_epoch: int
    epochs_run: int
    seconds: float
    parameters: int
    test_examples: int
    diverged: bool
    history: list[dict[str, float]] = dataclasses.field(repr=False)
    model: keras.Model = dataclasses.field(repr=False)
    output_dir: Path | None

    def to_json(self) -> dict[str, float]:
        """Returns the numbers, without history, model and folder."""
        left_out = ("history", "model", "output_dir")
        return {
            field.name: getattr(self, field.name)
            for field in dataclasses.fields(self)
            if field.name not in left_out
        }


def train_and_evaluate(
    config: TrainingConfig, callbacks: Sequence[keras.callbacks.Callback] = ()
) -> TrainingResult:
    """Trains a model, keeps its best epoch and scores that once on the test data.

    Validation accuracy decides which epoch is best (the first, if several are) and
    when to stop. With `config.output_dir` that folder gets `config.json`,
    `history.csv`, `tensorboard/`, `model.keras`, `saved_model/` (with
    `config.export`) and, last, `result.json`.

    Args:
        config: What to train, on what, and how.
        callbacks: Further Keras callbacks, for example to show progress.

    Returns:
        The result, with the trained model.

    Raises:
        UsageError: If what the configuration asks for cannot be done; before any
            training and before anything is written.

    Example:
    ```python
    from gaaf_keras.experiments import TrainingConfig, train_and_evaluate

    result = train_and_evaluate(TrainingConfig(dataset="digits", epochs=30))
    print(result.test_accuracy)
    ```
    """
    strategy, data, _ = prepare(config)
    folder = None if config.output_dir is None else files.new_folder(config.output_dir)
    if folder is not None:
        files.write_json(folder / "config.json", _description(config, strategy))

    keras.utils.set_random_seed(config.seed)
    replicas = strategy.num_replicas_in_sync
    steps = len(data.train) // config.batch_size
    with strategy.scope():
        model = models.build(config, data)
        model.compile(
            optimizer=optimization.optimizer(config, steps),
            loss=optimization.loss(
                config, not models.gives_probabilities(config, model, data)
            ),
            weighted_metrics=[keras.metrics.SparseCategoricalAccuracy(name="accuracy")],
            # Several steps at once crash Keras on several replicas.
            steps_per_execution=(
                1 if replicas > 1 else _largest_divisor(steps, _MOST_STEPS_AN_EXECUTION)
            ),
            jit_compile=_jit_compile(config),
        )
    history = _History(folder)
    start = time.monotonic()
    model.fit(
        datasets.training_pipeline(
            data.train, config.batch_size, config.seed, _augments(config)
        ),
        steps_per_epoch=steps,
        epochs=config.epochs,
        shuffle=False,  # the pipeline shuffles
        validation_data=datasets.evaluation_pipeline(data.validation, replicas),
        callbacks=[
            history,
            *_callbacks(config, folder),
            *callbacks,
        ],
        verbose=0,
    )
    seconds = time.monotonic() - start
    best = max(history.rows, key=lambda row: row["val_accuracy"])
    result = TrainingResult(
        test_accuracy=accuracy(model, data.test, replicas),
        validation_accuracy=best["val_accuracy"],
        best_epoch=int(best["epoch"]),
        epochs_run=len(history.rows),
        seconds=round(seconds, 3),
        parameters=sum(int(np.prod(w.shape)) for w in model.trainable_weights),
        test_examples=len(data.test),
        diverged=not all(math.isfinite(row["loss"]) for row in history.rows),
        history=history.rows,
        model=model,
        output_dir=folder,
    )
    if folder is not None:
        _save(model, folder, config.export)
        files.write_json(folder / "result.json", result.to_json())
    return result


class Prepared(NamedTuple):
    """What a training needs, found to be there.

    Attributes:
        strategy: Where it runs.
        data: What it runs on.
        note: What is good to know beforehand, to be printed; None for nothing.
    """

    strategy: tf.distribute.Strategy
    data: datasets.ImageData
    note: Any


def prepare(config: TrainingConfig) -> Prepared:
    """Returns the strategy and the data of a training, or says why it cannot run.

    Raises:
        UsageError: If the data set is not there, or model, batch and devices do not
            fit it.
    """
    if keras.backend.backend() != "tensorflow":
        raise UsageError(
            "Training needs Keras on TensorFlow. Set KERAS_BACKEND=tensorflow. "
            f"Received: backend '{keras.backend.backend()}'"
        )
    if config.logical_devices is not None:
        split_device(config.logical_devices)
    strategy = get_strategy(config.strategy)
    replicas = strategy.num_replicas_in_sync
    if config.batch_size % replicas:
        raise UsageError(
            f"batch_size must be a multiple of the {replicas} replicas, which share "
            f"each batch. Received: {config.batch_size}"
        )
    if config.jit_compile == "true" and isinstance(
        strategy, tf.distribute.MirroredStrategy
    ):
        raise UsageError(
            "jit_compile must be auto or false with the mirrored strategy, where "
            "TensorFlow cannot compile the training step. Received: 'true'"
        )
    data = datasets.load(
        config.dataset, config.data_dir, config.download, config.train_examples
    )
    if config.batch_size > len(data.train):
        raise UsageError(
            f"batch_size must be at most {len(data.train)}, the number of training "
            f"examples. Received: {config.batch_size}"
        )
    with strategy.scope():
        note = models.require_fit(config, data)
    return Prepared(strategy, data, note)


def accuracy(model: keras.Model, split: datasets.Split, replicas: int = 1) -> float:
    """Returns the share of a split's examples, all of them, classified rightly."""
    logits = model.predict(datasets.evaluation_pipeline(split, replicas), verbose=0)
    return float(np.mean(np.argmax(logits[: len(split)], axis=-1) == split.labels))


def _jit_compile(config: TrainingConfig) -> bool | str:
    if config.jit_compile == "auto":
        return "auto" if tf.config.list_logical_devices("GPU") else False
    return config.jit_compile == "true"


def _augments(config: TrainingConfig) -> bool:
    if config.augment is None:
        return config.dataset.startswith("cifar")
    return config.augment


def _largest_divisor(number: int, limit: int) -> int:
    """The steps an execution: as many as possible that fill an epoch exactly."""
    return max(d for d in range(1, limit + 1) if number % d == 0)


def _callbacks(
    config: TrainingConfig, folder: Path | None
) -> list[keras.callbacks.Callback]:
    callbacks = [
        keras.callbacks.TerminateOnNaN(),
        keras.callbacks.EarlyStopping(
            monitor="val_accuracy",
            mode="max",
            patience=config.patience,
            restore_best_weights=True,
        ),
    ]
    if config.acceleration_schedule != "constant":
        callbacks.append(gaaf_keras.AccelerationSchedule(_strengths(config)))
    if folder is not None:
        callbacks.append(
            keras.callbacks.TensorBoard(str(folder / "tensorboard"), write_graph=False)
        )
    return callbacks


def _strengths(config: TrainingConfig) -> Callable[[int], float]:
    """Returns the strength as a function of the epoch, counted from 0."""
    schedules = keras.optimizers.schedules
    if config.acceleration_schedule == "linear":
        return schedules.PolynomialDecay(config.strength, config.epochs, 0.0)
    if config.acceleration_schedule == "cosine":
        return schedules.CosineDecay(config.strength, config.epochs)
    rise = max(1, round(config.epochs / 10))
    return lambda epoch: config.strength * min(1.0, epoch / rise)


class _History(keras.callbacks.Callback):
    """Keeps a row an epoch, and writes it to `history.csv` at once."""

    columns = ("epoch", "loss", "accuracy", "val_loss", "val_accuracy", "seconds")

    def __init__(self, folder: Path | None) -> None:
        super().__init__()
        self.rows: list[dict[str, float]] = []
        self._path = None if folder is None else folder / "history.csv"

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        self._start = time.monotonic()
        if self._path is not None:
            with self._path.open("w", newline="") as file:
                csv.writer(file).writerow(self.columns)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        seconds = round(time.monotonic() - self._start, 3)
        values = {**(logs or {}), "epoch": epoch + 1, "seconds": seconds}
        self.rows.append({name: values[name] for name in self.columns})
        if self._path is not None:
            with self._path.open("a", newline="") as file:
                csv.writer(file).writerow(self.rows[-1].values())


def _description(
    config: TrainingConfig, strategy: tf.distribute.Strategy
) -> dict[str, Any]:
    """What config.json says: the flags as resolved, and what they ran on."""
    import tensorflow_datasets as tfds

    return {
        **dataclasses.asdict(config),
        "augment": _augments(config),
        "strategy": type(strategy).__name__,
        "replicas": strategy.num_replicas_in_sync,
        "devices": device_names(strategy),
        "versions": {
            "gaaf_keras": __version__,
            "keras": keras.__version__,
            "python": platform.python_version(),
            "tensorflow": tf.__version__,
            "tensorflow_datasets": tfds.__version__,
        },
        "command": sys.argv,
    }


def _save(model: keras.Model, folder: Path, export: bool) -> None:
    unfinished = folder / "unfinished.keras"
    model.save(unfinished)
    unfinished.rename(folder / "model.keras")
    if export:
        gaaf_keras.export(model, folder / "saved_model")
