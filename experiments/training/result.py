"""What comes out of a run."""

import dataclasses
from pathlib import Path
from typing import Any

import keras

from experiments.records.history import Row

_NOT_NUMBERS = ("history", "model", "output_dir", "epochs_before")


@dataclasses.dataclass(frozen=True)
class TrainingResult:
    """What came out of one run.

    Attributes:
        test_accuracy: Share of all test examples that the best epoch's weights
            classify rightly, from 0 to 1.
        validation_accuracy: The same on validation data: the best of all epochs.
        best_epoch: The first epoch with that validation accuracy, counted from 1. 0 if
            the run diverged in its first: the scores are those of the start.
        epochs_run: How many epochs were trained.
        seconds: Wall time of the run in seconds, validation included.
        parameters: Trainable parameters of the model.
        test_examples: How many test examples were scored: all of them.
        diverged_at: The epoch and its step, both counted from 1, by which the loss was
            infinite or not a number, at which training stopped; None if it never was.
        history: A row an epoch: `epoch` (from 1), `loss`, `accuracy`, `val_loss`,
            `val_accuracy`, `seconds`.
        model: The trained model, with the best epoch's weights. None if it was trained
            before, and its file is out of this process's reach.
        output_dir: The folder written, if any.
        epochs_before: How many of the epochs had been trained before, when the
            run resumed: all of them if it was finished.
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

    @property
    def diverged(self) -> bool:
        """Whether the loss became infinite or not a number."""
        return self.diverged_at is not None

    def to_json(self) -> dict[str, Any]:
        """Returns the numbers, as `result.json` has them."""
        return {
            field.name: getattr(self, field.name)
            for field in dataclasses.fields(self)
            if field.name not in _NOT_NUMBERS
        }

    @classmethod
    def from_json(cls, numbers: dict[str, Any], **others: Any) -> "TrainingResult":
        """Returns the result of which `to_json` gave the numbers.

        Args:
            numbers: What `to_json` gave.
            **others: The attributes that are not among them.
        """
        at = numbers["diverged_at"]
        return cls(**{**numbers, "diverged_at": at and tuple(at)}, **others)
