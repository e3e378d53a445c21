"""Acceleration of a model that exists already, and the way back."""

import collections
import dataclasses
from collections.abc import Mapping
from typing import Any

import keras
import rich

from gaaf_keras import shapes as shape_functions
from gaaf_keras._checks import non_negative_number
from gaaf_keras.accelerated import AcceleratedActivation
from gaaf_keras.activations import FUNCTION_FORMS
from gaaf_keras.convert.copying import Site, copy_model
from gaaf_keras.convert.graph import is_graph, require_graph, same_again
from gaaf_keras.convert.report import Conversion, ConversionReport
from gaaf_keras.convert.selection import as_selectors, last_operations, selects
from gaaf_keras.kinds import NOT_ELEMENTWISE, name_of
from gaaf_keras.layers import GAAF

__all__ = ["Conversion", "ConversionReport", "accelerate", "restore"]


def accelerate(
    model: Any,
    shapes: Any = None,
    strength: float = 1.0,
    layers: Any = None,
    *,
    unit_gain: bool = False,
    verbose: bool = True,
    return_report: bool = False,
) -> Any:
    """Returns a copy of a model with the gradients of its activations accelerated.

    - Forward: that of the model, bit for bit.
    - Backward: every activation phi has the derivative `phi'(x) + strength * s(x)`,
      unless the model is called with `training=False`.

    The copy has the model's names, weights, random states, what attributes hold of
    numbers, strings and the like, and, if it is compiled, its compilation and optimizer
    state; the model is left as it is. Activation layers and operations become `GAAF`
    layers of the same name, an activation given to another layer
    (`Dense(activation="relu")`, the gates of an `LSTM`) becomes a `GAAF` layer in the
    same argument. Nested models, shared layers and wrappers are converted too. Weights
    can be moved between the two by `get_weights` and, unless there are PReLU layers, in
    weight files. `gaaf_keras.restore` is the way back.

    All activations are accelerated except linear ones, those that are not elementwise
    (softmax) and those before an output: in the layer (or the wrapper, recurrent layer
    or block) from which an output comes, directly or through layers that only rearrange
    values. They are accelerated only if their layer is given in `layers` by its exact
    name.

    What a layer class of your own applies in its `call` cannot be seen if there is no
    sign of it in its configuration, attributes or sublayers: `keras.ops.relu(x)` there
    stays as it is. Signs that lead nowhere are an error.

    On a GPU, Keras has faster kernels for an `LSTM` or `GRU` with exactly the default
    activations; accelerated ones run without. `model.quantize` passes over layers with
    a layer as their activation: restore the model first. What stateful recurrent layers
    remember is not copied.

    Args:
        model: A Functional or Sequential Keras model, built or not.
        shapes: The shape functions: None for the default of each activation
            (`gaaf_keras.shapes.default_for`), a shape for all of them, a mapping from
            names of activations to shapes, such as `{"relu": "b_silu"}`, or
            `"recommended"` for `gaaf_keras.recommended` of each activation, where
            those for which nothing is recommended are left alone.
        strength: Factor on the shapes, 0 or greater. Defaults to 1.
        layers: Which layers to convert, by default all: a name or a pattern like
            `"block_*"`, also with the names of nested models and wrappers before it
            (`"backbone/conv_1"`), a layer, a type of layer, a predicate of a layer,
            or a list of these. All but predicates also select what is inside of a
            layer or nested model. A shared layer has the name of the place where it is
            called first.
        unit_gain: Whether to scale each total derivative down so that it nowhere
            exceeds the base activation's largest. For deep networks, since the paper's
            ReLU shape makes the derivative of every active unit 2, over n layers 2^n.
        verbose: Whether to print what was changed. Defaults to True.
        return_report: Whether to return that too. Defaults to False.

    Returns:
        The accelerated model; or with `return_report` the model and a
        `gaaf_keras.convert.ConversionReport`.

    Raises:
        TypeError: If `model` is neither Functional nor Sequential, or has a class of
            its own that Keras cannot copy; or if `layers` is something else.
        ValueError: If nothing could be accelerated, a name in `layers` or `shapes`
            occurs nowhere, an activation has no default shape, or a layer cannot be
            copied or hides its activations.

    Examples:
        >>> import keras, gaaf_keras
        >>> model = keras.Sequential([
        ...     keras.Input((784,)),
        ...     keras.layers.Dense(512, activation="relu", name="hidden"),
        ...     keras.layers.Dense(10, activation="softmax"),
        ... ])
        >>> accelerated = gaaf_keras.accelerate(model, verbose=False)
        >>> [layer.name for layer in gaaf_keras.layers.accelerated_layers(accelerated)]
        ['hidden_activation']

    Reference:
        Hahn and Choi, "Gradient Acceleration in Activation Functions"
        (arXiv 1806.09783), section 3.
    """
    require_graph(model)
    rule = _Acceleration(
        shapes=shapes,
        strength=non_negative_number("strength", strength),
        unit_gain=unit_gain,
        selectors=as_selectors(layers),
        outputs={id(last) for last in last_operations(model)},
    )
    copy, exchanges = copy_model(model, rule)
    report = _report(model.name, exchanges, rule)
    _require_use(report, exchanges, rule)
    if verbose:
        rich.print(report)
    return (copy, report) if return_report else copy


def restore(model: Any) -> Any:
    """Returns a copy of a model with plain activations in place of accelerated ones.

    The inverse of `gaaf_keras.accelerate`: `restore(accelerate(model))` has the
    architecture of `model`. It also works on models that were written with GAAF layers
    and functions; a GAAF layer for the name of an activation becomes an `Activation`
    layer. Weights, random states and compilation are kept.

    Args:
        model: A Functional or Sequential Keras model.

    Returns:
        A model without anything of this package.

    Raises:
        TypeError: If `model` is neither Functional nor Sequential.
        ValueError: If a layer hides accelerated activations in itself.

    Examples:
        >>> import keras, gaaf_keras
        >>> layers = [keras.Input((3,)), keras.layers.Dense(2, activation="tanh")]
        >>> model = keras.Sequential([*layers, keras.layers.Dense(1)])
        >>> accelerated = gaaf_keras.accelerate(model, verbose=False)
        >>> gaaf_keras.restore(accelerated).get_config() == model.get_config()
        True
    """
    copy, _ = copy_model(model, _plain)
    return copy


@dataclasses.dataclass(frozen=True)
class _Acceleration:
    """What `accelerate` puts in the place of an activation."""

    shapes: Any
    strength: float
    unit_gain: bool
    selectors: tuple[Any, ...]
    outputs: set[int]

    def __call__(self, site: Site) -> Any:
        if self.reason_to_leave(site) is not None:
            return None
        arguments = {
            "shape": self._shape_for(site),
            "strength": self.strength,
            "unit_gain": self.unit_gain,
        }
        if site.argument is not None:
            own_name = f"{site.holders[-1].name}_{site.argument}"
            return GAAF(site.activation, **arguments, name=own_name)
        return _gaaf_layer(site.activation, arguments)

    def reason_to_leave(self, site: Site) -> str | None:
        """Returns why an activation is not accelerated, None if it is."""
        name = name_of(site.activation)
        named = self._named(site)
        ends_there = any(id(holder) in self.outputs for holder in site.holders)
        reasons = {
            "linear": name == "linear",
            "accelerated already": _base_of(site.activation) is not None,
            "not selected": not self._selected(site),
            "not elementwise": name in NOT_ELEMENTWISE and not named,
            "output": ends_there and not named,
            "nothing recommended": self._is_without_recommendation(site),
        }
        return next((reason for reason, holds in reasons.items() if holds), None)

    def _selected(self, site: Site) -> bool:
        if not self.selectors:
            return True
        return any(selects(selector, site) for selector in self.selectors)

    def _named(self, site: Site) -> bool:
        names = {holder.name for holder in site.holders if not is_graph(holder)}
        return any(name in self.selectors for name in (site.path, *names))

    def _is_without_recommendation(self, site: Site) -> bool:
        if not (isinstance(self.shapes, str) and self.shapes == "recommended"):
            return False
        try:
            shape_functions.recommended(site.activation)
        except ValueError:
            return True
        return False

    def _shape_for(self, site: Site) -> Any:
        shape = self.shapes
        if isinstance(shape, Mapping):
            by_name = {_key(key): value for key, value in shape.items()}
            shape = by_name.get(name_of(site.activation))
        if shape is not None:
            return shape
        try:
            return shape_functions.default_for(site.activation)
        except ValueError as error:
            name = name_of(site.activation)
            raise ValueError(
                f"Activation {name!r} of layer {site.path!r} has no default shape. "
                f"Give one, such as `shapes={{{name!r}: Gaussian(width=2.0)}}`, or "
                "leave the layer out with `layers`."
            ) from error


def _key(key: Any) -> str:
    """Returns the name of an activation that is a key in `shapes`."""
    try:
        return name_of(key)
    except ValueError:
        return str(key)  # of a function or layer that Keras does not know


def _gaaf_layer(operation: Any, arguments: dict[str, Any]) -> GAAF:
    """Returns the GAAF layer that takes the place of an activation layer."""
    if not isinstance(operation, keras.layers.Layer):
        return GAAF(same_again(operation), **arguments, name=operation.name)
    config = operation.get_config()
    # Of its layer the regulariser would see the inside of a custom gradient.
    regularizer = config.pop("activity_regularizer", None)
    replaces_function = type(operation) is keras.layers.Activation and not isinstance(
        operation.activation, keras.Operation
    )
    return GAAF(
        operation.activation if replaces_function else same_again(operation, config),
        **arguments,
        name=operation.name,
        dtype=operation.dtype_policy,
        trainable=operation.trainable,
        activity_regularizer=regularizer,
    )


def _plain(site: Site) -> Any:
    """What `restore` puts in the place of an activation."""
    activation = site.activation
    base = _base_of(activation)
    if base is None:
        return None
    if site.argument is not None:
        return same_again(base) if isinstance(base, keras.Operation) else base
    if not isinstance(base, keras.Operation):
        base = keras.layers.Activation(base)
    config = {**base.get_config(), "name": activation.name}
    if isinstance(base, keras.layers.Layer):
        ours = activation.get_config()
        kept = ("trainable", "dtype", "activity_regularizer")
        config.update({key: ours[key] for key in kept if key in ours})
    return same_again(base, config)


def _base_of(activation: Any) -> Any:
    """Returns the plain activation of an accelerated one, None if it is not one."""
    if type(activation) is keras.layers.Activation:
        return _base_of(activation.activation)
    if isinstance(activation, (GAAF, AcceleratedActivation)):
        return activation.activation
    for function, name in FUNCTION_FORMS.items():
        if activation is function:
            return keras.activations.get(name)
    return None


def _report(
    name: str, exchanges: list[tuple[Site, Any]], rule: _Acceleration
) -> ConversionReport:
    accelerated, left_alone = [], []
    for site, new in exchanges:
        row = Conversion(
            layer=site.path,
            kind=type(site.holders[-1]).__name__,
            argument=site.argument,
            activation=name_of(_base_of(site.activation) or site.activation),
        )
        reason = rule.reason_to_leave(site)
        if reason is None:
            accelerated.append(dataclasses.replace(row, shape=new.shape))
        elif reason != "linear":
            left_alone.append(dataclasses.replace(row, left_alone=reason))
    return ConversionReport(name, tuple(accelerated), tuple(left_alone))


def _require_use(
    report: ConversionReport, exchanges: list[tuple[Site, Any]], rule: _Acceleration
) -> None:
    """Raises if a selector or a shape was for nothing."""
    for selector in rule.selectors:
        if not any(selects(selector, site) for site, _ in exchanges):
            names = ", ".join(
                dict.fromkeys(
                    row.layer for row in report.left_alone + report.accelerated
                )
            )
            raise ValueError(
                "Argument `layers` selects nothing that has an activation. "
                f"Received: {selector!r}. Layers with activations: {names}"
            )
    if not report.accelerated:
        raise ValueError(
            "There is nothing to accelerate in the model: of its activations "
            + (", ".join(_reasons(report)) or "all are linear")
        )
    used = {row.activation for row in report.accelerated}
    for key in rule.shapes if isinstance(rule.shapes, Mapping) else ():
        if _key(key) not in used:
            raise ValueError(
                "Argument `shapes` has a shape for an activation that is not "
                f"accelerated in this model. Received: {key!r}. There are: "
                f"{', '.join(sorted(used))}"
            )


def _reasons(report: ConversionReport) -> list[str]:
    counts = collections.Counter(
        f"{row.activation} ({row.left_alone})" for row in report.left_alone
    )
    return [f"{count} {reason}" for reason, count in counts.items()]
