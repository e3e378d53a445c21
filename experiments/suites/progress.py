"""A live view of one or several runs: epoch, losses, accuracies, time left."""

import datetime
import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Self

import keras
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn

from gaaf_keras._core.printing import printable

_SECONDS_BETWEEN_LINES = 5


class ProgressView:
    """Shows running runs: bars in a terminal, a few lines in a log.

    The time left assumes that every run trains to its last epoch; with early stopping
    it is an upper bound.

    Args:
        runs: Number of runs.
        epochs: Maximum epochs of each.
        quiet: Whether to show nothing.
    """

    def __init__(self, runs: int, epochs: int, quiet: bool = False) -> None:
        self.console = Console(highlight=False, quiet=quiet)
        self._total = runs * epochs
        self._epochs = epochs
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=20),
            TextColumn("{task.fields[status]}"),
            console=self.console,
            disable=not self.console.is_terminal,
            transient=True,
        )
        self._all: TaskID | None = None
        self._running: dict[str, tuple[TaskID, int]] = {}  # with epochs so far
        self._ended = 0  # runs
        self._trained = 0  # epochs, without those before an interruption
        self._next_line = 0.0
        self._start = time.monotonic()

    def __enter__(self) -> Self:
        self._bar.start()
        self._all = self._bar.add_task("all", total=self._total, status="")
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
        self.console.print(printable(line), soft_wrap=True, markup=False)

    def show(self, name: str, epoch: int, logs: Mapping[str, float]) -> None:
        """Shows the state of a run after an epoch that was just trained.

        Args:
            name: The run's name.
            epoch: The completed epoch, counted from 1.
            logs: The epoch's losses and accuracies.
        """
        if name not in self._running:
            task = self._bar.add_task(name, total=self._epochs, status="")
            self._running[name] = task, epoch
            if self._trained == 0:  # the first epoch also builds the graph
                self._start = time.monotonic()
        else:
            self._running[name] = self._running[name][0], epoch
        self._trained += 1
        status = (
            f"epoch {epoch}/{self._epochs}"
            f"  loss {logs['loss']:.4f} acc {logs['accuracy']:.4f}"
            f"  val {logs['val_loss']:.4f} {logs['val_accuracy']:.4f}"
        )
        self._bar.update(self._running[name][0], completed=epoch, status=status)
        left = self._time_left()
        self._show_all(left)
        if not self.console.is_terminal and time.monotonic() >= self._next_line:
            self._next_line = time.monotonic() + _SECONDS_BETWEEN_LINES
            self.print(f"{name}  {status}{left and '  '}{left}")

    def run_done(self, name: str) -> None:
        """Counts a run as done, at whatever epoch it stopped."""
        self._ended += 1
        if name in self._running:
            self._bar.remove_task(self._running.pop(name)[0])
        self._show_all(self._time_left())

    def _show_all(self, left: str) -> None:
        if self._all is not None:
            done = self._done()
            self._bar.update(self._all, completed=done, status=left)

    def _done(self) -> int:
        """Returns the number of epochs that are done or not needed."""
        running = sum(epoch for _, epoch in self._running.values())
        return self._ended * self._epochs + running

    def _time_left(self) -> str:
        if self._trained <= 1:
            return ""
        epoch = (time.monotonic() - self._start) / (self._trained - 1)
        seconds = round(epoch * (self._total - self._done()))
        return f"{datetime.timedelta(seconds=seconds)} left"


class ProgressCallback(keras.callbacks.Callback):
    """Reports a run after each epoch.

    Args:
        show: `ProgressView.show`, or what passes its arguments on.
        name: The run's name.
    """

    def __init__(self, show: Callable[[str, int, dict[str, float]], None], name: str):
        super().__init__()
        self._show = show
        self._name = name

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        numbers = {name: float(value) for name, value in (logs or {}).items()}
        self._show(self._name, epoch + 1, numbers)
