"""What a named table is, and those for any data and model."""

import dataclasses
from collections.abc import Mapping
from typing import Any


@dataclasses.dataclass(frozen=True)
class Suite:
    """A named table: settings shared by all its variants, and those of each.

    Attributes:
        title: What the table shows.
        common: Fields of `TrainingConfig` for all variants. Of the learning rate there
            may be several, in a tuple.
        variants: Fields of `TrainingConfig` by the name of the variant.
        groups: As in `Plan`.
        at_each_rate: Whether variants are compared at each of several learning rates,
            and not each at its best.
    """

    title: str
    common: Mapping[str, Any]
    variants: Mapping[str, Mapping[str, Any]]
    groups: Mapping[str, str] = dataclasses.field(default_factory=dict)
    at_each_rate: bool = False

    def fields_set_by_variants(self) -> set[str]:
        """Returns the fields that tell variants apart and so cannot be overridden."""
        return {field for variant in self.variants.values() for field in variant}


COMPARE = "compare"  # plain beside accelerated, for any data and model


def comparison(base: str) -> Suite:
    """The forms of one activation in a new network."""
    accelerated = {"activation": f"gaaf_{base}"}
    suite = _comparison({"activation": base}, accelerated)
    if base != "relu":
        return suite
    one_sided = {**accelerated, "shape_function": "one_sided(shifted_sigmoid)"}
    variants = {**suite.variants, "one-sided": one_sided}
    return dataclasses.replace(suite, variants=variants)


def comparison_of_model() -> Suite:
    """A model from a file as it is, and accelerated."""
    return _comparison({"accelerate": False}, {"accelerate": True})


def _comparison(plain: Mapping[str, Any], accelerated: Mapping[str, Any]) -> Suite:
    paper = {**accelerated, "unit_gain": False}
    return Suite(
        title="plain and accelerated",
        common={},
        variants={
            "plain": plain,
            "paper's form": paper,
            "strength 0.3": {**paper, "strength": 0.3},
            "unit gain": {**accelerated, "unit_gain": True},
        },
    )
