"""The history of a run: one row per epoch."""

import math

Row = dict[str, float]

COLUMNS = ("epoch", "loss", "accuracy", "val_loss", "val_accuracy", "seconds")


def best_row(history: list[Row]) -> Row | None:
    """Returns the first epoch with the best validation accuracy, if there is any.

    Epochs whose loss is NaN do not count.
    """
    finite = [row for row in history if is_finite(row)]
    return max(finite, key=lambda row: row["val_accuracy"], default=None)


def is_finite(row: Row) -> bool:
    """Whether the model is still finite after an epoch."""
    return math.isfinite(row["loss"]) and math.isfinite(row["val_loss"])
