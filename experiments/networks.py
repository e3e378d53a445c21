"""The paper's networks as Keras models.

Both take raw pixels and return logits, one a class. The pixels are standardised by
the model's first layer, so that an exported model needs no preprocessing.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from experiments import own_shapes
from experiments.config import TrainingConfig, UsageError
from experiments.data.datasets import ImageData
from gaaf_keras._core.kinds import (
    is_activation_operation,
    is_functional,
    is_graph,
    name_of,
)
from gaaf_keras._core.sawtooth import gradient_acceleration
from gaaf_keras.acceleration import Acceleration, accelerate
from gaaf_keras.acceleration.outputs import last_operations
from gaaf_keras.layers import GAAF, GAAFReLU, GAAFTanh

_CNN_STAGES = 3
_PROBES = 8  # images on which a model from a file is tried
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
        x = _drop(x, stage + 1, dropout, dropout_seed)
    x = keras.layers.Flatten(name="flatten")(x)
    x = keras.layers.Dense(
        width * 2**_CNN_STAGES,
        use_bias=not batch_norm,
        kernel_initializer="he_normal",
        name="dense",
    )(x)
    x = _activate(x, index + 1, activation, batch_norm)
    x = _drop(x, _CNN_STAGES + 1, dropout, dropout_seed)
    return keras.Model(inputs, _logits(x, classes), name="cnn")


class Network:
    """The network that a configuration asks for, checked against its data.

    A model in a file is loaded for the check, and again only if it is asked for a
    second time.

    Args:
        config: The run.
        data: What it is on.

    Attributes:
        from_logits: Whether the network returns logits, and not probabilities.
        acceleration: What `accelerate` changes in the model of a file, if that is
            asked for.

    Raises:
        UsageError: If the network does not fit the images, or a model in a file cannot
            be read, accelerated or used.
    """

    def __init__(self, config: TrainingConfig, data: ImageData) -> None:
        self._config = config
        self._data = data
        self._checked: keras.Model | None = None
        self.acceleration: Acceleration | None = None
        self.from_logits = True
        if config.init_from is None:
            _require_new_model_fits(config, data)
        else:
            _require_images(data, config.augments)
            keras.utils.set_random_seed(config.seed)  # of dropout without a seed
            self._checked, self.acceleration = _from_file(config, data)
            self.from_logits = not _gives_probabilities(self._checked, data)

    def model(
        self,
        seed: int | None = None,
        replicas: int = 1,
        *,
        synchronized: bool = False,
    ) -> keras.Model:
        """Returns a model as it is before training, to be compiled.

        Args:
            seed: Of what dropout drops, by default the configuration's. Weights are
                drawn from Keras's own generator.
            replicas: How many there are. For several it is made again, in the scope of
                the strategy that is entered.
            synchronized: Whether batch normalisations put the replicas' shares of a
                batch together.
        """
        if self._checked is not None and replicas == 1:
            model, self._checked = self._checked, None
        elif self._config.init_from is not None:
            model, _ = _from_file(self._config, self._data)
        else:
            seed = self._config.seed if seed is None else seed
            model = _new(self._config, self._data, seed)
        for layer in model._flatten_layers():
            if synchronized and isinstance(layer, keras.layers.BatchNormalization):
                layer.synchronized = True
        return model


def _new(config: TrainingConfig, data: ImageData, seed: int) -> keras.Model:
    arguments: dict[str, Any] = {
        "input_shape": data.train.images.shape[1:],
        "classes": data.classes,
        "activation": _hidden_activation(config),
        "dropout": config.dropout,
        "dropout_seed": seed,
        "batch_norm": config.batch_norm,
        "mean": data.mean,
        "standard_deviation": data.standard_deviation,
    }
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy(config.precision)
    try:
        if config.model == "mlp":
            return mlp(hidden_units=config.hidden_units, **arguments)
        return cnn(width=config.width, **arguments)
    finally:
        keras.config.set_dtype_policy(policy)


def _require_new_model_fits(config: TrainingConfig, data: ImageData) -> None:
    _require_images(data, config.augments or config.model == "cnn")
    height_and_width = data.train.images.shape[1:-1]
    smallest = 2**_CNN_STAGES
    if config.model == "cnn" and min(height_and_width) < smallest:
        raise UsageError(
            f"The cnn halves images {_CNN_STAGES} times and needs at least {smallest}x"
            f"{smallest} pixels. Data set '{data.name}' has "
            f"{'x'.join(map(str, height_and_width))}."
        )
    try:
        activation = _hidden_activation(config)
        if isinstance(activation, keras.layers.Layer):
            type(activation).from_config(activation.get_config())  # as in a saved model
        if config.frequency is not None:
            gradient_acceleration(np.zeros(1, "float32"), config.frequency)
    except (TypeError, ValueError) as error:  # of a shape, a frequency too large
        raise UsageError(str(error)) from error


def _require_images(data: ImageData, needed: bool) -> None:
    if needed and len(data.train.images.shape) == len(("examples", "features")):
        raise UsageError(
            f"Data set '{data.name}' has vectors, not images: choose the mlp, without "
            "augment."
        )


def _gives_probabilities(model: keras.Model, data: ImageData) -> bool:
    """Whether a model's outputs are probabilities; otherwise they are logits.

    Raises:
        UsageError: If they are neither.
    """
    outputs = keras.ops.convert_to_numpy(
        model(data.train.images[:_PROBES].astype("float32"), training=False)
    ).astype("float64")
    sums = outputs.sum(axis=1)
    if np.all(outputs >= 0) and np.allclose(sums, 1, atol=1e-2):
        return True
    for last in last_operations(model):
        activation = getattr(last, "activation", None)
        name = name_of(last if is_activation_operation(last) else activation)
        if name != "linear":
            raise UsageError(
                f"Model '{model.name}' must return logits or a softmax. It ends in: "
                f"{name}."
            )
    return False


def _from_file(
    config: TrainingConfig, data: ImageData
) -> tuple[keras.Model, Acceleration | None]:
    """Returns the model in `config.init_from`, accelerated if that is asked for."""
    path = Path(str(config.init_from)).expanduser()
    try:
        model = keras.saving.load_model(path, compile=False)
    except Exception as error:  # what can be wrong with a file is without number
        reason = str(error).strip().partition("\n")[0]
        raise UsageError(f"init_from '{path}' cannot be loaded: {reason}") from error
    if not is_graph(model) or not model.built:
        raise UsageError(
            f"init_from '{path}' must hold a Functional or Sequential model with a "
            f"known input. It holds: {model}"
        )
    _require_shapes(model, data, path)
    return model, accelerated(model, config) if config.accelerate else None


def accelerated(model: keras.Model, config: TrainingConfig) -> Acceleration:
    """Accelerates a model from a file as a run does.

    Raises:
        UsageError: If there is nothing to accelerate, or the shape function does not
            fit.
    """
    try:
        return accelerate(
            model,
            _shape_function(config),
            config.strength,
            unit_gain=bool(config.unit_gain),
        )
    except (TypeError, ValueError) as error:
        raise UsageError(
            f"init_from '{config.init_from}' cannot be accelerated: {error}"
        ) from error


def _require_shapes(model: keras.Model, data: ImageData, path: Path) -> None:
    """Raises if a model is not one for the images and classes of a data set."""
    structured = is_functional(model) and not isinstance(
        model.output, keras.KerasTensor
    )
    if len(model.inputs) != 1 or len(model.outputs) != 1 or structured:
        raise UsageError(
            f"init_from '{path}' must have one input and one output, a tensor. It has "
            f"{len(model.inputs)} and {len(model.outputs)}"
            + (f", in a structure: {model.output}." if structured else ".")
        )
    if not model.trainable_weights:
        raise UsageError(f"init_from '{path}' has no weights that can be trained.")
    wanted = tuple(data.train.images.shape[1:])
    takes, gives = tuple(model.inputs[0].shape[1:]), tuple(model.outputs[0].shape[1:])
    fits = len(takes) == len(wanted) and all(
        size in (None, image) for size, image in zip(takes, wanted, strict=True)
    )
    if not fits or gives != (data.classes,):
        raise UsageError(
            f"init_from '{path}' maps {takes} to {gives}; data set '{data.name}' has "
            f"images of shape {wanted} and {data.classes} classes."
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
    if isinstance(activation, str) and activation.startswith("gaaf_"):
        activation = _gaaf_layer(activation.removeprefix("gaaf_"))
    if isinstance(activation, keras.layers.Layer):
        config = {**activation.get_config(), "name": name}
        return type(activation).from_config(config)(x)
    return keras.layers.Activation(activation, name=name)(x)


def _hidden_activation(config: TrainingConfig) -> Any:
    """Returns the hidden activation of a new model, as `mlp` and `cnn` take it."""
    if not config.accelerates:
        return config.activation
    return _gaaf_layer(
        config.activation.removeprefix("gaaf_"),
        shape_function=_shape_function(config),
        strength=config.strength,
        unit_gain=config.unit_gain,
        frequency=config.frequency,
    )


def _shape_function(config: TrainingConfig) -> Any:
    text = config.shape_function
    if text is None or ":" not in text:
        return text
    shape = own_shapes.shape_of(text)
    named = shape if hasattr(shape, "__qualname__") else type(shape)
    if keras.saving.get_registered_name(named) == named.__name__:  # it is not yet
        keras.saving.register_keras_serializable(named.__module__)(named)
    return shape


def _gaaf_layer(base: str, **arguments: Any) -> GAAF:
    """Returns the accelerated form of an activation."""
    own_class = {"tanh": GAAFTanh, "relu": GAAFReLU}.get(base)
    return GAAF(base, **arguments) if own_class is None else own_class(**arguments)


def _drop(x: Any, index: int, rate: float, seed: int | None) -> Any:
    if not rate:
        return x
    if seed is not None:  # one for each layer, all apart from those of other seeds
        seed = int(np.random.default_rng([seed, index]).integers(10**9))
    return keras.layers.Dropout(rate, seed=seed, name=f"dropout_{index}")(x)


def _logits(x: Any, classes: int) -> Any:
    return keras.layers.Dense(classes, dtype="float32", name="logits")(x)
