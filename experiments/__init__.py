"""The paper's experiments, and tools to repeat them on your own data.

`train.py` is its command line. Data sets of tensorflow-datasets, SavedModels and
TensorBoard need TensorFlow; the rest runs on every Keras backend.
"""

from typing import TYPE_CHECKING, Any

from experiments.config import TrainingConfig, UsageError, WorkerLostError

if TYPE_CHECKING:
    from experiments.training.result import TrainingResult
    from experiments.training.run import train_and_evaluate

__all__ = [
    "TrainingConfig",
    "TrainingResult",
    "UsageError",
    "WorkerLostError",
    "train_and_evaluate",
]


def __getattr__(name: str) -> Any:
    # Wrong settings are refused before Keras and a backend are imported.
    if name == "TrainingResult":
        from experiments.training.result import TrainingResult

        return TrainingResult
    if name == "train_and_evaluate":
        from experiments.training.run import train_and_evaluate

        return train_and_evaluate
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
