"""Training loops for bare backends, as an expert would write them by hand.

Each module has a `Loop`: network, optimizer, batches and precision of a run of
`experiments`, written without Keras, with the images on the device.
"""

import importlib
import math
from collections.abc import Sequence
from typing import Any, Protocol

import keras
import numpy as np

from experiments.config import TrainingConfig
from experiments.data.datasets import ImageData

MOMENTUM = 0.9  # of the optimizer and the moving averages
EPSILON = 1e-3  # of batch normalisation
SHIFT = 4  # maximum shift of an image in pixels, in each direction


class Loop(Protocol):
    """One model in training, or several at once."""

    def epoch(self) -> Any:
        """Trains for an epoch and validates; returns losses and accuracies."""


def loop(configs: Sequence[TrainingConfig], data: ImageData) -> Loop:
    """Returns the loop for runs on the current backend; several only on JAX."""
    module = importlib.import_module(f"by_hand.{keras.backend.backend()}")
    return module.Loop(configs, data)


def kernels(config: TrainingConfig, data: ImageData) -> list[np.ndarray]:
    """Returns a network's initial kernels: of convolutions, then of dense layers."""
    random = np.random.default_rng(config.seed)
    height, width, channels = data.train.images.shape[1:]
    shapes: list[tuple[int, ...]] = []
    inputs = height * width * channels
    units: Sequence[int] = config.hidden_units
    if config.model == "cnn":
        for stage in range(3):
            for _ in range(2):
                shapes.append((3, 3, channels, config.width * 2**stage))
                channels = shapes[-1][-1]
        inputs = (height // 8) * (width // 8) * channels
        units = (8 * config.width,)
    for outputs in (*units, data.classes):
        shapes.append((inputs, outputs))
        inputs = outputs
    return [
        random.normal(0, math.prod(shape[:-1]) ** -0.5, shape).astype("float32")
        for shape in shapes
    ]


def is_pooled(index: int, kernel: Any) -> bool:
    """Whether a pool follows the layer with that kernel."""
    return len(kernel.shape) == len(("height", "width", "in", "out")) and index % 2 == 1
