"""The result of a run."""

import dataclasses
from pathlib import Path
from typing import Any

import keras

from experiments.records.history import Row

_NOT_NUMBERS = ("history", "model", "output_dir", "epochs_before")


@dataclasses.dataclass(frozen=True)
class TrainingResult:
    """The result of one run.

    Attributes:
        test_accuracy: Accuracy of the best epoch's weights on all test examples, from 0
            to 1.
        validation_accuracy: The same on validation data: the best of all epochs.
        best_epoch: The first epoch with that validation accuracy, counted from 1. 0 if
            the run diverged in its first epoch: the scores are those of the start.
        epochs_run: Number of epochs trained.
        seconds: Wall time of the run in seconds, including validation.
        runs_at_once: Number of runs that trained at once and share this time.
        parameters: Number of trainable parameters of the model.
        test_examples: Number of test examples scored: all of them.
        diverged_at: The epoch and its step, both counted from 1, by which the loss was
            infinite or NaN and training stopped; None if it never was.
        history: One row per epoch: `epoch` (from 1), `loss`, `accuracy`, `val_loss`,
            `val_accuracy`, `seconds`.
        model: The trained model, with the best epoch's weights. None if it was trained
            earlier and this process cannot reach its file.
        output_dir: The folder written, if any.
        epochs_before: Number of epochs already trained when the run resumed: all of
            them if it was finished.
    """

    test_accuracy: float
    validation_accuracy: float
    best_epoch: int
    epochs_run: int
    seconds: float
    parameters: int
    test_examples: int
    diverged_at: tuple[int, int] | None
    history: list[Row] = dataclasses.field(repr=False)
    model: keras.Model | None = dataclasses.field(repr=False)
    output_dir: Path | None
    epochs_before: int = 0
    runs_at_once: int = 1

    @property
    def diverged(self) -> bool:
        """Whether the loss became infinite or NaN."""
        return self.diverged_at is not None

    def to_json(self) -> dict[str, Any]:
        """Returns the numbers in `result.json`."""
        return {
            field.name: getattr(self, field.name)
            for field in dataclasses.fields(self)
            if field.name not in _NOT_NUMBERS
        }

    @classmethod
    def from_json(cls, numbers: dict[str, Any], **others: Any) -> "TrainingResult":
        """Returns the result from the numbers of `to_json`.

        Args:
            numbers: The result of `to_json`.
            **others: The attributes that are not among them.
        """
        at = numbers["diverged_at"]
        return cls(**{**numbers, "diverged_at": at and tuple(at)}, **others)
