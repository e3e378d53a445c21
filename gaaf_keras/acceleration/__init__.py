"""Acceleration of an existing model, in place and reversible."""

import os
import warnings
from collections.abc import Iterable, Mapping

import keras

from gaaf_keras._core.checks import non_negative_number
from gaaf_keras._core.types import Activation
from gaaf_keras.acceleration.advice import (
    known_harm,
    may_be_outputs,
    require_plain,
    require_use,
    unknown_outputs,
)
from gaaf_keras.acceleration.in_place import Acceleration, InPlace, in_place_layers
from gaaf_keras.acceleration.outputs import computes_by_itself, last_operations
from gaaf_keras.acceleration.rule import (
    Rule,
    Selector,
    as_selectors,
    is_linear,
    row_of,
)
from gaaf_keras.acceleration.sites import sites_of
from gaaf_keras.acceleration.table import ActivationTable, Row
from gaaf_keras.shapes import ShapeLike

__all__ = ["Acceleration", "ActivationTable", "Row", "accelerate", "restore", "summary"]


def accelerate(
    model: keras.Model | keras.layers.Layer,
    shape_function: ShapeLike | Mapping[Activation, ShapeLike] | None = None,
    strength: float = 1.0,
    layers: Selector | Iterable[Selector] | None = None,
    *,
    unit_gain: bool = True,
) -> Acceleration:
    """Accelerates the gradients of a model's activations, in place.

    - Forward: that of the model, bit for bit, except in recurrent layers in training
      on a GPU: without acceleration, cuDNN computes them, and its values differ
      slightly.
    - Backward: every activation phi has the derivative
      `gain * (phi'(x) + strength * s(x))`, unless the model is called with
      `training=False`, as in `predict`, `evaluate` and validation.

    The model keeps its layers, weights, optimizer, compilation and random states. Only
    its activations are replaced, until the `with` block ends or you call `remove()` on
    the returned object. Configurations and files written in the meantime are those of
    the plain model. `fit` compiles its step again, but not that of a larger model that
    contains this one. A `tf.function` or `jax.jit` of your own keeps the gradient with
    which it was traced: trace it again, also after the block.

    This accelerates activation layers, operations such as `keras.ops.relu(x)` in a
    functional graph, and functions that layers keep as `activation`, `act` or under
    similar names, also in lists and dictionaries, in any class and at any depth. A
    function that does the same as a Keras activation counts as that activation:
    `tf.nn.relu`, `torch.tanh`, a `functools.partial` or a lambda. Activations that a
    layer's code applies, like `keras.ops.relu(x)` in its `call`, cannot be seen.

    Left alone are:

    - activations that are not elementwise, such as softmax;
    - those before an output, directly or through layers that only rearrange values;
    - recurrent layers and cells, where the derivative compounds over time steps and
      training fails without unit gain. (With unit gain, a whole LSTM loses a little
      accuracy, and less if only its gates are accelerated, with
      `layers="lstm/recurrent_activation"`.)

    To accelerate the last two anyway, name them: give `layers` the layer or its exact
    name; for recurrent layers, a pattern like `"*/recurrent_activation"` or the type
    also works.

    Args:
        model: Any built Keras model: Functional, Sequential or a class of your own.
        shape_function: None for the default of each activation
            (`gaaf_keras.shapes.default_for`); a shape function for all of them; or a
            mapping from names of activations to shape functions, such as
            `{"relu": "b_silu"}`.
        strength: Factor on the shape function, 0 or greater. Defaults to 1.
        layers: Which layers to accelerate, by default all: a name or a pattern like
            `"block_*"`, optionally preceded by the names of nested models and wrappers
            (`"backbone/conv_1"`) or followed by an argument
            (`"lstm/recurrent_activation"`); a layer; a type of layer; a predicate of a
            layer; or a list of these. A name, layer or type also selects everything
            inside it.
        unit_gain: Whether to scale each derivative so that it never exceeds the plain
            derivative's maximum. False is the paper's form, which fails at ReLU's own
            learning rate in deep networks without normalisation. Defaults to True.

    Returns:
        A `gaaf_keras.acceleration.Acceleration`: a context manager with `remove()`,
        which `print` shows as a table.

    Raises:
        TypeError: If `model` is not a Keras model, or `layers` is of another type.
        ValueError: If there is nothing to accelerate, the model is already accelerated,
            a name in `layers` or `shape_function` does not occur in it, or a shape
            function does not fit. The model is left as it was.

    Examples:
        >>> import keras, gaaf_keras
        >>> model = keras.Sequential([
        ...     keras.Input((784,)),
        ...     keras.layers.Dense(512, activation="relu", name="hidden"),
        ...     keras.layers.Dense(10, activation="softmax"),
        ... ])
        >>> with gaaf_keras.accelerate(model) as acceleration:
        ...     [row.layer for row in acceleration.accelerated]  # and train it
        ['hidden']
    """
    _require_layer(model)
    require_plain(model)
    sites = sites_of(model)
    last = last_operations(model, sites)
    unknown = [each for each in last if computes_by_itself(each)]
    rule = Rule(
        shape_function=shape_function,
        strength=non_negative_number("strength", strength),
        unit_gain=unit_gain,
        selectors=as_selectors(layers),
        outputs={id(each) for each in last if not computes_by_itself(each)},
    )
    in_place, rows = [], []
    for site in sites:
        row, accelerated = rule.applied_to(site)
        if accelerated is not None:
            in_place.append(InPlace(accelerated, site))
        if row is not None:
            rows.append(row)
    chosen = [layer.site for layer in in_place]
    require_use(rows, sites, chosen, rule)
    harm = known_harm(model, chosen, rule)
    notes = unknown_outputs(model, unknown)
    suspicious = may_be_outputs(chosen, unknown) and not rule.selectors
    for sentence in [*(notes if suspicious else ()), *harm]:
        warnings.warn(sentence, stacklevel=2)
    return Acceleration(model, in_place, rows, [*notes, *harm])


def restore(model: keras.Model) -> None:
    """Puts the plain activations back into a model that is accelerated in place.

    The same as `remove()` on the object that `gaaf_keras.accelerate` returned, for when
    you no longer have it.

    Args:
        model: The model that was given to `gaaf_keras.accelerate`.

    Raises:
        TypeError: If `model` is not a Keras model.
        ValueError: If it is not accelerated in place.

    Examples:
        >>> import keras, gaaf_keras
        >>> layers = [keras.Input((3,)), keras.layers.Dense(2, activation="tanh")]
        >>> model = keras.Sequential([*layers, keras.layers.Dense(1)])
        >>> _ = gaaf_keras.accelerate(model)
        >>> gaaf_keras.restore(model)
    """
    _require_layer(model)
    accelerations = {
        id(layer.acceleration): layer.acceleration for layer in in_place_layers(model)
    }
    if not accelerations:
        raise ValueError(
            f"Model {model.name!r} is not accelerated in place: there is nothing to "
            "restore. (If it has GAAF layers, "
            "`gaaf_keras.export(model, 'plain.keras')` saves it without them.)"
        )
    for acceleration in accelerations.values():
        acceleration.remove()


def summary(model: keras.Model) -> ActivationTable:
    """Returns a table of a model's activations: which are accelerated, and how.

    Args:
        model: Any Keras model: plain, accelerated or built with GAAF layers.

    Returns:
        A table, for `print` or the last line of a notebook cell; its `rows` are
        `gaaf_keras.acceleration.Row` objects.

    Raises:
        TypeError: If `model` is not a Keras model.

    Examples:
        >>> import keras, gaaf_keras
        >>> model = keras.Sequential([
        ...     keras.Input((784,)),
        ...     keras.layers.Dense(512, activation=gaaf_keras.GAAFTanh()),
        ...     keras.layers.Dense(10, activation="softmax"),
        ... ])
        >>> print(gaaf_keras.summary(model).rows[0].gradient)
        Gaussian(width=2.0)
    """
    _require_layer(model)
    rows = [row_of(site) for site in sites_of(model) if not is_linear(site)]
    return ActivationTable(model.name, rows)


def _require_layer(model: object) -> None:
    if not isinstance(model, keras.layers.Layer):
        is_path = isinstance(model, (str, os.PathLike))
        advice = ". Call it first, to have a model." if callable(model) else ""
        if is_path:
            advice = f". Load it: keras.saving.load_model({str(model)!r})"
        raise TypeError(
            "Argument `model` must be a Keras model or layer. "
            f"Received: model={model!r} (of type {type(model).__name__}){advice}"
        )
