"""The paper's experiments: models, data sets, training and comparison tables.

`train.py` is its command line. Data sets of tensorflow-datasets, SavedModels and
TensorBoard need TensorFlow; the rest runs on every Keras backend.
"""

from experiments.config import TrainingConfig, UsageError, WorkerLostError
from experiments.training.result import TrainingResult
from experiments.training.run import train_and_evaluate

__all__ = [
    "TrainingConfig",
    "TrainingResult",
    "UsageError",
    "WorkerLostError",
    "train_and_evaluate",
]
