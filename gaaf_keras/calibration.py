"""Shapes matched to dropout, from the noise it would make in a model's layers."""

import inspect
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
from keras import ops

from gaaf_keras._checks import finite_number
from gaaf_keras.kinds import function_of
from gaaf_keras.layers import GAAF, accelerated_layers
from gaaf_keras.shapes.dropout import MATCHED_ACTIVATIONS, DropoutMatched

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
    The layer then gets `DropoutMatched(activation, net_std)`. Batch normalisation
    divides by the deviation in the (noisy) batch, as it does in training. The noise
    that dropout in still lower layers would pass on is left out.

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
        TypeError: If a rate is no number.
        ValueError: If a rate is out of range, a name is unknown or not unique, the
            model has no GAAF layer, or one of them does not follow a layer that can
            be measured. The model is left as it was.

    Examples:
        ```python
        accelerated = gaaf_keras.accelerate(model)
        net_stds = gaaf_keras.calibrate(accelerated, x_train[:500], rate=0.5)
        ```
    """
    layers = accelerated_layers(model)
    if not layers:
        raise ValueError("calibrate needs a model with GAAF layers; this one has none.")
    by_name = {layer.name: layer for layer in layers}
    rates = rate if isinstance(rate, Mapping) else dict.fromkeys(by_name, rate)
    for name, value in rates.items():
        if name not in by_name:
            raise ValueError(
                f"Argument `rate` names {name!r}, which is no GAAF layer of the model. "
                f"There are: {', '.join(by_name)}"
            )
        if not 0 < finite_number("rate", value) < 1:
            raise ValueError(
                f"Argument `rate` must be above 0 and below 1. Received: {value!r}"
            )
        if sum(layer.name == name for layer in layers) > 1:
            raise _cannot_calibrate(name, "several GAAF layers have that name")
    matched = {
        name: DropoutMatched(
            _activation_name(by_name[name]),
            _net_std(model, by_name[name], data, float(value)),
        )
        for name, value in rates.items()
    }
    for name, shape in matched.items():
        by_name[name].shape = shape
    model.train_function = None
    return {name: shape.net_std for name, shape in matched.items()}


def _net_std(model: Any, layer: GAAF, data: Any, rate: float) -> float:
    """Returns the standard deviation that dropout gives the net input of a layer."""
    linear, normalisation = _layers_below(model, layer)
    activities = _inputs_of(model, linear, data).astype("float32")
    kernel = ops.convert_to_numpy(linear.kernel)  # with what LoRA adds to it
    bias = [ops.convert_to_numpy(linear.bias)] if linear.use_bias else []

    def apply(weights: list[np.ndarray], values: np.ndarray) -> np.ndarray:
        """Applies the layer with other weights, on its own and in full precision."""
        other = {"activation": None, "dtype": "float32", "lora_rank": None}
        config = {**linear.get_config(), **other}
        copy = type(linear).from_config({**config, "use_bias": len(weights) > 1})
        copy.build(values.shape)
        copy.set_weights(weights)
        return ops.convert_to_numpy(copy(values)).astype("float64")

    noise = rate / (1 - rate) * apply([np.square(kernel)], np.square(activities))
    if normalisation is not None:
        # In training it divides by the deviation in the batch, of which noise is part.
        axes = tuple(range(noise.ndim - 1))
        signal = apply([kernel, *bias], activities)
        noise, signal = (
            np.moveaxis(values, normalisation.axis, -1) for values in (noise, signal)
        )
        total = signal.var(axis=axes) + noise.mean(axis=axes)
        noise = noise / (total + normalisation.epsilon)
        if normalisation.scale:
            noise = noise * np.square(ops.convert_to_numpy(normalisation.gamma))
    net_std = float(np.sqrt(noise.mean()))
    if net_std == 0:
        raise _cannot_calibrate(layer.name, "dropout gives its net input no variance")
    return net_std


def _activation_name(layer: GAAF) -> str:
    for name in MATCHED_ACTIVATIONS:
        if function_of(layer.activation) is keras.activations.get(name):
            return name
    raise _cannot_calibrate(
        layer.name, f"its activation is none of {', '.join(MATCHED_ACTIVATIONS)}"
    )


def _cannot_calibrate(name: str, reason: str) -> ValueError:
    return ValueError(
        f"GAAF layer {name!r} cannot be calibrated: {reason}. Leave it out by giving "
        "`rate` as a mapping from the names of the others."
    )


def _inputs_of(model: Any, layer: Any, data: Any) -> np.ndarray:
    """Returns what a layer of the model receives at inference."""
    if isinstance(model, keras.Sequential):
        value = ops.convert_to_tensor(data)
        for below in model.layers[: model.layers.index(layer)]:
            value = (
                below(value, training=False) if _takes_training(below) else below(value)
            )
        return ops.convert_to_numpy(ops.cast(value, "float32"))
    return keras.Model(model.input, layer.input).predict(data, verbose=0)


def _takes_training(layer: Any) -> bool:
    return "training" in inspect.signature(layer.call).parameters


def _layers_below(model: Any, layer: GAAF) -> tuple[Any, Any]:
    """Returns the linear layer whose output a GAAF layer takes, and what normalises."""
    hosts = [
        candidate
        for candidate in model.layers
        if isinstance(candidate, _LINEAR) and candidate.activation is layer
    ]
    normalisation = None
    below = hosts[0] if hosts else _producer(model, layer)
    if isinstance(below, keras.layers.BatchNormalization):
        normalisation, below = below, _producer(model, below)
    plain = hosts or getattr(below, "activation", None) is keras.activations.linear
    if not isinstance(below, _LINEAR) or not plain:
        raise _cannot_calibrate(
            layer.name,
            "it does not take the output of a Dense or Conv layer of this model "
            "(nested models apart), directly or through batch normalisation",
        )
    called = (
        [below] if hosts else [each for each in (layer, normalisation, below) if each]
    )
    if (
        len(hosts) > 1
        or (hosts and layer in model.layers)
        or any(_calls(model, each) > 1 for each in called)
    ):
        raise _cannot_calibrate(layer.name, "it has several net inputs")
    return below, normalisation


def _calls(model: Any, layer: Any) -> int:
    """Returns how often a layer of the model is called in it."""
    if isinstance(model, keras.Sequential):
        return model.layers.count(layer)
    return len(layer._inbound_nodes)


def _producer(model: Any, layer: Any) -> Any:
    """Returns the layer of the model whose output is the input of another."""
    if layer not in model.layers:
        return None
    if isinstance(model, keras.Sequential):
        index = model.layers.index(layer)
        return model.layers[index - 1] if index else None
    for candidate in model.layers:
        if candidate is not layer and getattr(candidate, "output", None) is layer.input:
            return candidate
    return None
