"""The paper's experiments: models, data sets, training and comparison tables.

This part needs TensorFlow and the packages in `requirements.txt`; the layers do
not. `train.py` is its command line.
"""

from gaaf_keras.experiments.config import TrainingConfig, UsageError
from gaaf_keras.experiments.training import TrainingResult, train_and_evaluate

__all__ = ["TrainingConfig", "TrainingResult", "UsageError", "train_and_evaluate"]
