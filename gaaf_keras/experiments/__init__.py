"""The paper's experiments: models, data sets, training and comparison tables.

`train.py` is its command line. Data sets of tensorflow-datasets, SavedModels and
TensorBoard need TensorFlow; the rest runs on every Keras backend.
"""

from gaaf_keras.experiments.config import TrainingConfig, UsageError, WorkerLostError
from gaaf_keras.experiments.results import TrainingResult
from gaaf_keras.experiments.training import train_and_evaluate

__all__ = [
    "TrainingConfig",
    "TrainingResult",
    "UsageError",
    "WorkerLostError",
    "train_and_evaluate",
]
