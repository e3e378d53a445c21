"""The callbacks that look into a network while it trains."""

import csv
import dataclasses
import io
from pathlib import Path
from typing import Any

import keras
import numpy as np

from experiments.records import files, run_folder
from gaaf_keras.analysis import GradientFlow, LayerGradient
from gaaf_keras.analysis.activation_values import OUTPUT, Observation
from gaaf_keras.analysis.gradients import Measurements
from gaaf_keras.analysis.node_dependence import correlations_of
from gaaf_keras.analysis.stateless import to_numpy

_QUANTITIES = tuple(field.name for field in dataclasses.fields(LayerGradient))
_COLUMNS = ("step", "layer", *_QUANTITIES)


class GradientFlowLog(GradientFlow):
    """Measures the gradient flow and writes it into a run's folder.

    After each epoch the file is complete, so that a run can go on from there.

    Args:
        x: Inputs.
        y: Targets.
        every: Steps between two measurements.
        batch_size: Examples of a measurement.
        folder: The training's. What it holds of steps to come is not kept.
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
        self._path = folder / run_folder.GRADIENT_FLOW
        self._tensorboard = folder / run_folder.TENSORBOARD if tensorboard else None

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        super().on_epoch_begin(epoch, logs)
        if not self.history and self._path.is_file():
            text = self._path.read_text(encoding="utf-8")
            before = [row for row in from_csv(text) if row[0] <= self._steps_before]
            self.history.extend(before)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        files.write_text(self._path, to_csv(self.history))
        if self._tensorboard is not None:
            self._write_scalars(self._tensorboard)

    def _write_scalars(self, folder: Path) -> None:
        import tensorflow as tf

        new = [(step, now) for step, now in self.history if step > self._steps_before]
        with tf.summary.create_file_writer(str(folder)).as_default():
            for step, layers in new:
                for layer, values in layers.items():
                    for name in _QUANTITIES:
                        value = getattr(values, name)
                        tf.summary.scalar(f"{name}/{layer}", value, step=step)


def to_csv(history: Measurements) -> str:
    """Returns the contents of a `gradient_flow.csv`."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(_COLUMNS)
    for step, layers in history:
        for layer, values in layers.items():
            writer.writerow([step, layer, *dataclasses.astuple(values)])
    return file.getvalue()


def from_csv(text: str) -> Measurements:
    """Returns the measurements that `to_csv` has written."""
    found: dict[int, dict[str, LayerGradient]] = {}
    for row in csv.DictReader(io.StringIO(text)):
        values = LayerGradient(*(float(row[name]) for name in _QUANTITIES))
        found.setdefault(int(row["step"]), {})[row["layer"]] = values
    return list(found.items())


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
