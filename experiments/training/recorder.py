"""The callback that records a run: history, best epoch, checkpoints."""

import math
import time
from collections.abc import Callable
from typing import Any

import keras

from experiments import deadline
from experiments.records.history import COLUMNS, Row, best_row, is_finite
from experiments.training.checkpoints import Checkpoint, State, state_of

_SHARE_OF_TIME_FOR_SAVES = 0.05
_MOST_SECONDS_BETWEEN_SAVES = 30.0
_SECONDS_A_SAVE = 0.01  # until one is timed


class Recorder(keras.callbacks.Callback):
    """Keeps a run's history and best weights, and decides when to stop.

    It stops when the validation accuracy has not improved for some epochs, or when the
    loss is not finite. (Keras's own callbacks for this forget everything when training
    is interrupted.)

    Args:
        patience: Number of epochs without improvement after which to stop.
        validation_examples: Number of validation examples. Accuracies are exact shares
            of them; Keras's differ in the last digits for the same number of correct
            answers.
        save: Called with a checkpoint after an epoch whose loss is finite, as often as
            takes a small part of the time, and at least every half minute. None to
            write nothing.
        resumed: The checkpoint to resume from; None at the start.
        at_once: Number of runs that share the time.

    Attributes:
        history: One row per epoch.
        best: The state after the best epoch, or at the start.
        diverged_at: Epoch and step, counted from 1, by which the loss was not finite.
    """

    def __init__(
        self,
        patience: int,
        validation_examples: int,
        save: Callable[[Checkpoint], None] | None,
        resumed: Checkpoint | None = None,
        at_once: int = 1,
    ) -> None:
        super().__init__()
        self._patience = patience
        self._validation_examples = validation_examples
        self._save = save
        self._at_once = at_once
        self.best: State = [] if resumed is None else resumed.best
        self.history: list[Row] = [] if resumed is None else list(resumed.history)
        self.diverged_at: tuple[int, int] | None = None
        self._epoch = self._step = 0

    @property
    def finished(self) -> bool:
        """Whether the patience is exhausted."""
        best = best_row(self.history)
        return best is not None and (
            len(self.history) - best["epoch"] >= self._patience
        )

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        if not self.best:
            self.best = state_of(self.model)
        self._is_late = False
        self._epoch_end: float | None = None
        spent = self.history[-1]["seconds"] if self.history else 0.0
        self._start = time.monotonic() - spent
        self._next_save = time.monotonic() + self._pause(_SECONDS_A_SAVE)

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        if self._is_late:
            deadline.stop()
        self._epoch = epoch + 1

    def on_train_batch_end(
        self, batch: int, logs: dict[str, Any] | None = None
    ) -> None:
        self._step = batch + 1
        if not math.isfinite((logs or {})["loss"]):
            self.diverged_at = self._epoch, self._step
            self.model.stop_training = True

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        now = time.monotonic()
        # The first epoch includes compilation, and says nothing about the next.
        self._is_late = self._epoch_end is not None and deadline.is_near(
            2 * (now - self._epoch_end)
        )
        self._epoch_end = now
        seconds = round(now - self._start, 3)
        values = {**(logs or {}), "epoch": epoch + 1, "seconds": seconds}
        right = round(values["val_accuracy"] * self._validation_examples)
        values["val_accuracy"] = right / self._validation_examples
        row = {name: values[name] for name in COLUMNS}
        self.history.append(row)
        if not is_finite(row):
            self.diverged_at = self.diverged_at or (self._epoch, self._step)
            self.model.stop_training = True
            return
        if best_row(self.history) is row:
            self.best = state_of(self.model)
        if self.finished:
            self.model.stop_training = True
        is_last = self.finished or epoch + 1 == self.params["epochs"]
        is_due = is_last or self._is_late or now >= self._next_save
        if self._save is not None and is_due:
            self._save_by(self._save)

    def save_if_whole(self, steps: int) -> None:
        """Saves the last epoch, if the model has not been trained since.

        Args:
            steps: Number of steps per epoch.
        """
        if self._save is not None and self.history and self.diverged_at is None:
            trained = int(keras.ops.convert_to_numpy(self.model.optimizer.iterations))
            if trained == len(self.history) * steps:
                self._save_by(self._save)

    def _save_by(self, save: Callable[[Checkpoint], None]) -> None:
        begin = time.monotonic()
        last = state_of(self.model)
        save(Checkpoint(list(self.history), last, self.best))
        end = time.monotonic()
        self._next_save = end + self._pause(end - begin)

    def _pause(self, seconds: float) -> float:
        """Returns how long to wait between saves that take some seconds."""
        pause = seconds * self._at_once / _SHARE_OF_TIME_FOR_SAVES
        return min(pause, _MOST_SECONDS_BETWEEN_SAVES)
