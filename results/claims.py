"""What the paper says of its MNIST networks, held against the records."""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from experiments import UsageError
from experiments.records.studies import Study, Variant
from experiments.report import comparison
from experiments.report.measurements import Analyses
from experiments.report.tables import Table
from gaaf_keras.analysis import Difference, paired_difference
from gaaf_keras.analysis.gradients import Measurements, mean_of

Values = Callable[[int], tuple[float, float]]  # of two variants, by seed


@dataclasses.dataclass(frozen=True)
class Claim:
    """A claim about two variants, and what decides it.

    Attributes:
        text: What the paper says.
        difference: What was found.
        found: The same as text.
        expected: The direction in which the claim holds.
    """

    text: str
    difference: Difference
    found: str
    expected: str

    @property
    def verdict(self) -> str:
        """What the difference says of the claim."""
        if self.difference.direction == "not shown":
            return "is not shown"
        holds = self.difference.direction == self.expected
        return "holds" if holds else "does not hold: the opposite"


def table(study: Study, analyses: Analyses) -> Table:
    """Returns each claim with what was found and whether it holds.

    Raises:
        UsageError: If a network was not analysed.
    """
    base, dropout, gaaf = map(study.chosen_of, ("base", "dropout", "GAAF"))
    for variant in (base, dropout, gaaf):
        missing = set(variant.runs) - set(analyses.get(variant.name, {}))
        if missing:
            raise UsageError(
                f"The networks of {variant.name} with seeds {sorted(missing)} were not "
                "analysed. Run `python -m experiments.report FOLDER` before the "
                "records are written."
            )
    claims = [
        *about_results(base, dropout, gaaf),
        *about_networks(base, dropout, analyses),
        *about_flatness("dropout", dropout, base, analyses),
        *about_flatness("GAAF", gaaf, base, analyses),
    ]
    return Table(
        _COLUMNS,
        _rows(claims),
        f"Of dropout at a rate of {dropout.config.dropout:g}, the best of those tried "
        "by validation accuracy; the paper does not say which it used. Mean "
        "differences over pairs of runs with the same seed, with 95 % confidence "
        "intervals, one for each claim alone: of twenty, one misses on average. A "
        "claim holds if the interval is all on its side of 0 (of 1, if it is a "
        "factor). "
        "Kurtosis is that of the weights within a histogram that leaves out a "
        "thousandth: 1.8 for a uniform distribution, 2.9 for a Gaussian.",
    )


_COLUMNS = ["the paper's claim", "difference found", "it"]


def _rows(claims: Sequence[Claim]) -> list[list[str]]:
    return [[claim.text, claim.found, claim.verdict] for claim in claims]


def about_results(base: Variant, dropout: Variant, gaaf: Variant) -> list[Claim]:
    """Returns the claims about accuracy and epochs."""
    found = []
    for text, pair, field, expected in (
        (
            "dropout is more accurate than the base",
            (dropout, base),
            _ACCURACY,
            "higher",
        ),
        ("GAAF is more accurate than the base", (gaaf, base), _ACCURACY, "higher"),
        ("dropout is more accurate than GAAF", (dropout, gaaf), _ACCURACY, "higher"),
        ("dropout needs more epochs than the base", (dropout, base), _EPOCH, "higher"),
        ("GAAF needs more epochs than the base", (gaaf, base), _EPOCH, "higher"),
        ("GAAF needs fewer epochs than dropout", (gaaf, dropout), _EPOCH, "lower"),
    ):
        name, unit, factor = field
        difference = comparison.paired(*pair, name, factor)
        if difference is not None:
            shown = comparison.interval(difference, 2)
            found.append(Claim(f"{text} ({unit})", difference, shown, expected))
    return found


_ACCURACY = ("test_accuracy", "test accuracy, % points", 100)
_EPOCH = ("best_epoch", "best epoch", 1)


def about_networks(base: Variant, dropout: Variant, analyses: Analyses) -> list[Claim]:
    """Returns the claims about what dropout does to gradients, nodes and weights."""

    def analysed(value: Callable[[Mapping[str, Any]], float]) -> Values:
        return lambda seed: (
            value(analyses[dropout.name][seed]),
            value(analyses[base.name][seed]),
        )

    def flow(seed: int) -> tuple[Measurements, Measurements]:
        return (
            dropout.runs[seed].gradient_flow,
            base.runs[seed].gradient_flow,
        )

    def while_both_train(layer: str) -> Values:
        def values(seed: int) -> tuple[float, float]:
            last = min(measured[-1][0] for measured in flow(seed))
            one, other = (
                _log_gradient([row for row in measured if row[0] <= last], layer)
                for measured in flow(seed)
            )
            return one, other

        return values

    def over_all(layer: str) -> Values:
        def values(seed: int) -> tuple[float, float]:
            one, other = (_log_gradient(measured, layer) for measured in flow(seed))
            return one, other

        return values

    first = next(iter(analyses[base.name].values()))
    layers, kernels = first["layers"], list(first["weights"])
    parts: list[tuple[str, Callable[[int], Values], int | None]] = [
        (
            "dropout enlarges the gradient in layer {} (factor, over the steps that "
            "both trained)",
            lambda i: while_both_train(layers[i]),
            None,
        ),
        (
            "the same over each one's whole run, as in the paper: layer {}",
            lambda i: over_all(layers[i]),
            None,
        ),
        (
            "dropout drives layer {} into saturation (share of pre-activations, "
            "% points)",
            lambda i: analysed(lambda a: 100 * a["saturation"][layers[i]]["share"]),
            1,
        ),
        (
            "dropout widens the correlations of layer {} (mean size)",
            lambda i: analysed(lambda a: a["correlations"][layers[i]]["mean_absolute"]),
            3,
        ),
        (
            "dropout makes the weights of layer {} less uniform (kurtosis)",
            lambda i: analysed(lambda a: kurtosis(a["weights"][kernels[i]])),
            2,
        ),
    ]
    seeds = comparison.seeds_of(dropout, base, "best_epoch")
    found = []
    for text, values_of, decimals in parts:
        for index in range(len(layers)):
            pairs = [values_of(index)(seed) for seed in seeds]
            pairs = [pair for pair in pairs if all(map(math.isfinite, pair))]
            if not pairs:
                continue
            difference = paired_difference(*map(list, zip(*pairs, strict=True)))
            shown = (
                as_factor(difference)
                if decimals is None
                else comparison.interval(difference, decimals)
            )
            named = text.format(index + 1)
            found.append(Claim(named, difference, shown, "higher"))
    return found


def of_flatness(
    base: Variant, variants: Sequence[Variant], analyses: Analyses
) -> Table:
    """Returns the claims about flatness of each variant against the base."""
    found = [
        claim
        for variant in variants
        if variant is not base
        for claim in about_flatness(variant.name, variant, base, analyses)
    ]
    return Table(
        ["is it so?", "difference found", "answer"],
        _rows(found),
        "Against plain networks, in pairs with the same seed, as above.",
    )


def about_flatness(
    name: str, variant: Variant, base: Variant, analyses: Analyses
) -> list[Claim]:
    """Returns the claims about how flat and robust a solution is."""
    seeds = comparison.seeds_of(variant, base, "best_epoch")
    if not seeds:
        return []
    first = analyses[base.name][seeds[0]]

    def compared(value: Callable[[Mapping[str, Any]], float]) -> Difference:
        one, other = (
            [value(analyses[each.name][seed]) for seed in seeds]
            for each in (variant, base)
        )
        return paired_difference(one, other)

    curvature = compared(lambda a: math.log10(a["hessian"]["eigenvalue"]))
    claims = [
        Claim(
            f"{name} finds a flatter solution (largest Hessian eigenvalue, factor)",
            curvature,
            as_factor(curvature),
            "lower",
        )
    ]
    for kind, what in (("weight_noise", "weights"), ("input_noise", "images")):
        largest = first[kind]["sizes"][-1]
        change = compared(lambda a, kind=kind: 100 * _change_of_accuracy(a[kind]))
        claims.append(
            Claim(
                f"{name} makes it robust to noise (what {what} ± {largest:g} do to the "
                "test accuracy, % points)",
                change,
                comparison.interval(change, 2),
                "higher",
            )
        )
    return claims


def _change_of_accuracy(noise: Mapping[str, Any]) -> float:
    """Returns what the largest noise does to the accuracy."""
    return noise["accuracies"][-1] - noise["accuracies"][0]


def _log_gradient(measured: Measurements, layer: str) -> float:
    gradient = mean_of(measured)[layer].pre_activation_gradient
    return math.log10(gradient) if gradient > 0 else -math.inf


def as_factor(found: Difference) -> str:
    """Returns a difference of decimal logarithms as a factor."""
    mean = f"{10**found.mean:.2f}"
    if found.low is None or found.high is None:
        return mean
    return f"{mean} [{10**found.low:.2f}, {10**found.high:.2f}]"


def kurtosis(distribution: Mapping[str, Any]) -> float:
    """Returns the kurtosis of what is in a histogram."""
    edges, density = np.array(distribution["edges"]), np.array(distribution["density"])
    shares = density / density.sum()
    middles = (edges[1:] + edges[:-1]) / 2
    centred = middles - np.sum(shares * middles)
    return float(np.sum(shares * centred**4) / np.sum(shares * centred**2) ** 2)
