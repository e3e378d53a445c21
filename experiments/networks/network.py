"""The network that a configuration asks for."""

from typing import Any

import keras
import numpy as np

from experiments.config import MODELS, TrainingConfig, UsageError
from experiments.data.datasets import ImageData
from experiments.networks import files
from experiments.networks.activation import hidden_activation
from experiments.networks.models import CNN_STAGES, cnn, lstm, mlp, resmlp
from gaaf_keras._core.sawtooth import gradient_acceleration
from gaaf_keras.acceleration import Acceleration


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
            self._checked, self.acceleration = files.load(config, data)
            self.from_logits = not files.gives_probabilities(self._checked, data)

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
            model, _ = files.load(self._config, self._data)
        else:
            seed = self._config.seed if seed is None else seed
            model = _new(self._config, self._data, seed)
        for layer in model._flatten_layers():
            if synchronized and isinstance(layer, keras.layers.BatchNormalization):
                layer.synchronized = True
        return model


def _new(config: TrainingConfig, data: ImageData, seed: int) -> keras.Model:
    make: Any = {"mlp": mlp, "cnn": cnn, "resmlp": resmlp, "lstm": lstm}[config.model]
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy(config.precision)
    try:
        return make(
            data.train.images.shape[1:],
            data.classes,
            activation=hidden_activation(config),
            dropout=config.dropout,
            dropout_seed=seed,
            mean=data.mean,
            standard_deviation=data.standard_deviation,
            **{name: getattr(config, name) for name in MODELS[config.model]},
        )
    finally:
        keras.config.set_dtype_policy(policy)


def _require_new_model_fits(config: TrainingConfig, data: ImageData) -> None:
    _require_images(data, config.augments or config.model in ("cnn", "lstm"))
    height_and_width = data.train.images.shape[1:-1]
    smallest = 2**CNN_STAGES
    if config.model == "cnn" and min(height_and_width) < smallest:
        raise UsageError(
            f"The cnn halves images {CNN_STAGES} times and needs at least {smallest}x"
            f"{smallest} pixels. Data set '{data.name}' has "
            f"{'x'.join(map(str, height_and_width))}."
        )
    try:
        activation = hidden_activation(config)
        if isinstance(activation, keras.layers.Layer):
            type(activation).from_config(activation.get_config())  # as in a saved model
        if config.frequency is not None:
            gradient_acceleration(np.zeros(1, "float32"), config.frequency)
    except (TypeError, ValueError) as error:  # of a shape, a frequency too large
        raise UsageError(str(error)) from error


def _require_images(data: ImageData, needed: bool) -> None:
    if needed and len(data.train.images.shape) == len(("examples", "features")):
        raise UsageError(
            f"Data set '{data.name}' has vectors, not images: choose the mlp or the "
            "resmlp, without augment."
        )
