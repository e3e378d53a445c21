"""Shapes matched to dropout, from the noise it would add in a model's layers."""

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
from keras import ops

from gaaf_keras._accelerated.layer import AcceleratedLayer
from gaaf_keras._core.calls import Call, producers, recorded_calls
from gaaf_keras._core.checks import finite_number
from gaaf_keras._core.kinds import function_of
from gaaf_keras._core.types import Tensor
from gaaf_keras.acceleration.in_place import InPlace, compile_step_again
from gaaf_keras.layers import accelerated_layers
from gaaf_keras.shapes import MATCHED_ACTIVATIONS, DropoutMatched

_LINEAR = (
    keras.layers.Dense,
    keras.layers.Conv1D,
    keras.layers.Conv2D,
    keras.layers.Conv3D,
)


def match_dropout(
    model: keras.Model, x: Tensor, rate: float | Mapping[str, float]
) -> dict[str, float]:
    """Gives each accelerated activation the shape that matches dropout below it.

    For every accelerated activation, this measures the standard deviation that dropout
    on the inputs of the layer below (dense or convolution, optionally followed by batch
    normalisation) would give the pre-activation: the root of `rate / (1 - rate) * (w^2
    * a^2)`, averaged over a batch and the layer's units. The activation then gets
    `DropoutMatched(activation, noise_std)`. Batch normalisation divides by the
    deviation in the (noisy) batch, as it does in training. Noise from dropout in
    layers further down is ignored.

    The model is called once, on `x`. `fit` compiles its step again; trace one of your
    own again.

    Args:
        model: A model without dropout, with accelerated tanh, ReLU or sigmoid, each
            after a `Dense` or `Conv` layer or given to one as `activation=`: in place
            (`gaaf_keras.accelerate`) or as `GAAF` layers.
        x: A batch of inputs, as the model takes them. A few hundred examples suffice.
        rate: The dropout rate, above 0 and below 1. Or a mapping from the names of
            accelerated activations (`gaaf_keras.layers.accelerated_layers`) to rates;
            activations not named are left as they are.

    Returns:
        The standard deviation of each pre-activation, by the name of the activation.

    Raises:
        TypeError: If `model` is not a Keras model or a rate is not a number.
        ValueError: If a rate is out of range, a name is unknown or not unique, the
            model cannot be called on `x` or has no accelerated activation, or an
            activation does not follow a layer that can be measured. The model is left
            as it was.

    Examples:
        ```python
        with gaaf_keras.accelerate(model):
            noise_stds = gaaf_keras.match_dropout(model, x_train[:500], rate=0.5)
            model.fit(x_train, y_train)
        ```
    """
    if not isinstance(model, keras.Model):
        raise TypeError(
            "Argument `model` must be a Keras model. "
            f"Received: model={model!r} (of type {type(model).__name__})"
        )
    layers = accelerated_layers(model)
    if not layers:
        raise ValueError(
            f"Model {model.name!r} has no accelerated activations to match. Call this "
            "after `gaaf_keras.accelerate(model)`, or use GAAF layers."
        )
    by_name = {layer.name: layer for layer in layers}
    rates = rate if isinstance(rate, Mapping) else dict.fromkeys(by_name, rate)
    for name, value in rates.items():
        if name not in by_name:
            raise ValueError(
                "Argument `rate` must name accelerated activations of the model. "
                f"Received: {name!r}. The model has: {', '.join(by_name)}"
            )
        if not 0 < finite_number("rate", value) < 1:
            raise ValueError(
                f"Argument `rate` must be above 0 and below 1. Received: {value!r}"
            )
        if sum(layer.name == name for layer in layers) > 1:
            raise _cannot_match(name, "several activations have that name")
    calls = _calls(model, x)
    matched = {
        name: DropoutMatched(
            _activation_name(by_name[name]),
            _noise_std(by_name[name], calls, float(value)),
        )
        for name, value in rates.items()
    }
    for name, shape in matched.items():
        by_name[name].forget_compiled()
        by_name[name].shape_function = shape
    compile_step_again(model)
    return {name: shape.noise_std for name, shape in matched.items()}


def _calls(model: keras.Model, x: Tensor) -> list[Call]:
    """Returns the calls of the model's layers at inference."""
    x = keras.tree.map_structure(ops.convert_to_tensor, x)
    try:
        if not model.built:  # Keras would call it twice
            model(x, training=False)
        with recorded_calls(model) as calls:
            model(x, training=False)
    except Exception as error:
        raise ValueError(
            f"Model {model.name!r} cannot be called on argument `x`. Give one batch of "
            f"inputs, as the model takes them. Error from Keras: {error}"
        ) from error
    return calls


def _noise_std(layer: AcceleratedLayer, calls: list[Call], rate: float) -> float:
    """Returns the standard deviation that dropout gives a pre-activation."""
    call, normalisation = _linear_below(layer, calls)
    linear: Any = call.operation
    activities = ops.convert_to_numpy(ops.cast(call.inputs[0], "float32"))
    kernel = ops.convert_to_tensor(linear.kernel)  # with what LoRA adds to it
    kernel = ops.convert_to_numpy(kernel)
    bias = [ops.convert_to_numpy(linear.bias.value)] if linear.use_bias else []

    def apply(weights: list[np.ndarray], values: np.ndarray) -> np.ndarray:
        """Applies the layer with other weights, alone and in full precision."""
        other = {"activation": None, "dtype": "float32", "lora_rank": None}
        config = {**linear.get_config(), **other}
        copy = type(linear).from_config({**config, "use_bias": len(weights) > 1})
        copy.build(values.shape)
        copy.set_weights(weights)
        return ops.convert_to_numpy(copy(values)).astype("float64")

    noise = rate / (1 - rate) * apply([np.square(kernel)], np.square(activities))
    if normalisation is not None:
        # In training it divides by the deviation in the batch, including the noise.
        axes = tuple(range(noise.ndim - 1))
        signal = apply([kernel, *bias], activities)
        noise, signal = (
            np.moveaxis(values, normalisation.axis, -1) for values in (noise, signal)
        )
        total = signal.var(axis=axes) + noise.mean(axis=axes)
        noise = noise / (total + normalisation.epsilon)
        if normalisation.scale:
            noise = noise * np.square(ops.convert_to_numpy(normalisation.gamma.value))
    noise_std = float(np.sqrt(noise.mean()))
    if noise_std == 0:
        raise _cannot_match(layer.name, "dropout gives its pre-activation no variance")
    return noise_std


def _activation_name(layer: AcceleratedLayer) -> str:
    for name in MATCHED_ACTIVATIONS:
        if function_of(layer.activation) is keras.activations.get(name):
            return name
    raise _cannot_match(
        layer.name, f"its activation is not one of {', '.join(MATCHED_ACTIVATIONS)}"
    )


def _cannot_match(name: str, reason: str) -> ValueError:
    return ValueError(
        f"Activation {name!r} cannot be matched to dropout: {reason}. To leave it out, "
        "give `rate` as a mapping from the names of the other activations to rates."
    )


def _linear_below(layer: AcceleratedLayer, calls: list[Call]) -> tuple[Call, Any]:
    """Returns the call of the linear layer below, and its normalisation if any."""
    holder = layer.site.holders[-1] if isinstance(layer, InPlace) else layer
    hosts = [
        call
        for call in calls
        if isinstance(call.operation, _LINEAR)
        and (call.operation is holder or call.operation.activation is layer)
    ]
    normalisation = None
    if hosts:
        chain = [_only(layer, hosts)]
        alone = [call for call in calls if call.operation is layer]
        _only(layer, alone or hosts)
    else:
        chain = [_only(layer, [call for call in calls if call.operation is holder])]
        chain.append(_below(layer, chain[-1], calls))
        if isinstance(chain[-1].operation, keras.layers.BatchNormalization):
            normalisation = chain[-1].operation
            chain.append(_below(layer, chain[-1], calls))
    linear = chain[-1].operation
    plain = bool(hosts) or (
        getattr(linear, "activation", None) is keras.activations.linear
    )
    if not isinstance(linear, _LINEAR) or not plain:
        raise _follows_nothing(layer)
    for call in chain:
        _only(layer, [other for other in calls if other.operation is call.operation])
    return chain[-1], normalisation


def _below(layer: AcceleratedLayer, call: Call, calls: list[Call]) -> Call:
    """Returns the call that produced the input of another."""
    found = producers(calls, call.inputs[0])
    if not found:
        raise _follows_nothing(layer)
    return found[0]


def _only(layer: AcceleratedLayer, calls: list[Call]) -> Call:
    if len(calls) != 1:
        reason = "it has several pre-activations" if calls else "it is not applied"
        raise _cannot_match(layer.name, reason)
    return calls[0]


def _follows_nothing(layer: AcceleratedLayer) -> ValueError:
    return _cannot_match(
        layer.name,
        "it does not take the output of a Dense or Conv layer, directly or through "
        "batch normalisation",
    )
