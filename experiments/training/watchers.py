"""The callbacks that look into a network while it trains."""

import dataclasses
from pathlib import Path
from typing import Any

import keras
import numpy as np

from experiments.config import PLACES, TrainingConfig
from experiments.records import run_folder
from gaaf_keras.analysis import GradientFlow, LayerGradient
from gaaf_keras.analysis.activation_values import OUTPUT, Observation
from gaaf_keras.analysis.data import Data
from gaaf_keras.analysis.gradients import Measurements
from gaaf_keras.analysis.node_dependence import correlations_of
from gaaf_keras.analysis.stateless import to_numpy

_OFTEN_VARIED = ("activation", "dropout", "learning_rate", "seed", "strength")
_QUANTITIES = tuple(field.name for field in dataclasses.fields(LayerGradient))


class GradientFlowLog(GradientFlow):
    """Measures the gradient flow and writes it into a run's folder.

    Args:
        x: Images, as they are kept.
        y: Labels.
        every: Steps between two measurements.
        batch_size: Examples of a measurement.
        folder: The run's. What it holds of steps to come is not kept.
        tensorboard: Whether to write the gradients for TensorBoard too.
    """

    def __init__(
        self,
        x: np.ndarray,
        y: np.ndarray,
        every: int,
        batch_size: int,
        *,
        folder: Path,
        tensorboard: bool,
    ) -> None:
        super().__init__(x, y, every, batch_size)
        self._folder = folder
        self._tensorboard = folder / run_folder.TENSORBOARD if tensorboard else None

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        super().on_train_begin(logs)
        self.history = run_folder.read_gradient_flow(self._folder)

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        super().on_epoch_begin(epoch, logs)
        # Less only in the first epoch of a run that resumes.
        self.history = [row for row in self.history if row[0] <= self._steps_before]

    def _batch(self, index: int) -> tuple[Data, ...]:
        x, y = super()._batch(index)
        return np.asarray(x, "float32"), y

    def write(self) -> None:
        """Writes all that was measured so far."""
        run_folder.write_gradient_flow(self._folder, self.history)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        new = [row for row in self.history if row[0] > self._steps_before]
        if new and self._tensorboard is not None:
            self._write_scalars(new, self._tensorboard)

    def _write_scalars(self, new: Measurements, folder: Path) -> None:
        import tensorflow as tf

        with tf.summary.create_file_writer(str(folder)).as_default():
            for step, layers in new:
                for layer, values in layers.items():
                    for name in _QUANTITIES:
                        value = getattr(values, name)
                        tf.summary.scalar(f"{name}/{layer}", value, step=step)


def write_hyperparameters(folder: Path, config: TrainingConfig) -> None:
    """Writes what TensorBoard's HParams view tells runs apart by.

    That is what was given or often varies: not what is left at its default.

    Args:
        folder: Where TensorBoard will look.
        config: The run's.
    """
    import tensorflow as tf
    from tensorboard.plugins.hparams import api

    found = {
        field.name: value
        for field in dataclasses.fields(config)
        if (value := getattr(config, field.name)) is not None
        and field.name not in PLACES
        and (field.name in _OFTEN_VARIED or value != field.default)
    }
    plain = {
        name: value if isinstance(value, bool | int | float) else str(value)
        for name, value in found.items()
    }
    with tf.summary.create_file_writer(str(folder)).as_default():
        api.hparams(plain)


class Histograms(keras.callbacks.Callback):
    """Writes histograms for TensorBoard after each epoch.

    Of the pre-activations of activations, of the correlations between node values, and
    of the weights.

    Args:
        folder: Where TensorBoard will look.
        images: The images that pre-activations and node values are of.
    """

    def __init__(self, folder: Path, images: np.ndarray) -> None:
        super().__init__()
        self._folder = folder
        self._images = images

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        import tensorflow as tf

        self._writer = tf.summary.create_file_writer(str(self._folder))
        self._pre_activations = Observation(self.model)
        self._outputs = Observation(self.model, OUTPUT)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        import tensorflow as tf

        with self._writer.as_default(step=epoch):
            for name, (values,) in self._pre_activations(self._images).items():
                tf.summary.histogram(f"pre_activation/{name}", values)
            for name, (values,) in self._outputs(self._images).items():
                nodes = self._outputs.nodes(name, values)
                tf.summary.histogram(f"correlation/{name}", correlations_of(nodes))
            for variable in self.model.trainable_variables:
                values = to_numpy(variable.value)
                tf.summary.histogram(f"weight/{variable.path}", values)

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        self._writer.close()
