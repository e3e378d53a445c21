"""A line that shows the progress of a comparison, and the time left."""

from collections.abc import Callable
from types import TracebackType
from typing import Self

import rich.console
import rich.progress

from gaaf_keras._core.printing import printable
from gaaf_keras.comparison.records import Run


class Progress:
    """Shows one line: the run, epochs done of all, time left.

    The time left assumes that each run trains all of its epochs.

    Args:
        verbose: 0 to show nothing.
    """

    def __init__(self, verbose: int | str) -> None:
        self._epochs = self._runs = self._ended = 0
        quiet = verbose in (0, "0")
        self._console = rich.console.Console(quiet=quiet, highlight=False)
        self._line = rich.progress.Progress(
            rich.progress.TextColumn("{task.description}", markup=False),
            rich.progress.BarColumn(bar_width=20),
            rich.progress.MofNCompleteColumn(),
            rich.progress.TextColumn("epochs,"),
            rich.progress.TimeRemainingColumn(),
            rich.progress.TextColumn("left"),
            console=self._console,
            disable=quiet,
            transient=True,
        )
        self._task = self._line.add_task("")

    def begin(self, runs: int, epochs: int) -> None:
        """Sets the number of runs, and the epochs of each."""
        self._runs, self._epochs = runs, epochs
        self._line.reset(self._task, total=runs * epochs)

    def of(self, run: Run) -> Callable[[int], None]:
        """Returns the callback for each epoch of the next run, counted from 1."""
        self._line.update(self._task, description=printable(_label(run)))

        def epoch_ends(epoch: int) -> None:
            done = self._ended * self._epochs + epoch
            self._line.update(self._task, completed=done)

        return epoch_ends

    def run_ends(self, run: Run) -> None:
        """Counts a run, at whatever epoch it ended."""
        self._ended += 1
        self._line.update(self._task, completed=self._ended * self._epochs)
        if not self._console.is_terminal and not self._console.is_jupyter:
            value = "failed" if run.value is None else f"{run.monitor} {run.value:.4g}"
            line = f"[{self._ended}/{self._runs}] {_label(run)}: {value}"
            line = printable(f"{line}, {run.seconds:.1f} s")
            self._console.print(line, markup=False, soft_wrap=True)

    def __enter__(self) -> Self:
        self._line.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._line.stop()


def _label(run: Run) -> str:
    rate = "" if run.learning_rate == 1 else f", rate {run.learning_rate:g}x"
    return f"{run.variant}, seed {run.seed}{rate}"
