"""Epochs on PyTorch, on images that stay on the device.

Each batch is gathered and augmented there for Keras's own step; the losses are fetched
once after many steps. Weights and history are those of `fit`. An epoch runs to its end
even if the loss becomes NaN.
"""

import keras
import numpy as np
import torch

from experiments.data.batches import EpochOrder, moved
from experiments.devices.epoch_loop import Resident


class Programs:
    """Trains models on data held by the device.

    Args:
        on: The data.
        augment: Whether training images are flipped and shifted.
    """

    def __init__(self, on: Resident, *, augment: bool) -> None:
        self._on = on
        self._augment = augment

    def train(
        self, model: keras.Model, order: EpochOrder, first: int, end: int
    ) -> np.ndarray:
        """Trains for some steps of an epoch, as `epoch_loop.Programs` does."""
        model.make_train_function()
        images, labels = self._on.train
        steps = _on_device(*(part[first:end] for part in order))
        losses = []
        model.train()
        for indices, *moves in zip(*steps, strict=True):
            x = moved(images[indices], *moves) if self._augment else images[indices]
            data = x.to(torch.float32), labels[indices]
            losses.append(model.train_function([data])["loss"])
        model.eval()
        return torch.stack(losses).cpu().numpy()

    def validate(self, model: keras.Model) -> None:
        """Updates the model's metrics with the validation data."""
        model.make_test_function()
        for images, *rest in zip(*self._on.validation, strict=True):
            model.test_function([(images.to(torch.float32), *rest)])


def _on_device(*arrays: np.ndarray) -> tuple[torch.Tensor, ...]:
    return tuple(map(keras.ops.convert_to_tensor, arrays))
