"""Errors in a request to accelerate, and advice about it."""

import collections
from collections.abc import Mapping
from typing import Any

import keras

from gaaf_keras._core.kinds import name_of
from gaaf_keras.acceleration.in_place import in_place_layers
from gaaf_keras.acceleration.outputs import called_parts
from gaaf_keras.acceleration.rule import Rule, key_name, selects
from gaaf_keras.acceleration.sites import Site
from gaaf_keras.acceleration.table import Row

_OF_OUTPUTS = ("hard_sigmoid", "sigmoid", "softplus", "tanh")
_DEEP = 5  # activations; from this many on, full strength has failed
_NORMALISING = (
    keras.layers.BatchNormalization,
    keras.layers.GroupNormalization,
    keras.layers.LayerNormalization,
)


def require_plain(model: keras.layers.Layer) -> None:
    """Raises if a model is accelerated in place."""
    layers = in_place_layers(model)
    if layers:
        names = ", ".join(dict.fromkeys(layer.site.path for layer in layers))
        raise ValueError(
            f"Model {model.name!r} is already accelerated, in: {names}. First call "
            "`remove()` on what `accelerate` returned, or `gaaf_keras.restore(model)`. "
            "To accelerate several parts, select them in one call with `layers`."
        )


def require_use(
    rows: list[Row], sites: list[Site], chosen: list[Site], rule: Rule
) -> None:
    """Raises if a selector or a shape has no effect."""
    for selector in rule.selectors:
        if not any(selects(selector, site) for site in sites):
            names = ", ".join(dict.fromkeys(row.layer for row in rows)) or "none"
            raise ValueError(
                "Argument `layers` selects nothing with an activation. "
                f"Received: {selector!r}. Layers with activations: {names}"
            )
    if not chosen:
        counts = collections.Counter(
            f"{row.activation} ({row.left_alone})" for row in rows
        )
        found = ", ".join(f"{count} {reason}" for reason, count in counts.items())
        is_by_hand = any(row.left_alone == "already accelerated" for row in rows)
        advice = (
            "Give the plain model, without GAAF layers."
            if is_by_hand
            else "To accelerate an output or a recurrent layer, name it in `layers`. "
            "Activations in the code of a layer's `call`, or created when the layer is "
            "built, cannot be seen."
        )
        raise ValueError(
            "There is nothing to accelerate in the model. Its activations: "
            f"{found or 'none, or all linear'}. {advice}"
        )
    used = {name_of(site.activation) for site in chosen}
    functions = {getattr(site.applied, "__name__", None) for site in chosen}
    given = rule.shape_function
    for key in given if isinstance(given, Mapping) else ():
        if key_name(key) not in used | functions:
            raise ValueError(
                "Argument `shape_function` has a shape for an activation that is not "
                f"accelerated in this model. Received: {key!r}. Accelerated: "
                f"{', '.join(sorted(used))}"
            )


def unknown_outputs(model: keras.layers.Layer, unknown: list[Any]) -> list[str]:
    """Returns notes on what cannot be known about a model's activations."""
    notes = [
        f"{part.name!r} is not built: activations that layers create in `build` are "
        "not accelerated. Call it once before `accelerate`."
        for part in called_parts(model)
        if not part.built
    ]
    if unknown:
        names = ", ".join(dict.fromkeys(repr(each.name) for each in unknown))
        notes.append(
            f"The outputs of {names} are not known: they come from a `call` of your "
            "own. An activation before an output may be among the accelerated ones. "
            "If so, give `layers` the other layers."
        )
    return notes


def may_be_outputs(sites: list[Site], unknown: list[Any]) -> bool:
    """Whether activations that outputs often have are where outputs are not known."""
    return any(
        name_of(site.activation) in _OF_OUTPUTS
        and any(holder is each for holder in site.holders for each in unknown)
        for site in sites
    )


def known_harm(model: keras.layers.Layer, sites: list[Site], rule: Rule) -> list[str]:
    """Returns a line for each choice known to fail, with what to try instead."""
    lines = []
    normalised = any(
        isinstance(layer, _NORMALISING) for layer in model._flatten_layers()
    )
    full = not rule.unit_gain and rule.strength >= 1
    if full and not normalised and len(sites) >= _DEEP:
        lines.append(
            f"Full strength without unit gain in {len(sites)} activations without "
            "normalisation: such networks failed to train at the plain network's "
            "learning rate. Try unit_gain=True, or a lower learning rate."
        )
    states = [
        site.path
        for site in sites
        if site.is_recurrent and "recurrent_activation" not in str(site.argument)
    ]
    if states and not rule.unit_gain:
        lines.append(
            f"Accelerated `activation` of recurrent layers ({', '.join(states)}): the "
            "derivative compounds over time steps, and training failed at any "
            "strength. Try unit_gain=True, or layers='*/recurrent_activation' for the "
            "gates alone."
        )
    return lines
