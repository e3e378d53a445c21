"""One run of a comparison: `fit`, its best epoch, its scores."""

import contextlib
import dataclasses
import math
import time
import types
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from gaaf_keras.comparison.records import Run, as_text
from gaaf_keras.comparison.start import optimizers_of, scale_learning_rate


@dataclasses.dataclass(frozen=True)
class Training:
    """What all runs have in common.

    Attributes:
        arguments: The arguments of `fit`; `x` may be a function that returns it.
        validation_data: As `fit` takes it, or a function that returns it.
        test_data: Likewise.
        callbacks: Likewise.
        monitor: The value compared; None for the first metric, or the loss.
        mode: Which direction is better, as in Keras's callbacks.
    """

    arguments: dict[str, Any]
    validation_data: Any
    test_data: Any
    callbacks: Any
    monitor: str | None
    mode: str

    def __post_init__(self) -> None:
        if self.mode not in ("auto", "min", "max"):
            raise ValueError(
                "Argument `mode` must be 'auto', 'min' or 'max'. "
                f"Received: mode={self.mode!r}"
            )
        if self.monitor is not None and not isinstance(self.monitor, str):
            raise TypeError(
                "Argument `monitor` must be a name, such as 'val_loss'. "
                f"Received: monitor={self.monitor!r}"
            )
        if (self.monitor or "").startswith("val_") and not self.has_validation():
            raise ValueError(
                "Argument `monitor` needs validation data. Give `validation_data` or "
                f"`validation_split`. Received: monitor={self.monitor!r}"
            )

    @property
    def epochs(self) -> int:
        """Epochs of each run."""
        return int(self.arguments["epochs"])

    def settings(self, model: keras.Model) -> dict[str, Any]:
        """Returns what runs must share to be compared, as plain data."""
        return {
            "model": type(model).__name__,
            "parameters": model.count_params() if model.built else None,
            "optimizer": [_described(each) for each in optimizers_of(model)],
            "fit": {name: as_text(each) for name, each in self.arguments.items()},
            "validation_data": as_text(self.validation_data),
            "test_data": as_text(self.test_data),
            "monitor": self.monitor,
            "mode": self.mode,
        }

    def require_direction(self, model: keras.Model) -> None:
        """Raises if the metric is a function of which no direction is known.

        Metrics of other kinds are known only after the first epoch.
        """
        given = getattr(model._compile_metrics, "_user_metrics", None)
        if self.mode != "auto" or not isinstance(given, (list, tuple)):
            return
        monitor = (self.monitor or "").removeprefix("val_")
        for each in given if monitor else given[:1]:
            name = getattr(each, "__name__", "")
            if not isinstance(each, types.FunctionType) or name.endswith("loss"):
                continue
            is_known = hasattr(keras.metrics.MeanMetricWrapper(each), "_direction")
            if monitor in ("", name) and not is_known:
                raise _unknown_direction(name)

    def build(self, model: keras.Model) -> None:
        """Lets `fit` build a model's loss, metrics and optimizer without training."""
        arguments = {**self.arguments, "x": _made(self.arguments["x"])}
        with contextlib.suppress(_BuiltError):
            model.fit(**arguments, callbacks=[_EndAtOnce()], verbose=0)

    def run(
        self,
        run: Run,
        begin: Callable[[int], keras.Model],
        accelerated: Callable[[keras.Model], contextlib.AbstractContextManager[None]],
        epoch_ends: Callable[[int], None],
    ) -> Run:
        """Trains a run and returns it with its outcome.

        Args:
            run: The run.
            begin: Returns the model as a run with a seed begins.
            accelerated: Makes the model the variant inside its block.
            epoch_ends: Called with each epoch, counted from 1.
        """
        seconds = time.perf_counter()
        model = begin(run.seed)
        watch = _Watch(self, epoch_ends)
        with scale_learning_rate(model, run.learning_rate), accelerated(model):
            # Again: the random numbers drawn so far differ between variants.
            keras.utils.set_random_seed(run.seed)
            arguments = {**self.arguments, "x": _made(self.arguments["x"])}
            history = model.fit(
                **arguments,
                validation_data=_made(self.validation_data),
                callbacks=[*_as_list(_made(self.callbacks)), watch],
                verbose=0,
            ).history
            test = None
            if self.test_data is not None and not watch.failed:
                test = self._score(model, watch.monitor)
        value, best_epoch = watch.best()
        return dataclasses.replace(
            run,
            monitor=watch.monitor,
            higher=watch.higher,
            value=value,
            best_epoch=best_epoch,
            failed=watch.failed,
            test=test,
            epochs=len(next(iter(history.values()), [])),
            seconds=round(time.perf_counter() - seconds, 3),
            history={key: list(map(_plain, found)) for key, found in history.items()},
        )

    def has_validation(self) -> bool:
        """Whether `fit` reports validation values."""
        split = self.arguments.get("validation_split")
        return self.validation_data is not None or bool(split)

    def _score(self, model: keras.Model, monitor: str) -> float:
        data = keras.utils.unpack_x_y_sample_weight(_made(self.test_data))
        names = ("x", "y", "sample_weight")
        given = {n: v for n, v in zip(names, data, strict=True) if v is not None}
        size = self.arguments.get("validation_batch_size")
        found = model.evaluate(**given, batch_size=size, verbose=0, return_dict=True)
        return float(found[monitor.removeprefix("val_")])


class _BuiltError(Exception):
    """Ends `fit` before its first step."""


class _EndAtOnce(keras.callbacks.Callback):
    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        raise _BuiltError


class _Watch(keras.callbacks.Callback):
    """Finds the value to compare, ends a failed run, and keeps the best epoch."""

    def __init__(self, training: Training, epoch_ends: Callable[[int], None]) -> None:
        super().__init__()
        self._training = training
        self._epoch_ends = epoch_ends
        self._best: keras.callbacks.EarlyStopping | None = None
        self.monitor = training.monitor or ""
        self.failed = False

    @property
    def higher(self) -> bool:
        """Whether a higher value is better."""
        return bool(self._best and self._best.monitor_op is keras.ops.greater)

    def best(self) -> tuple[float | None, int | None]:
        """Returns the best value and its epoch, counted from 1, unless it failed."""
        if self.failed or self._best is None:
            return None, None
        return float(self._best.best), 1 + self._best.best_epoch

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        logs = logs or {}
        self.monitor = self.monitor or self._first_metric(logs)
        names = ("loss", "val_loss", self.monitor)
        watched = {name: logs[name] for name in names if name in logs}
        if any(not math.isfinite(float(value)) for value in watched.values()):
            self.failed = True
            self.model.stop_training = True
        elif self.monitor in logs:
            self._keeper().on_epoch_end(epoch, logs)
        elif not self.monitor.startswith("val_") or any("val_" in n for n in logs):
            self._refuse_monitor(logs)
        self._epoch_ends(epoch + 1)

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        if self.failed:
            return
        if self._best is None:
            self._refuse_monitor(logs or {})
        self._keeper().on_train_end(logs)

    def _keeper(self) -> keras.callbacks.EarlyStopping:
        """Returns the callback that finds the best epoch and never stops early."""
        if self._best is None:
            self._best = keras.callbacks.EarlyStopping(
                self.monitor,
                mode=self._mode(),
                patience=self._training.epochs,
                restore_best_weights=self._training.test_data is not None,
            )
            self._best.set_model(self.model)
            self._best.on_train_begin()
        return self._best

    def _mode(self) -> str:
        """Returns which direction is better; Keras knows it only for one output."""
        if self._training.mode != "auto":
            return self._training.mode
        if self.monitor.endswith("loss"):
            return "min"
        found = [
            each
            for metric in self.model.metrics
            for each in getattr(metric, "metrics", [metric])
            if f"_{self.monitor}".endswith(f"_{each.name}")
        ]
        nearest = max(found, key=lambda each: len(each.name), default=None)
        modes = {"up": "max", "down": "min"}
        mode = modes.get(getattr(nearest, "_direction", ""))
        if mode is None:
            raise _unknown_direction(self.monitor)
        return mode

    def _first_metric(self, logs: dict[str, Any]) -> str:
        names = [*self.model.get_metrics_result(), *logs]
        numbers = [n for n in names if n in logs and np.ndim(logs[n]) == 0]
        metrics = (n for n in numbers if not n.endswith("loss"))
        name = next((n for n in metrics if not n.startswith("val_")), "loss")
        return f"val_{name}" if self._training.has_validation() else name

    def _refuse_monitor(self, logs: dict[str, Any]) -> None:
        raise ValueError(
            "Argument `monitor` must be a value that the model reports. "
            f"Received: monitor={self.monitor!r}. The model reports: {', '.join(logs)}"
        )


def _unknown_direction(metric: str) -> ValueError:
    return ValueError(
        f"Argument `mode` must be 'min' or 'max' for metric {metric!r}, because Keras "
        "does not know whether lower or higher is better. Received: mode='auto'"
    )


def _described(optimizer: keras.optimizers.Optimizer) -> str:
    config = {k: v for k, v in optimizer.get_config().items() if v is not None}
    config.pop("name", None)  # which Keras numbers
    return f"{type(optimizer).__name__} {as_text(config)}"


def _plain(value: Any) -> Any:
    """Returns a number, or None if it is not finite; for an array, a list."""
    if np.ndim(value):
        return [_plain(each) for each in value]
    return float(value) if math.isfinite(value) else None


def _made(given: Any) -> Any:
    """Returns the result of a function, and everything else unchanged."""
    is_given = not callable(given) or isinstance(given, keras.callbacks.Callback)
    return given if is_given else given()


def _as_list(callbacks: Any) -> list[Any]:
    if callbacks is None:
        return []
    return [callbacks] if not isinstance(callbacks, (list, tuple)) else [*callbacks]
