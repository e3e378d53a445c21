"""The networks of `drop_in.py`, and how each is accelerated."""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np
from keras import layers

from experiments import networks
from experiments.data.datasets import ImageData

# The arguments of `accelerate`.
VARIANTS = {"accelerate": {}, "the paper's form": {"unit_gain": False}}
LSTM_VARIANTS = {
    "its gates alone": {"layers": "*/recurrent_activation"},
    "all of it": {"layers": ["lstm", "head"]},
}


def resnet(data: ImageData) -> keras.Model:
    """Returns a ResNet of 20 layers: three stages of three residual blocks."""

    def convolve(x: Any, channels: int, size: int = 3, strides: int = 1) -> Any:
        start = keras.initializers.HeNormal()
        x = layers.Conv2D(
            *(channels, size, strides, "same"), use_bias=False, kernel_initializer=start
        )(x)
        return layers.BatchNormalization(momentum=0.9)(x)

    def block(x: Any, channels: int, strides: int) -> Any:
        y = layers.Activation("relu")(convolve(x, channels, strides=strides))
        y = convolve(y, channels)
        if x.shape != y.shape:
            x = convolve(x, channels, size=1, strides=strides)
        return layers.Activation("relu")(layers.Add()([x, y]))

    inputs, x = _standardised(data)
    x = layers.Activation("relu")(convolve(x, 16))
    for stage in range(3):
        for index in range(3):
            halves = stage > 0 and index == 0
            x = block(x, 16 * 2**stage, strides=2 if halves else 1)
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, layers.Dense(data.classes, dtype="float32")(x))


def lstm(data: ImageData) -> keras.Model:
    """Returns an LSTM that reads images row by row, and a dense layer with ReLU.

    Without cuDNN, which Keras does not use for other activations and which computes
    with another precision.
    """
    inputs, x = _standardised(data)
    x = layers.Reshape((inputs.shape[1], -1))(x)
    x = layers.LSTM(64, use_cudnn=False, unroll=True, name="lstm")(x)
    x = layers.Dense(64, "relu", name="head")(x)
    return keras.Model(inputs, layers.Dense(data.classes, dtype="float32")(x))


def _standardised(data: ImageData) -> tuple[Any, Any]:
    """Returns an input for raw pixels, and the pixels standardised."""
    inputs = keras.Input(data.train.images.shape[1:])
    variance = np.square(data.standard_deviation)
    return inputs, layers.Normalization(mean=data.mean, variance=variance)(inputs)


def _of_the_package(make: Callable[..., keras.Model], **options: Any) -> Any:
    return lambda data: make(
        *(data.train.images.shape[1:], data.classes),
        **{"activation": "relu", "mean": data.mean, **options},
        standard_deviation=data.standard_deviation,
    )


@dataclasses.dataclass(frozen=True)
class Network:
    """A network and its training; the search for its learning rate starts at `rate`."""

    title: str
    make: Callable[[ImageData], keras.Model]
    rate: float
    epochs: int = 12
    batch_size: int = 256
    dataset: str = "cifar10"
    augment: bool = True
    optimizer: Callable[[], keras.Optimizer] = lambda: keras.optimizers.SGD(
        momentum=0.9
    )
    variants: Mapping[str, dict[str, Any]] = dataclasses.field(
        default_factory=lambda: VARIANTS
    )


_mnist = functools.partial(Network, dataset="mnist", batch_size=128, augment=False)
NETWORKS = {
    "mlp": _mnist(
        *("MLP", _of_the_package(networks.mlp), 0.2, 16), optimizer=keras.optimizers.SGD
    ),
    "cnn": Network("CNN", _of_the_package(networks.cnn), 0.04),
    "cnn_bn": Network(
        "CNN, batch norm", _of_the_package(networks.cnn, batch_norm=True), 0.2
    ),
    "resnet": Network("ResNet-20", resnet, 0.2),
    "lstm": _mnist(
        *("LSTM", lstm, 0.004, 8),
        optimizer=lambda: keras.optimizers.Adam(clipnorm=1.0),
        variants=VARIANTS | LSTM_VARIANTS,
    ),
}
