"""What is put in the place of which activation, and why not of others."""

import dataclasses
from collections.abc import Callable, Mapping

from gaaf_keras import shapes
from gaaf_keras._accelerated.activation import AcceleratedActivation
from gaaf_keras._core.kinds import derivative_of, name_of
from gaaf_keras._core.known_activations import NOT_ELEMENTWISE
from gaaf_keras._core.types import Activation
from gaaf_keras.acceleration.selection import (
    Selector,
    names_exactly,
    names_recurrent,
    selects,
)
from gaaf_keras.acceleration.sites import Site
from gaaf_keras.acceleration.table import Row
from gaaf_keras.shapes import ShapeLike


def is_linear(site: Site) -> bool:
    """Whether a site applies nothing."""
    return site.activation is not None and name_of(site.activation) == "linear"


def row_of(site: Site) -> Row:
    """Returns what there is to say of an activation as it is."""
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
    """What `accelerate` puts in the place of an activation."""

    shape_function: ShapeLike | Mapping[Activation, ShapeLike] | None
    strength: float
    unit_gain: bool
    selectors: tuple[Selector, ...]
    outputs: set[int]

    def applied_to(self, site: Site) -> tuple[Row | None, AcceleratedActivation | None]:
        """Returns what is said of a site, and what accelerates it; None for neither."""
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
            # Only its values are known to be those of the activation.
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
            "accelerated already": site.accelerated is not None,
            "not selected": self.selectors and not self._some(selects, site),
            "kept as a name": isinstance(site.applied, str),
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
        """Returns the shape of an activation, None if there is none."""
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
        return str(key)  # of a function or layer that Keras does not know
