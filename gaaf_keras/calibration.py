"""Shapes matched to dropout, from the noise it would make in a model's layers."""

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
from keras import ops

from gaaf_keras.layers import GAAF, accelerated_layers
from gaaf_keras.shapes import DropoutMatched

_LINEAR = (
    keras.layers.Dense,
    keras.layers.Conv1D,
    keras.layers.Conv2D,
    keras.layers.Conv3D,
)


def calibrate(
    model: Any, data: Any, rate: float | Mapping[str, float]
) -> dict[str, float]:
    """Gives each GAAF layer the shape that matches dropout before its weights.

    For every GAAF layer the standard deviation is measured that dropout of the
    activities entering the layer below (dense or convolution, with or without batch
    normalisation behind it) would give to the net input: the root of
    `rate / (1 - rate) * (w^2 * a^2)`, averaged over a batch and the layer's units.
    The layer then gets `DropoutMatched(activation, net_std)`. The noise that dropout in
    still lower layers would pass on is left out.

    The model is changed in place; its compiled training step is built anew.

    Args:
        model: A built Functional or Sequential model without dropout, with GAAF layers
            for tanh, ReLU or sigmoid, each behind a `Dense` or `Conv` layer or given
            to one as `activation=`.
        data: A batch of inputs, as `model.predict` takes them. Some hundred examples
            do.
        rate: The dropout rate, above 0 and below 1. Or a mapping from the names of
            GAAF layers to rates; the layers not named are left as they are.

    Returns:
        The standard deviation of the net input by name of the GAAF layer.

    Raises:
        ValueError: If a rate is out of range, a name is unknown, the model has no
            GAAF layer, or one of them does not follow a layer that can be measured.
            The model is left as it was.

    Example:
    ```python
    net_stds = gaaf_keras.calibrate(model, x_train[:500], rate=0.5)
    ```
    """
    layers = {layer.name: layer for layer in accelerated_layers(model)}
    if not layers:
        raise ValueError("calibrate needs a model with GAAF layers; this one has none.")
    rates = rate if isinstance(rate, Mapping) else dict.fromkeys(layers, rate)
    for name, value in rates.items():
        if name not in layers:
            raise ValueError(
                f"Argument `rate` names {name!r}, which is no GAAF layer of the model. "
                f"There are: {', '.join(layers)}"
            )
        if not 0 < value < 1:
            raise ValueError(
                f"Argument `rate` must be above 0 and below 1. Received: {value!r}"
            )
    net_stds = {
        name: float(
            np.sqrt(value / (1 - value) * _mean_variance(model, layers[name], data))
        )
        for name, value in rates.items()
    }
    matched = {
        name: DropoutMatched(layers[name].activation.__name__, net_std)
        for name, net_std in net_stds.items()
    }
    for name, shape in matched.items():
        layers[name].shape = shape
    model.train_function = None
    return net_stds


def _mean_variance(model: Any, layer: GAAF, data: Any) -> float:
    """Returns the mean of (w^2 * a^2) over a batch and the units of a layer."""
    linear, normalisation = _layers_below(model, layer)
    squared = type(linear).from_config(
        {**linear.get_config(), "activation": None, "use_bias": False}
    )
    activities = keras.Model(model.inputs, linear.input).predict(data, verbose=0)
    squared.build(activities.shape)
    kernel = ops.convert_to_numpy(linear.kernel)
    if normalisation is not None:
        kernel = kernel * _factor(normalisation)
    squared.set_weights([np.square(kernel)])
    variance = squared(np.square(activities))
    return float(np.mean(ops.convert_to_numpy(variance), dtype="float64"))


def _factor(normalisation: Any) -> np.ndarray:
    """What a batch normalisation multiplies each channel by at inference."""
    variance = ops.convert_to_numpy(normalisation.moving_variance)
    factor = 1 / np.sqrt(variance + normalisation.epsilon)
    if normalisation.scale:
        factor = factor * ops.convert_to_numpy(normalisation.gamma)
    return factor


def _layers_below(model: Any, layer: GAAF) -> tuple[Any, Any]:
    """Returns the linear layer whose output a GAAF layer takes, and what normalises."""
    for candidate in model.layers:
        if isinstance(candidate, _LINEAR) and candidate.activation is layer:
            return candidate, None
    below = _producer(model, layer)
    normalisation = None
    if isinstance(below, keras.layers.BatchNormalization):
        normalisation, below = below, _producer(model, below)
    if not isinstance(below, _LINEAR) or (
        below.activation is not keras.activations.linear
    ):
        raise ValueError(
            f"GAAF layer {layer.name!r} cannot be calibrated: it does not take the "
            "output of a Dense or Conv layer, directly or through batch "
            "normalisation. Leave it out by giving `rate` as a mapping."
        )
    return below, normalisation


def _producer(model: Any, layer: Any) -> Any:
    """Returns the layer of the model whose output is the input of another."""
    try:
        taken = layer.input
    except (AttributeError, ValueError):
        return None
    for candidate in model.layers:
        if candidate is not layer and getattr(candidate, "output", None) is taken:
            return candidate
    return None
