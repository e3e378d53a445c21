"""What `keras.Model.fit` does around its steps, for many steps run at once."""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import keras
import numpy as np

from experiments.data.batches import (
    EpochOrder,
    epoch_order,
    evaluation_batches,
    padded,
)
from experiments.data.datasets import ImageData
from experiments.devices.base import Training


class Resident(NamedTuple):
    """A data set on the device.

    Attributes:
        train: Images, padded if they are shifted, and labels.
        validation: Batches of images, labels and weights.
    """

    train: tuple[Any, ...]
    validation: tuple[Any, ...]

    @classmethod
    def of(
        cls, data: ImageData, put: Callable[[np.ndarray], Any], *, augment: bool
    ) -> "Resident":
        """Returns a data set with each array on the device."""
        images = data.train.images
        train = padded(images) if augment else images, data.train.labels
        held = train, evaluation_batches(data.validation)
        return cls(*(tuple(map(put, part)) for part in held))


class Programs(Protocol):
    """Trains and validates on a device that holds the images."""

    def train(
        self, model: keras.Model, order: EpochOrder, first: int, end: int
    ) -> np.ndarray:
        """Trains for some steps of an epoch, and updates the model's metrics.

        Args:
            model: A compiled and built model.
            order: The order of the epoch.
            first: The first step.
            end: The step after the last.

        Returns:
            Keras's running mean of the loss after each of the steps.
        """
        ...

    def validate(self, model: keras.Model) -> None:
        """Updates the model's metrics with the validation data."""
        ...


def fit(
    training: Training,
    programs: Callable[[], Programs],
    data: ImageData,
) -> None:
    """Trains a model as `keras.Model.fit` does.

    It calls `on_train_batch_end` of the callbacks with only the loss: at the end of
    each epoch and, unless `config.gradient_flow` is 0, every `config.gradient_flow`
    steps counted over all epochs. If the loss is NaN in between, it is called for the
    first such step.

    Args:
        training: The model.
        programs: Returns the programs that train the model, once it is built.
        data: Its training and validation data.
    """
    model, config, initial_epoch, epochs, callbacks = training
    shape = (config.batch_size, *data.train.images.shape[1:])
    images = keras.KerasTensor(shape, "float32")
    labels = keras.KerasTensor(shape[:1], "int32")
    model._symbolic_build(data_batch=(images, labels, None))
    steps = len(data.train) // config.batch_size
    called = keras.callbacks.CallbackList(
        callbacks, model=model, epochs=epochs, steps=steps
    )
    model.stop_training = False
    called.on_train_begin()
    if initial_epoch < epochs:
        on_device = programs()  # including the variables that callbacks add
    for epoch in range(initial_epoch, epochs):
        order = epoch_order(len(data.train), config.batch_size, config.seed, epoch)
        model.reset_metrics()
        called.on_epoch_begin(epoch)
        first = 0
        for end in part_ends(epoch * steps, steps, config.gradient_flow):
            called.on_train_batch_begin(first)
            losses = on_device.train(model, order, first, end)
            failed = np.flatnonzero(~np.isfinite(losses))
            last = int(failed[0]) if failed.size else len(losses) - 1
            called.on_train_batch_end(first + last, {"loss": float(losses[last])})
            if model.stop_training:
                break
            first = end
        logs = _numbers(model)
        called.on_test_begin()
        model.reset_metrics()
        on_device.validate(model)
        validated = _numbers(model)
        called.on_test_end(validated)
        logs |= {f"val_{name}": value for name, value in validated.items()}
        called.on_epoch_end(epoch, logs)
        if model.stop_training:
            break
    called.on_train_end()


def part_ends(before: int, steps: int, every: int) -> list[int]:
    """Returns the steps of an epoch at which its parts end.

    Args:
        before: Steps before the epoch.
        steps: Steps of the epoch.
        every: Steps, over all epochs, between two ends; 0 for only the epoch's end.
    """
    first = every - before % every if every else steps
    return [*range(first, steps, every or steps), steps]


def _numbers(model: keras.Model) -> dict[str, float]:
    return {name: float(value) for name, value in model.get_metrics_result().items()}
