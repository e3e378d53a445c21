"""One run: fit, choose the best epoch on validation data, score it on test data."""

import contextlib
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np

import gaaf_keras
from experiments import devices, networks, optimization
from experiments.config import TrainingConfig, UsageError
from experiments.data import datasets
from experiments.devices import Strategy, Training
from experiments.records import files, run_folder
from experiments.records.history import Row, best_row
from experiments.training.checkpoints import Checkpoint, restore
from experiments.training.recorder import Recorder
from experiments.training.result import TrainingResult
from experiments.training.watchers import (
    GradientFlowLog,
    Histograms,
    write_hyperparameters,
)
from gaaf_keras.analysis.model_activations import has_activations

# Maximum size of a folder, in sizes of the model with its optimizer: two checkpoints,
# each with the best weights, the model and the SavedModel.
_SIZES_OF_A_FOLDER = 6
_SPACE_FOR_THE_REST = 10_000_000  # bytes
_HISTOGRAM_IMAGES = 256
_GRADIENT_FLOW_BATCHES = 20  # kept in memory


def train_and_evaluate(
    config: TrainingConfig, callbacks: Sequence[keras.callbacks.Callback] = ()
) -> TrainingResult:
    """Trains a model, keeps its best epoch and scores that once on the test data.

    Validation accuracy decides which epoch is best (the first of several) and when to
    stop. `config.output_dir`, if set, gets `config.json`, `history.csv`,
    `gradient_flow.csv`, `tensorboard/` (with TensorFlow), `model.keras`, `saved_model/`
    (with `config.export`) and, last, `result.json`.

    Until then, `checkpoint.npz` has everything that the run needs to resume. Called
    again with the same configuration, it resumes at the end of an epoch as if it had
    never stopped; a finished run is read and not trained again.

    Args:
        config: What to train, on what, and how.
        callbacks: Further Keras callbacks, for example to show progress.

    Returns:
        The result, with the trained model.

    Raises:
        UsageError: If the configuration cannot be trained, before any training and
            before anything is written. Later only if the output folder can no longer
            be written to.
        WorkerLostError: If another process of the same run is gone.

    Examples:
        ```python
        from experiments import TrainingConfig, train_and_evaluate

        result = train_and_evaluate(TrainingConfig(dataset="digits", epochs=30))
        print(result.test_accuracy)
        ```
    """
    return train([Request(config, prepare(config), callbacks)])[0]


class Request(NamedTuple):
    """A requested run."""

    config: TrainingConfig
    prepared: "Prepared"
    callbacks: Sequence[keras.callbacks.Callback] = ()


def train(requests: Sequence[Request]) -> list[TrainingResult]:
    """Does what `train_and_evaluate` does, for runs that train at once.

    Args:
        requests: The runs. Several must be of one kind, as `Strategy.kind` says.
    """
    strategy, data, _ = requests[0].prepared
    begun = [_begin(request) for request in requests]
    waiting = [each for each in begun if isinstance(each, Request)]
    with strategy.guarded(), strategy.scope():
        runs = [_Run(request, len(waiting)) for request in waiting]
        try:
            strategy.fit(data, [run.training for run in runs])
        except BaseException:  # also a signal
            for run in runs:
                run.save_if_whole()
            raise
    results = iter([run.result() for run in runs])
    return [
        each if isinstance(each, TrainingResult) else next(results) for each in begun
    ]


def compiling_ahead(
    requests: Sequence[tuple[Request, int]],
) -> contextlib.AbstractContextManager[None]:
    """Compiles programs for runs in the background, where that pays.

    Args:
        requests: A run of each kind, with the number that will train at once.
    """
    strategy, data, _ = requests[0][0].prepared
    trainings = (
        (Training(_compiled_model(request, strategy), request.config, 0, 1, []), many)
        for request, many in requests
        if not _is_finished(request.config)
    )
    return strategy.compiling_ahead(trainings, data)


def _begin(request: Request) -> Request | TrainingResult:
    """Prepares a run's folder; returns the run, or its result if it has one."""
    config, folder = request.config, _folder(request.config)
    strategy = request.prepared.strategy
    begun = strategy.decide(lambda: _contents(config, folder, strategy))
    run_folder.require_same(
        begun["description"],
        config,
        "The workers have different flags. Compared with the first worker: ",
        "Give all workers the same command.",
    )
    if begun["result"] is None:
        return request
    return TrainingResult.from_json(
        begun["result"],
        history=begun["history"],
        model=_finished_model(folder),
        output_dir=folder,
        epochs_before=len(begun["history"]),
    )


class _Run:
    """A run in training: its model and its records.

    Args:
        request: The requested run.
        at_once: Number of runs that train at once.

    Attributes:
        training: What `Strategy.fit` takes.
    """

    def __init__(self, request: Request, at_once: int) -> None:
        config, (strategy, data, _), callbacks = request
        self._request, self._at_once = request, at_once
        self._folder = _folder(config) if strategy.is_chief else None
        resumed = _last_checkpoint(_folder(config), strategy)
        self._epochs_before = len(resumed.history) if resumed else 0
        keras.utils.set_random_seed(config.seed)
        model = _compiled_model(request, strategy)
        self._schedule = _strengths(config)
        self._flow: GradientFlowLog | None = None
        watchers: list[keras.callbacks.Callback] = []
        if self._folder is not None:
            _require_space(model, self._folder)
            watchers = _watchers(config, self._folder, data, model)
            logs = [each for each in watchers if isinstance(each, GradientFlowLog)]
            self._flow = logs[0] if logs else None
        if resumed is not None:
            restore(model, resumed.last)
        save = None if self._folder is None else self._save
        self._recorder = Recorder(
            config.patience, len(data.validation), save, resumed, at_once
        )
        schedules = [self._schedule] if self._schedule else []
        self.training = Training(
            model,
            config,
            initial_epoch=self._epochs_before,
            epochs=self._epochs_before if self._recorder.finished else config.epochs,
            callbacks=[*schedules, *watchers, self._recorder, *callbacks],
        )

    def result(self) -> TrainingResult:
        """Returns the result, with the model from its best epoch."""
        config, (strategy, data, network), _ = self._request
        recorder, model = self._recorder, self.training.model
        best = best_row(recorder.history)
        if strategy.replicas > 1:  # trained on many devices, for use on one
            model = _compiled_model(self._request, Strategy(["one"]))
        restore(model, recorder.best)
        if self._schedule:
            self._schedule.set_model(model)
            self._schedule.on_epoch_begin(int(best["epoch"]) - 1 if best else 0)

        def score(split: str) -> float:
            return strategy.accuracy(model, config, data, split)

        result = TrainingResult(
            test_accuracy=score("test"),
            validation_accuracy=best["val_accuracy"] if best else score("validation"),
            best_epoch=int(best["epoch"]) if best else 0,
            epochs_run=len(recorder.history),
            seconds=recorder.history[-1]["seconds"],
            parameters=sum(int(np.prod(w.shape)) for w in model.trainable_weights),
            test_examples=len(data.test),
            diverged_at=recorder.diverged_at,
            history=recorder.history,
            model=model,
            output_dir=_folder(config),
            epochs_before=self._epochs_before,
            runs_at_once=self._at_once,
        )
        if config.label_smoothing:  # a saved model must not need its loss
            loss = optimization.crossentropy(network.from_logits)
            model.compile(model.optimizer, loss, weighted_metrics=[_accuracy()])
        if self._folder is not None:
            self._write_records(self._folder, recorder.history)
            _write(model, result, self._folder, _exports(config))
        return result

    def save_if_whole(self) -> None:
        """Saves the last epoch, if training is not in the middle of the next."""
        config, (_, data, _), _ = self._request
        self._recorder.save_if_whole(len(data.train) // config.batch_size)

    def _save(self, checkpoint: Checkpoint) -> None:
        assert self._folder is not None
        self._write_records(self._folder, checkpoint.history)
        files.write_bytes(self._folder / run_folder.CHECKPOINT, checkpoint.to_bytes())

    def _write_records(self, folder: Path, history: list[Row]) -> None:
        run_folder.write_history(folder, history)
        if self._flow is not None:
            self._flow.write()


class Prepared(NamedTuple):
    """What a run needs, checked."""

    strategy: Strategy
    data: datasets.ImageData
    network: networks.Network


def prepare(config: TrainingConfig) -> Prepared:
    """Returns what a run needs, or raises an error that says why it cannot be trained.

    Raises:
        UsageError: If the data set is missing, model, batch size or devices do not fit
            it, or the Keras backend does not support the settings.
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


def _folder(config: TrainingConfig) -> Path | None:
    return None if config.output_dir is None else Path(config.output_dir)


def _is_finished(config: TrainingConfig) -> bool:
    folder = _folder(config)
    return folder is not None and run_folder.is_finished(folder)


def _contents(
    config: TrainingConfig, folder: Path | None, strategy: Strategy
) -> dict[str, Any]:
    """Prepares the folder and returns its contents; only on the chief."""
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
    """Returns the state after the last completed epoch, if there is one."""

    def content() -> bytes:
        path = Path(str(folder)) / run_folder.CHECKPOINT
        return path.read_bytes() if path.is_file() else b""

    written = b"" if folder is None else strategy.share(content)
    return Checkpoint.from_bytes(written) if written else None


def _compiled_model(request: Request, strategy: Strategy) -> keras.Model:
    """Returns a new model with its optimizer, ready to be trained."""
    config, (_, data, network), _ = request
    steps = len(data.train) // config.batch_size
    synchronized = config.sync_batch_norm and strategy.synchronizes_batch_norm
    model = network.model(config.seed, strategy.replicas, synchronized=synchronized)
    model.compile(
        optimizer=optimization.optimizer(config, steps),
        loss=optimization.loss(config, network.from_logits),
        weighted_metrics=[_accuracy()],
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
    """Returns the callbacks that write logs of training."""
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
                data.train.images[:count],
                data.train.labels[:count],
                config.gradient_flow,
                config.batch_size,
                folder=folder,
                tensorboard=_on_tensorflow(),
            )
        )
    return found


def _strengths(config: TrainingConfig) -> gaaf_keras.AccelerationSchedule | None:
    """Returns the callback that changes the strength; None if it is constant."""
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


def _write(
    model: keras.Model, result: TrainingResult, folder: Path, export: bool
) -> None:
    with files.writing(folder / run_folder.MODEL) as unfinished:
        model.save(unfinished)
    if export:
        _export(model, folder / run_folder.SAVED_MODEL)
    run_folder.write_result(folder, result.to_json())
    (folder / run_folder.CHECKPOINT).unlink(missing_ok=True)


def _export(model: keras.Model, path: Path) -> None:
    import tensorflow as tf

    try:
        gaaf_keras.export(model, path, overwrite=True)
    except OSError as error:
        raise files.cannot_be_written(path, error.strerror or str(error)) from error
    except tf.errors.ResourceExhaustedError as error:
        raise files.cannot_be_written(path, "No space left on device") from error
