"""A live view of a training, or of several: epoch, losses, accuracies, time left."""

import datetime
import time
from types import TracebackType
from typing import Any, Self

import keras
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

_SECONDS_BETWEEN_LINES = 5


class ProgressView:
    """Shows trainings as they run: a bar in a terminal, some lines in a log.

    The time left supposes that every training runs to its last epoch; with early
    stopping it is an upper bound.

    Args:
        trainings: How many trainings there will be.
        epochs: Most epochs of each.
        quiet: Whether to show nothing.
    """

    def __init__(self, trainings: int, epochs: int, quiet: bool = False) -> None:
        self.console = Console(highlight=False, quiet=quiet)
        self._total = trainings * epochs
        self._epochs = epochs
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=20),
            TextColumn("{task.fields[status]}"),
            TimeRemainingColumn(),
            TextColumn("left"),
            console=self.console,
            disable=not self.console.is_terminal,
            transient=True,
        )
        self._task: TaskID | None = None
        self._done = 0  # epochs, those not needed and those of before included
        self._trained = 0
        self._next_line = 0.0

    def __enter__(self) -> Self:
        self._bar.start()
        self._task = self._bar.add_task("", total=self._total, status="")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._bar.stop()

    def print(self, line: str) -> None:
        """Prints a line that stays."""
        self.console.print(line, soft_wrap=True, markup=False)

    def callback(self, name: str) -> keras.callbacks.Callback:
        """Returns the callback that shows a training under a name."""
        return _Reporter(self, name)

    def report(
        self,
        name: str,
        epoch: int,
        trained: int,
        epoch_seconds: float | None,
        logs: dict[str, Any],
    ) -> None:
        """Shows the state of the current training after an epoch.

        Args:
            name: The training's.
            epoch: The epoch that has ended, counted from 1.
            trained: How many were trained now, and not before an interruption.
            epoch_seconds: What an epoch takes, if that is known already.
            logs: The epoch's losses and accuracies.
        """
        left = self._total - self._done - epoch
        status = (
            f"epoch {epoch}/{self._epochs}"
            f"  loss {logs['loss']:.4f} acc {logs['accuracy']:.4f}"
            f"  val {logs['val_loss']:.4f} {logs['val_accuracy']:.4f}"
        )
        if self._task is not None:
            self._bar.update(
                self._task,
                completed=self._trained + trained,
                total=self._trained + trained + left,
                description=name,
                status=status,
            )
        if not self.console.is_terminal and time.monotonic() >= self._next_line:
            self._next_line = time.monotonic() + _SECONDS_BETWEEN_LINES
            if epoch_seconds is not None:
                seconds = round(epoch_seconds * left)
                status += f"  {datetime.timedelta(seconds=seconds)} left"
            self.print(f"{name}  {status}")

    def training_done(self, trained: int) -> None:
        """Counts a training as done, whatever epoch it stopped at.

        Args:
            trained: How many epochs were trained now, and not before an interruption.
        """
        self._done += self._epochs
        self._trained += trained


class _Reporter(keras.callbacks.Callback):
    def __init__(self, view: ProgressView, name: str) -> None:
        super().__init__()
        self._view = view
        self._name = name
        self._trained = 0

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        now = time.monotonic()
        if self._trained == 0:
            self._first_end = now  # the first epoch says little: it builds the graph
        seconds = (now - self._first_end) / self._trained if self._trained else None
        self._trained += 1
        self._view.report(self._name, epoch + 1, self._trained, seconds, logs or {})
