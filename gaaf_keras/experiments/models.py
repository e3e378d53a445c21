"""The paper's networks as Keras models.

Both take raw pixels and return logits, one a class. The pixels are standardised by
the model's first layer, so that an exported model needs no preprocessing.
"""

from collections.abc import Sequence
from typing import Any

import keras

from gaaf_keras.experiments.config import TrainingConfig, UsageError
from gaaf_keras.experiments.datasets import ImageData
from gaaf_keras.layers import GAAFReLU, GAAFTanh

_CNN_STAGES = 3
_CONVOLUTIONS_A_STAGE = 2


def mlp(
    input_shape: Sequence[int],
    classes: int,
    hidden_units: Sequence[int] = (512, 256, 256),
    *,
    activation: Any = "tanh",
    dropout: float = 0.0,
    batch_norm: bool = False,
    mean: Sequence[float] = (0.0,),
    standard_deviation: Sequence[float] = (1.0,),
) -> keras.Model:
    """Returns a fully connected network, by default the paper's MNIST network.

    Each hidden layer is dense, batch normalisation (optional), activation, dropout
    (optional). Weights start Glorot uniform, as the paper's histograms show.

    Args:
        input_shape: Height, width and channels of an image.
        classes: How many classes there are: the size of the output.
        hidden_units: Widths of the hidden layers. The default is inferred from the
            ranges of the initial weights in the paper's figure 1.
        activation: Hidden activation: `"gaaf_tanh"`, `"gaaf_relu"`, or anything
            that `keras.layers.Activation` takes.
        dropout: Rate of the dropout after each hidden activation, 0 for none.
        batch_norm: Whether to normalise before each hidden activation.
        mean: What to subtract from the pixels, a value a channel.
        standard_deviation: What to divide them by then, a value a channel.

    Returns:
        A Keras model that maps images of shape `(batch, *input_shape)` to logits of
        shape `(batch, classes)`.
    """
    inputs = keras.Input(input_shape, name="image")
    x = _standardise(mean, standard_deviation)(inputs)
    x = keras.layers.Flatten(name="flatten")(x)
    for index, units in enumerate(hidden_units, start=1):
        x = keras.layers.Dense(units, use_bias=not batch_norm, name=f"dense_{index}")(x)
        x = _activate(x, index, activation, batch_norm)
        x = _drop(x, index, dropout)
    return keras.Model(inputs, _logits(x, classes), name="mlp")


def cnn(
    input_shape: Sequence[int],
    classes: int,
    width: int = 64,
    *,
    activation: Any = "relu",
    dropout: float = 0.0,
    batch_norm: bool = False,
    mean: Sequence[float] = (0.0,),
    standard_deviation: Sequence[float] = (1.0,),
) -> keras.Model:
    """Returns a VGG-style convolutional network.

    Three stages of two 3x3 convolutions and a 2x2 max-pool, with `width`,
    `2 * width` and `4 * width` channels, then a dense layer of `8 * width` units.
    Batch normalisation comes before each hidden activation; dropout after each pool
    and after the dense layer. Weights start He normal. The paper does not publish
    its architecture; this one is ours.

    Args:
        input_shape: Height, width and channels of an image, at least 8x8.
        classes: How many classes there are: the size of the output.
        width: Channels of the first stage.
        activation: Hidden activation: `"gaaf_tanh"`, `"gaaf_relu"`, or anything
            that `keras.layers.Activation` takes.
        dropout: Dropout rate, 0 for none.
        batch_norm: Whether to normalise before each hidden activation.
        mean: What to subtract from the pixels, a value a channel.
        standard_deviation: What to divide them by then, a value a channel.

    Returns:
        A Keras model that maps images of shape `(batch, *input_shape)` to logits of
        shape `(batch, classes)`.
    """
    inputs = keras.Input(input_shape, name="image")
    x = _standardise(mean, standard_deviation)(inputs)
    index = 0
    for stage in range(_CNN_STAGES):
        for _ in range(_CONVOLUTIONS_A_STAGE):
            index += 1
            x = keras.layers.Conv2D(
                width * 2**stage,
                3,
                padding="same",
                use_bias=not batch_norm,
                kernel_initializer="he_normal",
                name=f"convolution_{index}",
            )(x)
            x = _activate(x, index, activation, batch_norm)
        x = keras.layers.MaxPooling2D(name=f"pool_{stage + 1}")(x)
        x = _drop(x, stage + 1, dropout)
    x = keras.layers.Flatten(name="flatten")(x)
    x = keras.layers.Dense(
        width * 2**_CNN_STAGES,
        use_bias=not batch_norm,
        kernel_initializer="he_normal",
        name="dense",
    )(x)
    x = _activate(x, index + 1, activation, batch_norm)
    x = _drop(x, _CNN_STAGES + 1, dropout)
    return keras.Model(inputs, _logits(x, classes), name="cnn")


def build(config: TrainingConfig, data: ImageData) -> keras.Model:
    """Returns the model that a configuration asks for, sized for its data."""
    arguments: dict[str, Any] = {
        "input_shape": data.train.images.shape[1:],
        "classes": data.classes,
        "activation": config.activation,
        "dropout": config.dropout,
        "batch_norm": config.batch_norm,
        "mean": data.mean,
        "standard_deviation": data.standard_deviation,
    }
    if config.model == "mlp":
        return mlp(hidden_units=config.hidden_units, **arguments)
    return cnn(width=config.width, **arguments)


def require_fit(config: TrainingConfig, data: ImageData) -> None:
    """Raises a `UsageError` if the data's images are too small for the model."""
    height, width = data.train.images.shape[1:3]
    smallest = 2**_CNN_STAGES
    if config.model == "cnn" and min(height, width) < smallest:
        raise UsageError(
            f"The cnn halves images {_CNN_STAGES} times and needs at least {smallest}x"
            f"{smallest} pixels. Data set '{data.name}' has {height}x{width}."
        )


def _standardise(
    mean: Sequence[float], standard_deviation: Sequence[float]
) -> keras.layers.Layer:
    return keras.layers.Rescaling(
        scale=[1 / s for s in standard_deviation],
        offset=[-m / s for m, s in zip(mean, standard_deviation, strict=True)],
        name="standardise",
    )


def _activate(x: Any, index: int, activation: Any, batch_norm: bool) -> Any:
    if batch_norm:
        # Keras's default momentum of 0.99 takes hundreds of steps to forget the start.
        x = keras.layers.BatchNormalization(momentum=0.9, name=f"batch_norm_{index}")(x)
    name = f"activation_{index}"
    if activation == "gaaf_tanh":
        return GAAFTanh(name=name)(x)
    if activation == "gaaf_relu":
        return GAAFReLU(name=name)(x)
    return keras.layers.Activation(activation, name=name)(x)


def _drop(x: Any, index: int, rate: float) -> Any:
    return keras.layers.Dropout(rate, name=f"dropout_{index}")(x) if rate else x


def _logits(x: Any, classes: int) -> Any:
    return keras.layers.Dense(classes, name="logits")(x)
