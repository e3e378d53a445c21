"""Which activations of a model are selected, and what replaces them."""

import dataclasses
import fnmatch
from collections.abc import Callable, Iterable, Mapping
from typing import TypeAlias

import keras

from gaaf_keras import shapes
from gaaf_keras._accelerated.activation import AcceleratedActivation
from gaaf_keras._core.kinds import derivative_of, name_of
from gaaf_keras._core.known_activations import NOT_ELEMENTWISE
from gaaf_keras._core.types import Activation
from gaaf_keras.acceleration.sites import RECURRENT, Site
from gaaf_keras.acceleration.table import Row
from gaaf_keras.shapes import ShapeLike

Selector: TypeAlias = (
    str | type | keras.Operation | Callable[[keras.layers.Layer], bool]
)


def is_linear(site: Site) -> bool:
    """Whether a site applies no activation."""
    return site.activation is not None and name_of(site.activation) == "linear"


def row_of(site: Site) -> Row:
    """Returns the row that describes an activation as it is."""
    known = site.activation if site.activation is not None else site.applied
    row = Row(
        layer=site.path,
        kind=type(site.holders[-1]).__name__,
        argument=site.argument,
        activation=known if isinstance(known, str) else name_of(known),
    )
    accelerated = site.accelerated
    return row if accelerated is None else row.with_gradient_of(accelerated)


@dataclasses.dataclass(frozen=True)
class Rule:
    """What `accelerate` puts in place of an activation."""

    shape_function: ShapeLike | Mapping[Activation, ShapeLike] | None
    strength: float
    unit_gain: bool
    selectors: tuple[Selector, ...]
    outputs: set[int]

    def applied_to(self, site: Site) -> tuple[Row | None, AcceleratedActivation | None]:
        """Returns the row of a site and what accelerates it; None where missing."""
        if is_linear(site):
            return None, None
        row = row_of(site)
        shape = self._shape_for(site)
        reason = self._reason_to_leave(site, shape)
        if reason is not None:
            return dataclasses.replace(row, left_alone=reason), None
        accelerated = AcceleratedActivation(
            site.activation,
            shape,
            self.strength,
            unit_gain=self.unit_gain,
            name=site.holders[-1].name,
            applied=site.applied,
            # Only its values are known to match the activation's.
            differentiate=not site.is_method and derivative_of(site.applied) is None,
        )
        return row.with_gradient_of(accelerated), accelerated

    def _reason_to_leave(self, site: Site, shape: ShapeLike | None) -> str | None:
        ends_there = any(id(each) in self.outputs for each in (site, *site.holders))
        is_elementwise = (
            site.activation is not None
            and name_of(site.activation) not in NOT_ELEMENTWISE
        )
        reasons = {
            "already accelerated": site.accelerated is not None,
            "not selected": self.selectors and not self._some(selects, site),
            "kept as a name": isinstance(site.applied, str),
            "a `torch.nn` module: give a function": site.is_module,
            "not elementwise": not is_elementwise,
            "recurrent: compounds over time steps": site.is_recurrent
            and not self._some(names_recurrent, site),
            "output": ends_there and not self._some(names_exactly, site),
            "no default shape: give a `shape_function`": shape is None,
        }
        return next((reason for reason, holds in reasons.items() if holds), None)

    def _some(self, test: Callable[[Selector, Site], bool], site: Site) -> bool:
        return any(test(selector, site) for selector in self.selectors)

    def _shape_for(self, site: Site) -> ShapeLike | None:
        """Returns the shape of an activation; None if there is none."""
        shape = self.shape_function
        if isinstance(shape, Mapping):
            by_name = {key_name(key): value for key, value in shape.items()}
            own_name = getattr(site.applied, "__name__", "")
            shape = by_name.get(name_of(site.activation), by_name.get(own_name))
        if shape is not None:
            return shape
        try:
            return shapes.default_for(site.activation)
        except ValueError:
            return None


def key_name(key: Activation) -> str:
    """Returns the name of an activation that is a key in `shape_function`."""
    try:
        return name_of(key)
    except ValueError:
        return str(key)  # a function or layer that Keras does not know


def as_selectors(
    layers: Selector | Iterable[Selector] | None,
) -> tuple[Selector, ...]:
    """Returns the argument `layers` of `accelerate` as a tuple; empty for all."""
    if layers is None:
        return ()
    if isinstance(layers, Iterable) and not isinstance(
        layers, (str, type, keras.Operation)
    ):
        selectors = tuple(layers)
    else:
        selectors = (layers,)
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
    layer = site.holders[-1]
    try:
        return bool(selector(layer))
    except TypeError as error:
        raise TypeError(
            "A function in `layers` must take a layer and return True or False. "
            f"Received: {selector!r}, which failed for {layer.name!r}: {error}"
        ) from error


def names_exactly(selector: Selector, site: Site) -> bool:
    """Whether a selector is a layer that holds a site, or its exact name or path."""
    holders = [holder for holder in site.holders if not isinstance(holder, keras.Model)]
    if not isinstance(selector, str):
        return any(holder is selector for holder in holders)
    names = {site.path, *(holder.name for holder in holders)}
    return selector in {*names, *(f"{name}/{site.argument}" for name in names)}


def names_recurrent(selector: Selector, site: Site) -> bool:
    """Whether a selector explicitly asks for a recurrent activation.

    A type of recurrent layer or the argument's name, as in `"*/recurrent_activation"`,
    also counts.
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
