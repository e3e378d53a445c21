"""The networks that can be trained, as Keras models.

All take raw pixels and return logits, one a class. The pixels are standardised by
the model's first layer, so that an exported model needs no preprocessing.
"""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from experiments.networks.activation import gaaf_layer
from gaaf_keras.layers import GAAF

CNN_STAGES = 3
_CONVOLUTIONS_A_STAGE = 2


def mlp(
    input_shape: Sequence[int],
    classes: int,
    hidden_units: Sequence[int] = (512, 256, 256),
    *,
    activation: Any = "tanh",
    dropout: float = 0.0,
    dropout_seed: int | None = None,
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
        activation: Hidden activation: a layer, of which every hidden layer gets a
            copy, such as `GAAF("tanh", Gaussian(3.0))`; `"gaaf_NAME"` for the
            accelerated form of an activation; or anything that
            `keras.layers.Activation` takes.
        dropout: Rate of the dropout after each hidden activation, 0 for none.
        dropout_seed: Seed of what is dropped. By default it is drawn as those of the
            weights are, and a network with dropout starts with other weights than one
            without.
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
        x = _drop(x, index, dropout, dropout_seed)
    return keras.Model(inputs, _logits(x, classes), name="mlp")


def cnn(
    input_shape: Sequence[int],
    classes: int,
    width: int = 64,
    *,
    activation: Any = "relu",
    dropout: float = 0.0,
    dropout_seed: int | None = None,
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
        activation: Hidden activation, as `mlp` takes it.
        dropout: Dropout rate, 0 for none.
        dropout_seed: As of `mlp`.
        batch_norm: Whether to normalise before each hidden activation.
        mean: As of `mlp`.
        standard_deviation: As of `mlp`.

    Returns:
        A Keras model that maps images of shape `(batch, *input_shape)` to logits of
        shape `(batch, classes)`.
    """
    inputs = keras.Input(input_shape, name="image")
    x = _standardise(mean, standard_deviation)(inputs)
    index = 0
    for stage in range(CNN_STAGES):
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
        x = _drop(x, stage + 1, dropout, dropout_seed)
    x = keras.layers.Flatten(name="flatten")(x)
    x = keras.layers.Dense(
        width * 2**CNN_STAGES,
        use_bias=not batch_norm,
        kernel_initializer="he_normal",
        name="dense",
    )(x)
    x = _activate(x, index + 1, activation, batch_norm)
    x = _drop(x, CNN_STAGES + 1, dropout, dropout_seed)
    return keras.Model(inputs, _logits(x, classes), name="cnn")


def resmlp(
    input_shape: Sequence[int],
    classes: int,
    hidden_units: Sequence[int] = (512, 256, 256),
    width: int = 64,
    *,
    activation: Any = "relu",
    dropout: float = 0.0,
    dropout_seed: int | None = None,
    batch_norm: bool = False,
    mean: Sequence[float] = (0.0,),
    standard_deviation: Sequence[float] = (1.0,),
) -> keras.Model:
    """Returns a residual network of dense layers.

    A dense layer brings the image to `width`. Each block adds to that what a layer
    normalisation, a dense layer, the activation, dropout and a second dense layer make
    of it. A last layer normalisation comes before the logits.

    Args:
        input_shape: As of `mlp`.
        classes: As of `mlp`.
        hidden_units: Width of the hidden layer of each block.
        width: Width of what the blocks add to.
        activation: Hidden activation, as `mlp` takes it.
        dropout: Rate of the dropout after each hidden activation, 0 for none.
        dropout_seed: As of `mlp`.
        batch_norm: Whether to normalise over the batch, too, before each hidden
            activation.
        mean: As of `mlp`.
        standard_deviation: As of `mlp`.

    Returns:
        A Keras model that maps images of shape `(batch, *input_shape)` to logits of
        shape `(batch, classes)`.
    """
    inputs = keras.Input(input_shape, name="image")
    x = _standardise(mean, standard_deviation)(inputs)
    x = keras.layers.Flatten(name="flatten")(x)
    x = keras.layers.Dense(width, name="embedding")(x)
    for index, units in enumerate(hidden_units, start=1):
        y = keras.layers.LayerNormalization(name=f"norm_{index}")(x)
        y = keras.layers.Dense(units, use_bias=not batch_norm, name=f"dense_{index}")(y)
        y = _activate(y, index, activation, batch_norm)
        y = _drop(y, index, dropout, dropout_seed)
        y = keras.layers.Dense(width, name=f"projection_{index}")(y)
        x = keras.layers.Add(name=f"add_{index}")([x, y])
    x = keras.layers.LayerNormalization(name="norm")(x)
    return keras.Model(inputs, _logits(x, classes), name="resmlp")


def lstm(
    input_shape: Sequence[int],
    classes: int,
    width: int = 64,
    *,
    activation: Any = "tanh",
    gates_alone: bool = False,
    dropout: float = 0.0,
    dropout_seed: int | None = None,
    mean: Sequence[float] = (0.0,),
    standard_deviation: Sequence[float] = (1.0,),
) -> keras.Model:
    """Returns an LSTM that reads an image row by row.

    With an accelerated activation its gates are accelerated too, with their default
    shape, at the same strength and gain: `accelerate(model, layers="lstm")` does so.
    Keras never computes it with cuDNN, which has no other activations and another
    precision.

    Args:
        input_shape: Height, width and channels of an image.
        classes: As of `mlp`.
        width: Units of the LSTM.
        activation: Activation of candidate and output, as `mlp` takes it.
        gates_alone: Whether only the gates are accelerated.
        dropout: Rate of the dropout after the last row, 0 for none.
        dropout_seed: As of `mlp`.
        mean: As of `mlp`.
        standard_deviation: As of `mlp`.

    Returns:
        A Keras model that maps images of shape `(batch, *input_shape)` to logits of
        shape `(batch, classes)`.
    """
    activation = _copy(activation, "activation")
    gates: Any = "sigmoid"
    if isinstance(activation, GAAF):
        found = activation.get_config()
        same = {name: found[name] for name in ("strength", "frequency", "unit_gain")}
        gates = GAAF("sigmoid", **same, name="gates")
        activation = activation.activation if gates_alone else activation
    inputs = keras.Input(input_shape, name="image")
    x = _standardise(mean, standard_deviation)(inputs)
    x = keras.layers.Reshape((input_shape[0], -1), name="rows")(x)
    x = keras.layers.LSTM(
        width,
        activation=activation,
        recurrent_activation=gates,
        use_cudnn=False,
        name="lstm",
    )(x)
    x = _drop(x, 1, dropout, dropout_seed)
    return keras.Model(inputs, _logits(x, classes), name="lstm")


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
    layer = _copy(activation, f"activation_{index}")
    if isinstance(layer, keras.layers.Layer):
        return layer(x)
    return keras.layers.Activation(layer, name=f"activation_{index}")(x)


def _copy(activation: Any, name: str) -> Any:
    """Returns a layer of its own for an activation that is one, by name or as such."""
    if isinstance(activation, str) and activation.startswith("gaaf_"):
        activation = gaaf_layer(activation.removeprefix("gaaf_"))
    if isinstance(activation, keras.layers.Layer):
        config = {**activation.get_config(), "name": name}
        return type(activation).from_config(config)
    return activation


def _drop(x: Any, index: int, rate: float, seed: int | None) -> Any:
    if not rate:
        return x
    if seed is not None:  # one for each layer, all apart from those of other seeds
        seed = int(np.random.default_rng([seed, index]).integers(10**9))
    return keras.layers.Dropout(rate, seed=seed, name=f"dropout_{index}")(x)


def _logits(x: Any, classes: int) -> Any:
    return keras.layers.Dense(classes, dtype="float32", name="logits")(x)
