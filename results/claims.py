"""What the paper says of its MNIST networks, held against the records."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from gaaf_keras.analysis import Difference, paired_difference
from gaaf_keras.analysis.gradient_flow import mean_of
from gaaf_keras.report import comparing
from gaaf_keras.report.inside import Analyses
from gaaf_keras.report.reading import Study, Training, Variant
from gaaf_keras.report.tables import Table

Value = Callable[[Training, Mapping[str, Any]], float]


def claims(study: Study, analyses: Analyses) -> Table:
    """Returns each claim with what was found and whether it holds.

    A claim holds if the 95 % confidence interval of the difference, paired by seed, is
    all on its side of 0.
    """
    by_group = {variant.group: variant for variant in study.chosen}
    base, dropout, gaaf = (by_group[name] for name in ("base", "dropout", "GAAF"))
    rows: list[list[str]] = []

    def add(
        claim: str,
        pair: tuple[Variant, Variant],
        value: Value,
        expected: str,
        text: Callable[[Difference], str] = lambda d: comparing.interval(d, 2),
    ) -> None:
        found = difference(pair, analyses, value)
        rows.append([claim, text(found), verdict(found, expected)])

    for claim, pair, field, expected in (
        ("dropout is more accurate than the base", (dropout, base), 0, "higher"),
        ("GAAF is more accurate than the base", (gaaf, base), 0, "higher"),
        ("dropout is more accurate than GAAF", (dropout, gaaf), 0, "higher"),
        ("dropout needs more epochs than the base", (dropout, base), 1, "higher"),
        ("GAAF needs more epochs than the base", (gaaf, base), 1, "higher"),
        ("GAAF needs fewer epochs than dropout", (gaaf, dropout), 1, "lower"),
    ):
        unit = ("test accuracy, % points", "best epoch")[field]
        add(f"{claim} ({unit})", pair, (accuracy, best_epoch)[field], expected)
    layers = next(iter(analyses[base.name].values()))["layers"]
    for number, layer in enumerate(layers, start=1):
        add(
            f"dropout multiplies the gradient in layer {number} (factor)",
            (dropout, base),
            gradient(layer),
            "higher",
            as_factor,
        )
    for number, layer in enumerate(layers, start=1):
        add(
            f"dropout drives layer {number} into saturation (share, % points)",
            (dropout, base),
            saturated(layer),
            "higher",
            lambda d: comparing.interval(d, 1),
        )
    for number, layer in enumerate(layers, start=1):
        add(
            f"dropout widens the correlations of layer {number} (mean size)",
            (dropout, base),
            correlation(layer),
            "higher",
            lambda d: comparing.interval(d, 3),
        )
    kernels = list(next(iter(analyses[base.name].values()))["weights"])
    for number, kernel in enumerate(kernels[: len(layers)], start=1):
        add(
            f"dropout makes the weights of layer {number} less uniform and more "
            "Gaussian (kurtosis)",
            (dropout, base),
            kurtosis(kernel),
            "higher",
        )
    return Table(
        ["the paper's claim", "difference found", "it"],
        rows,
        "Mean differences over pairs of trainings with the same seed, with 95 % "
        "confidence intervals, one for each claim alone: of twenty, one misses on "
        "average. Kurtosis is that of the weights within the histogram: 1.8 for a "
        "uniform distribution, 3 for a Gaussian.",
    )


def difference(
    pair: tuple[Variant, Variant], analyses: Analyses, value: Value
) -> Difference:
    """Returns the paired difference of a quantity between two variants."""
    one, other = pair
    seeds = [seed for seed in one.trainings if seed in other.trainings]

    def values(variant: Variant) -> Sequence[float]:
        found = analyses[variant.name]
        return [value(variant.trainings[seed], found[seed]) for seed in seeds]

    return paired_difference(values(one), values(other))


def as_factor(found: Difference) -> str:
    """Returns a difference of logarithms as a factor."""
    assert found.low is not None
    assert found.high is not None
    return f"{10**found.mean:.2f} [{10**found.low:.2f}, {10**found.high:.2f}]"


def verdict(found: Difference, expected: str) -> str:
    """Returns what a difference says of a claim."""
    if found.direction == "not shown":
        return "is not shown"
    return "holds" if found.direction == expected else "does not hold: the opposite"


def accuracy(training: Training, _: Mapping[str, Any]) -> float:
    """Returns the test accuracy in percent."""
    return 100 * training.result["test_accuracy"]


def best_epoch(training: Training, _: Mapping[str, Any]) -> float:
    """Returns the best epoch."""
    return training.result["best_epoch"]


def gradient(layer: str) -> Value:
    """Returns what takes the logarithm of a layer's mean gradient over training."""
    return lambda training, _: float(
        np.log10(mean_of(training.gradient_flow)[layer].net_input_gradient)
    )


def saturated(layer: str) -> Value:
    """Returns what takes the share of a layer's net inputs that are saturated."""
    return lambda _, analysis: 100 * analysis["saturation"][layer]["share"]


def correlation(layer: str) -> Value:
    """Returns what takes the mean absolute correlation of a layer's nodes."""
    return lambda _, analysis: analysis["correlations"][layer]["mean_absolute"]


def kurtosis(kernel: str) -> Value:
    """Returns what takes the kurtosis of a kernel's weights."""

    def value(_: Training, analysis: Mapping[str, Any]) -> float:
        found = analysis["weights"][kernel]
        edges, density = np.array(found["edges"]), np.array(found["density"])
        middles = (edges[1:] + edges[:-1]) / 2
        shares = density / density.sum()
        centred = middles - np.sum(shares * middles)
        return float(np.sum(shares * centred**4) / np.sum(shares * centred**2) ** 2)

    return value
