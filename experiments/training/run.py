"""One run: fit, choose the best epoch on validation data, score it on test."""

import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np

import gaaf_keras
from experiments import devices, networks
from experiments.config import TrainingConfig, UsageError
from experiments.data import datasets
from experiments.devices import Strategy
from experiments.records import files, run_folder
from experiments.records.history import best_row
from experiments.training import optimization
from experiments.training.checkpoints import Checkpoint
from experiments.training.recorder import Recorder
from experiments.training.result import TrainingResult
from experiments.training.watchers import (
    GradientFlowLog,
    Histograms,
    write_hyperparameters,
)
from gaaf_keras.analysis.model_activations import has_activations

# What a folder comes to hold, in sizes of the model with its optimizer, at most: two
# checkpoints, each with the best weights, the model and the SavedModel.
_SIZES_OF_A_FOLDER = 6
_SPACE_FOR_THE_REST = 10_000_000  # bytes
_HISTOGRAM_IMAGES = 256
_GRADIENT_FLOW_BATCHES = 20  # kept in memory for it


def train_and_evaluate(
    config: TrainingConfig, callbacks: Sequence[keras.callbacks.Callback] = ()
) -> TrainingResult:
    """Trains a model, keeps its best epoch and scores that once on the test data.

    Validation accuracy decides which epoch is best (the first, if several are) and
    when to stop. With `config.output_dir` that folder gets `config.json`,
    `history.csv`, `gradient_flow.csv`, `tensorboard/` (with TensorFlow), `model.keras`,
    `saved_model/` (with `config.export`) and, last, `result.json`.

    Until then `checkpoint.npz` there has all that the run needs to resume. Called again
    with the same configuration, it resumes after the last completed epoch as if it had
    never stopped; a finished run is read and not trained again.

    Args:
        config: What to train, on what, and how.
        callbacks: Further Keras callbacks, for example to show progress.

    Returns:
        The result, with the trained model.

    Raises:
        UsageError: If what the configuration asks for cannot be done; before any
            training and before anything is written. Later only if the output folder
            can be written to no longer.
        WorkerLostError: If another process of the same run is gone.

    Examples:
        ```python
        from experiments import TrainingConfig, train_and_evaluate

        result = train_and_evaluate(TrainingConfig(dataset="digits", epochs=30))
        print(result.test_accuracy)
        ```
    """
    return train(config, prepare(config), callbacks)


def train(
    config: TrainingConfig,
    prepared: "Prepared",
    callbacks: Sequence[keras.callbacks.Callback] = (),
) -> TrainingResult:
    """Does what `train_and_evaluate` does, with what `prepare` returned."""
    strategy, data = prepared.strategy, prepared.data
    folder = None if config.output_dir is None else Path(config.output_dir)
    begun = strategy.decide(lambda: _begin(config, folder, strategy))
    run_folder.require_same(
        begun["description"],
        config,
        "The workers have different flags. Of the first: ",
        "Give all workers the same command.",
    )
    if begun["result"] is not None:
        return TrainingResult.from_json(
            begun["result"],
            history=begun["history"],
            model=_finished_model(folder),
            output_dir=folder,
            epochs_before=len(begun["history"]),
        )
    resumed = _last_checkpoint(folder, strategy)
    recorder, model = _fit(config, prepared, folder, resumed, callbacks)
    best = best_row(recorder.history)
    split = data.validation
    result = TrainingResult(
        test_accuracy=accuracy(model, data.test),
        validation_accuracy=best["val_accuracy"] if best else accuracy(model, split),
        best_epoch=int(best["epoch"]) if best else 0,
        epochs_run=len(recorder.history),
        seconds=recorder.history[-1]["seconds"],
        parameters=sum(int(np.prod(w.shape)) for w in model.trainable_weights),
        test_examples=len(data.test),
        diverged_at=recorder.diverged_at,
        history=recorder.history,
        model=model,
        output_dir=folder,
        epochs_before=len(resumed.history) if resumed else 0,
    )
    if folder is not None and strategy.is_chief:
        _save(model, result, folder, _exports(config))
    return result


class Prepared(NamedTuple):
    """What a run needs, found to be there."""

    strategy: Strategy
    data: datasets.ImageData
    network: networks.Network


def prepare(config: TrainingConfig) -> Prepared:
    """Returns what a run needs, or says why it cannot be done.

    Raises:
        UsageError: If the data set is not there, or model, batch and devices do not
            fit it, or the Keras backend cannot do what is asked.
    """
    strategy = devices.get(config)
    strategy.jit_compile(config.jit_compile)
    if not _on_tensorflow():
        for name in ("export", "histograms"):
            if getattr(config, name):
                raise UsageError(
                    f"{name} needs Keras on TensorFlow. Set KERAS_BACKEND=tensorflow "
                    f"or leave it out. Received: backend '{keras.backend.backend()}'"
                )
    data = datasets.load(
        config.dataset, config.data_dir, config.download, config.train_examples
    )
    if config.batch_size > len(data.train):
        raise UsageError(
            f"batch_size must be at most {len(data.train)}, the number of training "
            f"examples. Received: {config.batch_size}"
        )
    return Prepared(strategy, data, networks.Network(config, data))


def accuracy(model: keras.Model, split: datasets.Split) -> float:
    """Returns the share of a split's examples, all of them, classified rightly."""
    images = split.images.astype("float32")
    logits = model.predict(images, batch_size=256, verbose=0)
    return float(np.mean(np.argmax(logits, axis=-1) == split.labels))


def _begin(
    config: TrainingConfig, folder: Path | None, strategy: Strategy
) -> dict[str, Any]:
    """Makes the folder ready and returns what is in it; on the chief alone."""
    description = run_folder.description(config)
    nothing = {"description": description, "result": None, "history": None}
    if folder is None:
        return nothing
    run_folder.require_room(folder, [config])
    if run_folder.is_finished(folder):
        result, history = run_folder.read_finished(folder)
        return {**nothing, "result": result, "history": history}
    files.remove_unfinished(files.writable_folder(folder))
    resolved = {
        "augment": config.augments,
        **strategy.describe(),
        "command": shlex.join(["python", *sys.argv]),
    }
    run_folder.write_config(folder, config, resolved)
    return nothing


def _finished_model(folder: Path | None) -> keras.Model | None:
    path = Path(str(folder)) / run_folder.MODEL
    return keras.saving.load_model(path) if path.is_file() else None


def _last_checkpoint(folder: Path | None, strategy: Strategy) -> Checkpoint | None:
    """Returns the state after the last epoch that was completed, if there is any."""

    def content() -> bytes:
        path = Path(str(folder)) / run_folder.CHECKPOINT
        return path.read_bytes() if path.is_file() else b""

    written = b"" if folder is None else strategy.share(content)
    return Checkpoint.from_bytes(written) if written else None


def _fit(
    config: TrainingConfig,
    prepared: Prepared,
    folder: Path | None,
    resumed: Checkpoint | None,
    callbacks: Sequence[keras.callbacks.Callback],
) -> tuple[Recorder, keras.Model]:
    """Trains, and returns what happened and the model as it was at its best."""
    strategy, data, network = prepared
    keras.utils.set_random_seed(config.seed)

    def save(checkpoint: Checkpoint) -> None:
        if folder is not None and strategy.is_chief:
            run_folder.write_history(folder, checkpoint.history)
            files.write_bytes(folder / run_folder.CHECKPOINT, checkpoint.to_bytes())

    recorder = Recorder(config.patience, len(data.validation), save, resumed)
    schedule = _strengths(config)
    done = len(recorder.history)
    watchers: list[keras.callbacks.Callback] = []
    with strategy.guarded():
        with strategy.scope():
            model = _compiled_model(config, strategy, network, data)
            if folder is not None and strategy.is_chief:
                _require_space(model, folder)
                watchers = _watchers(config, folder, data, model)
            if resumed is not None:
                resumed.restore(model)
            strategy.fit(
                model,
                data,
                config,
                initial_epoch=done,
                epochs=done if recorder.finished else config.epochs,
                callbacks=[
                    *([schedule] if schedule else []),
                    *watchers,
                    recorder,
                    *callbacks,
                ],
            )
        if strategy.replicas > 1:  # what was trained on many is to be used on one
            model = _compiled_model(config, Strategy(["one"]), network, data)
    if config.label_smoothing:  # whose loss a saved model must not need
        loss = optimization.crossentropy(network.from_logits)
        model.compile(model.optimizer, loss, weighted_metrics=[_accuracy()])
    recorder.last_good.restore(model)
    model.set_weights(recorder.last_good.best_weights)
    if schedule:
        best = best_row(recorder.history)
        schedule.set_model(model)
        schedule.on_epoch_begin(int(best["epoch"]) - 1 if best else 0)
    return recorder, model


def _compiled_model(
    config: TrainingConfig,
    strategy: Strategy,
    network: networks.Network,
    data: datasets.ImageData,
) -> keras.Model:
    """Returns a new model with its optimizer, ready to be trained."""
    steps = len(data.train) // config.batch_size
    synchronized = config.sync_batch_norm and strategy.synchronizes_batch_norm
    model = network.model(strategy.replicas, synchronized=synchronized)
    model.compile(
        optimizer=optimization.optimizer(config, steps),
        loss=optimization.loss(config, network.from_logits),
        weighted_metrics=[_accuracy()],
        steps_per_execution=strategy.steps_per_execution(steps),
        jit_compile=strategy.jit_compile(config.jit_compile),
    )
    model.optimizer.build(model.trainable_variables)
    return model


def _accuracy() -> keras.Metric:
    return keras.metrics.SparseCategoricalAccuracy(name="accuracy")


def _require_space(model: keras.Model, folder: Path) -> None:
    size = sum(
        int(np.prod(variable.shape)) * np.dtype("float32").itemsize
        for variable in (*model.variables, *model.optimizer.variables)
    )
    files.require_space(folder, _SIZES_OF_A_FOLDER * size + _SPACE_FOR_THE_REST)


def _on_tensorflow() -> bool:
    return keras.backend.backend() == "tensorflow"


def _exports(config: TrainingConfig) -> bool:
    return _on_tensorflow() if config.export is None else config.export


def _watchers(
    config: TrainingConfig, folder: Path, data: datasets.ImageData, model: keras.Model
) -> list[keras.callbacks.Callback]:
    """Returns the callbacks that write what happens for others to look at."""
    found: list[keras.callbacks.Callback] = []
    path = folder / run_folder.TENSORBOARD
    if _on_tensorflow():
        found.append(keras.callbacks.TensorBoard(str(path), write_graph=False))
        write_hyperparameters(path, config)
    if not has_activations(model):
        return found
    if config.histograms:
        images = data.validation.images[:_HISTOGRAM_IMAGES].astype("float32")
        found.append(Histograms(path, images))
    if config.gradient_flow:
        count = _GRADIENT_FLOW_BATCHES * config.batch_size
        found.append(
            GradientFlowLog(
                data.train.images[:count].astype("float32"),
                data.train.labels[:count],
                config.gradient_flow,
                config.batch_size,
                folder=folder,
                tensorboard=_on_tensorflow(),
            )
        )
    return found


def _strengths(config: TrainingConfig) -> gaaf_keras.AccelerationSchedule | None:
    """Returns the callback that changes the strength, None if it is constant."""
    schedules = keras.optimizers.schedules
    rise = max(1, round(config.epochs / 10))
    schedule: dict[str, Callable[[int], Any]] = {
        "linear": schedules.PolynomialDecay(config.strength, config.epochs, 0.0),
        "cosine": schedules.CosineDecay(config.strength, config.epochs),
        "warm_up": lambda epoch: config.strength * min(1.0, epoch / rise),
    }
    if config.acceleration_schedule == "constant":
        return None
    return gaaf_keras.AccelerationSchedule(schedule[config.acceleration_schedule])


def _save(
    model: keras.Model, result: TrainingResult, folder: Path, export: bool
) -> None:
    with files.writing(folder / run_folder.MODEL) as unfinished:
        model.save(unfinished)
    if export:
        _export(model, folder / run_folder.SAVED_MODEL)
    run_folder.write_history(folder, result.history)
    run_folder.write_result(folder, result.to_json())
    if not result.diverged:
        (folder / run_folder.CHECKPOINT).unlink()


def _export(model: keras.Model, path: Path) -> None:
    import tensorflow as tf

    try:
        gaaf_keras.export(model, path, overwrite=True)
    except OSError as error:
        raise files.cannot_be_written(path, error.strerror or str(error)) from error
    except tf.errors.ResourceExhaustedError as error:
        raise files.cannot_be_written(path, "No space left on device") from error
