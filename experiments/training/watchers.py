"""The callbacks that measure a network while it trains."""

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
    """Measures the gradient flow and writes it to a run's folder.

    Args:
        x: Images, in their stored form.
        y: Labels.
        every: Steps between two measurements.
        batch_size: Examples per measurement.
        folder: The run's folder. Its measurements of later steps are discarded.
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
        # Fewer only in the first epoch of a resumed run.
        self.history = [row for row in self.history if row[0] <= self._steps_before]

    def _batch(self, index: int) -> tuple[Data, ...]:
        x, y = super()._batch(index)
        return np.asarray(x, "float32"), y

    def write(self) -> None:
        """Writes all measurements so far."""
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
    """Writes the settings by which TensorBoard's HParams view tells runs apart.

    These are settings that were given or often vary, not those left at their default.

    Args:
        folder: The folder that TensorBoard reads.
        config: The run's configuration.
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

    They show the pre-activations, the correlations between node values, and the
    weights.

    Args:
        folder: The folder that TensorBoard reads.
        images: The images from which pre-activations and node values are computed.
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
