"""Which activations of a model are meant."""

import fnmatch
from collections.abc import Callable, Iterable
from typing import Any, TypeAlias, cast

import keras

from gaaf_keras.acceleration.sites import RECURRENT, Site

Selector: TypeAlias = (
    str | type | keras.Operation | Callable[[keras.layers.Layer], bool]
)


def as_selectors(
    layers: Selector | Iterable[Selector] | None,
) -> tuple[Selector, ...]:
    """Returns the argument `layers` of `accelerate` as a tuple, empty for all."""
    if layers is None:
        return ()
    one = isinstance(layers, (str, type, keras.Operation))
    several = isinstance(layers, Iterable) and not one
    selectors = tuple(cast(Any, layers)) if several else (layers,)
    for selector in selectors:
        if not isinstance(selector, str) and not callable(selector):
            raise TypeError(
                "Argument `layers` must be a name or pattern, a layer, a type of "
                "layer, a predicate of a layer, or a list of these. "
                f"Received: layers={selector!r}"
            )
    if not selectors:
        raise ValueError(
            "Argument `layers` must not be empty. Leave it out to select all layers. "
            "Received: layers=[]"
        )
    return selectors


def selects(selector: Selector, site: Site) -> bool:
    """Whether a name or pattern, a layer, a type or a predicate covers a site."""
    inside = site.holders[1:] or site.holders
    if isinstance(selector, str):
        return any(
            name == selector or fnmatch.fnmatchcase(name, selector)
            for name in _names(site)
        )
    if isinstance(selector, keras.Operation):
        return any(holder is selector for holder in inside)
    if isinstance(selector, type):
        return any(isinstance(holder, selector) for holder in inside)
    return bool(selector(site.holders[-1]))


def names_exactly(selector: Selector, site: Site) -> bool:
    """Whether a selector is the name or path of a layer that holds a site, or it."""
    holders = [holder for holder in site.holders if not isinstance(holder, keras.Model)]
    if not isinstance(selector, str):
        return any(holder is selector for holder in holders)
    names = {site.path, *(holder.name for holder in holders)}
    return selector in {*names, *(f"{name}/{site.argument}" for name in names)}


def names_recurrent(selector: Selector, site: Site) -> bool:
    """Whether a selector asks for an activation in spite of its time steps.

    By a type of recurrent layer or the argument's name, as in
    `"*/recurrent_activation"`, too.
    """
    if isinstance(selector, type):
        return issubclass(selector, RECURRENT) and selects(selector, site)
    if isinstance(selector, str) and selector.endswith(f"/{site.argument}"):
        return selects(selector, site)
    return names_exactly(selector, site)


def _names(site: Site) -> list[str]:
    names = [holder.name for holder in site.holders[1:] or site.holders]
    paths = ["/".join(names[: end + 1]) for end in range(len(names))]
    arguments = [f"{site.path}/{site.argument}", f"{names[-1]}/{site.argument}"]
    return [*names, *paths, *(arguments if site.argument else ())]
