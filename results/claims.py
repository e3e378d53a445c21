"""The paper's claims about its MNIST networks, compared with the records."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from experiments import UsageError
from experiments.records.studies import Run, Study, Variant
from experiments.report import comparison
from experiments.report.measurements import layers_of
from experiments.tables import Table
from gaaf_keras.analysis import Difference, paired_difference
from gaaf_keras.analysis.gradients import mean_of

Value = Callable[[Run, Run], float]  # of a run, beside the other with its seed


def table(study: Study) -> Table:
    """Returns each claim with the difference found and whether it holds.

    Raises:
        UsageError: If a network was not analysed.
    """
    plain, dropout, gaaf = map(study.chosen_of, ("plain", "dropout", "GAAF"))
    for variant in (plain, dropout, gaaf):
        missing = [seed for seed, run in variant.runs.items() if not run.analysis]
        if missing:
            raise UsageError(
                f"The networks of {variant.name} with seeds {missing} have not been "
                "analysed. Run `python -m experiments.report FOLDER`, then write the "
                "records."
            )
    return Table(
        ["the paper's claim", "difference found", "verdict"],
        [
            *_about_results(plain, dropout, gaaf),
            *_about_networks(plain, dropout),
            *_about_flatness("dropout", dropout, plain),
            *_about_flatness("GAAF", gaaf, plain),
        ],
        f"Dropout at a rate of {dropout.config.dropout:g}, the best of those tried by "
        "validation accuracy; the paper does not give its rate. Mean differences over "
        "pairs of runs with the same seed, with 95 % confidence intervals, each for a "
        "single claim: about one in twenty misses the true value. A claim holds if the "
        "whole interval is on its side of 0 (of 1 for a factor). Kurtosis is computed "
        "from a histogram of the weights that leaves out a thousandth of them: 1.8 for "
        "a uniform distribution, 2.9 for a Gaussian.",
    )


def of_flatness(study: Study) -> Table:
    """Returns the flatness of a study's variants against the plain one, if analysed."""
    plain = study.plain
    others = (
        [v for v in study.chosen if v is not plain] if plain and plain.analyses else []
    )
    return Table(
        ["claim", "difference found", "verdict"],
        [row for each in others for row in _about_flatness(each.name, each, plain)],
        "Against plain networks, in pairs with the same seed, as above.",
    )


def _row(
    text: str, difference: Difference, expected: str, decimals: int | None
) -> list[str]:
    """Returns a claim, the difference found and the verdict.

    Args:
        text: The claim.
        difference: The difference found.
        expected: The direction in which the claim holds.
        decimals: Decimals of the difference. None for a difference of decimal
            logarithms, to be shown as a factor.
    """
    if decimals is not None:
        found = difference.with_decimals(decimals)
    else:
        found = f"{10**difference.mean:.2f}"
        if difference.low is not None and difference.high is not None:
            found += f" [{10**difference.low:.2f}, {10**difference.high:.2f}]"
    if difference.direction == "not shown":
        return [text, found, "is not shown"]
    holds = difference.direction == expected
    return [text, found, "holds" if holds else "does not hold: the opposite"]


def _about(
    text: str,
    variant: Variant,
    other: Variant,
    value: Value,
    *,
    decimals: int | None = None,
    expected: str = "higher",
) -> list[list[str]]:
    """Returns the row of a claim about a number of each run, if there are pairs."""
    pairs = [
        (value(one, two), value(two, one))
        for seed in comparison.seeds_of(variant, other, "best_epoch")
        for one, two in [(variant.runs[seed], other.runs[seed])]
    ]
    finite = [pair for pair in pairs if all(map(math.isfinite, pair))]
    if not finite:
        return []
    difference = paired_difference(*map(list, zip(*finite, strict=True)))
    return [_row(text, difference, expected, decimals)]


def _about_results(plain: Variant, dropout: Variant, gaaf: Variant) -> list[list[str]]:
    accuracy = "test_accuracy", "test accuracy, % points"
    epoch = "best_epoch", "best epoch"
    return [
        _row(f"{text} ({unit})", difference, expected, 2)
        for text, variant, other, (field, unit), expected in (
            (
                "dropout is more accurate than plain",
                dropout,
                plain,
                accuracy,
                "higher",
            ),
            ("GAAF is more accurate than plain", gaaf, plain, accuracy, "higher"),
            ("dropout is more accurate than GAAF", dropout, gaaf, accuracy, "higher"),
            ("dropout needs more epochs than plain", dropout, plain, epoch, "higher"),
            ("GAAF needs more epochs than plain", gaaf, plain, epoch, "higher"),
            ("GAAF needs fewer epochs than dropout", gaaf, dropout, epoch, "lower"),
        )
        if (difference := comparison.paired(variant, other, field))
    ]


def _about_networks(plain: Variant, dropout: Variant) -> list[list[str]]:
    """Returns the claims about what dropout does to gradients, nodes and weights."""
    kernels = list(plain.analyses[0]["weights"])
    parts: tuple[tuple[str, Callable[[str, str], Value], int | None], ...] = (
        (
            "dropout enlarges the gradient in layer {} (factor, over the steps that "
            "both trained)",
            lambda layer, _: (
                lambda run, other: _log_gradient(run, layer, other.gradient_flow[-1][0])
            ),
            None,
        ),
        (
            "the same over each whole run, as in the paper: layer {}",
            lambda layer, _: lambda run, _: _log_gradient(run, layer, math.inf),
            None,
        ),
        (
            "dropout drives layer {} into saturation (share of pre-activations, "
            "% points)",
            lambda layer, _: (
                lambda run, _: 100 * run.analysis["saturation"][layer]["share"]
            ),
            1,
        ),
        (
            "dropout widens the correlations of layer {} (mean size)",
            lambda layer, _: (
                lambda run, _: run.analysis["correlations"][layer]["mean_absolute"]
            ),
            3,
        ),
        (
            "dropout makes the weights of layer {} less uniform (kurtosis)",
            lambda _, kernel: lambda run, _: kurtosis(run.analysis["weights"][kernel]),
            2,
        ),
    )
    return [
        row
        for text, value_of, decimals in parts
        for index, layer in enumerate(layers_of(plain))
        for row in _about(
            text.format(index + 1),
            dropout,
            plain,
            value_of(layer, kernels[index]),
            decimals=decimals,
        )
    ]


def _about_flatness(name: str, variant: Variant, plain: Variant) -> list[list[str]]:
    """Returns the claims about how flat and robust a solution is."""

    def change(kind: str) -> Value:
        def by_largest_noise(run: Run, _: Run) -> float:
            accuracies = run.analysis[kind]["accuracies"]
            return 100 * (accuracies[-1] - accuracies[0])

        return by_largest_noise

    rows = _about(
        f"{name} finds a flatter solution (largest Hessian eigenvalue, factor)",
        variant,
        plain,
        lambda run, _: math.log10(run.analysis["hessian"]["eigenvalue"]),
        expected="lower",
    )
    for kind, what in (("weight_noise", "weights"), ("input_noise", "images")):
        largest = plain.analyses[0][kind]["sizes"][-1]
        text = (
            f"{name} makes the network robust to noise (change in test accuracy with "
            f"{what} ± {largest:g}, % points)"
        )
        rows += _about(text, variant, plain, change(kind), decimals=2)
    return rows


def _log_gradient(run: Run, layer: str, last: float) -> float:
    """Returns the decimal logarithm of a mean gradient up to a step."""
    measured = mean_of([row for row in run.gradient_flow if row[0] <= last])
    gradient = measured[layer].pre_activation_gradient
    return math.log10(gradient) if gradient > 0 else -math.inf


def kurtosis(distribution: Mapping[str, Any]) -> float:
    """Returns the kurtosis of the values in a histogram."""
    edges, density = np.array(distribution["edges"]), np.array(distribution["density"])
    shares = density / density.sum()
    middles = (edges[1:] + edges[:-1]) / 2
    centred = middles - np.sum(shares * middles)
    return float(np.sum(shares * centred**4) / np.sum(shares * centred**2) ** 2)
