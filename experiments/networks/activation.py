"""The hidden activation of a network, as a configuration describes it."""

from typing import Any

import keras

from experiments import own_shapes
from experiments.config import TrainingConfig
from gaaf_keras.layers import GAAF, GAAFReLU, GAAFTanh


def hidden_activation(config: TrainingConfig) -> Any:
    """Returns the hidden activation of a new model, as the models take it."""
    if not config.accelerates:
        return config.activation
    return gaaf_layer(
        config.activation.removeprefix("gaaf_"),
        shape_function=shape_function(config),
        strength=config.strength,
        unit_gain=config.unit_gain,
        frequency=config.frequency,
    )


def shape_function(config: TrainingConfig) -> Any:
    """Returns the shape function of accelerated activations, None for their own."""
    text = config.shape_function
    if text is None or ":" not in text:
        return text
    shape = own_shapes.shape_of(text)
    named = shape if hasattr(shape, "__qualname__") else type(shape)
    if keras.saving.get_registered_name(named) == named.__name__:  # it is not yet
        keras.saving.register_keras_serializable(named.__module__)(named)
    return shape


def gaaf_layer(base: str, **arguments: Any) -> GAAF:
    """Returns the accelerated form of an activation."""
    own_class = {"tanh": GAAFTanh, "relu": GAAFReLU}.get(base)
    return GAAF(base, **arguments) if own_class is None else own_class(**arguments)
