"""What the analyses found inside of the networks, layer by layer."""

import dataclasses
import math
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from experiments.records.studies import Study, Variant
from experiments.report import paper
from experiments.report.tables import Table, spread
from gaaf_keras import GAAF, analysis
from gaaf_keras.analysis.flow import mean_of
from gaaf_keras.shapes import MATCHED_ACTIVATIONS, DropoutMatched

Analyses = Mapping[str, Mapping[int, Mapping[str, Any]]]  # by variant and seed


def gradients(study: Study) -> Table | None:
    """Returns the mean gradient of each layer over training: the paper's table 2."""
    variants = [
        variant
        for variant in study.chosen
        if all(t.gradient_flow for t in variant.runs.values())
    ]
    if not variants:
        return None
    last = min(
        run.gradient_flow[-1][0]
        for variant in variants
        for run in variant.runs.values()
    )
    missing = [v.name for v in study.chosen if v not in variants]
    of_paper = any(_is_of_paper(variant) for variant in variants)
    rows = []
    for variant in variants:
        flows = [
            mean_of([row for row in run.gradient_flow if row[0] <= last])
            for run in variant.runs.values()
        ]
        for layer in flows[0]:
            values = [flow[layer] for flow in flows]
            row = [
                variant.name,
                layer,
                *(
                    spread([getattr(value, name) for value in values], None)
                    for name in (
                        "pre_activation_gradient",
                        "output_gradient",
                        "activity",
                        "ratio",
                        "sensitivity",
                    )
                ),
            ]
            if of_paper:
                row.append(_published_gradient(variant, layer))
            rows.append(row)
    columns = [
        *("variant", "layer", "|∂L/∂z|", "|∂L/∂a|", "|a|", "|∂L/∂a| / |a|"),
        "|a ∂L/∂a|",
    ]
    if of_paper:
        columns.append("paper: gradient")
    return Table(
        columns,
        rows,
        f"Means over the measurements up to step {last}, to which all runs came, "
        "of absolute values over examples and nodes; then mean (standard deviation) "
        "over seeds. L is the loss of a batch, z the pre-activation of a node, a its "
        "output before dropout. |a ∂L/∂a| does not depend on the scale of the outputs, "
        "which dropout changes."
        + (f" Not measured in all runs: {', '.join(missing)}." if missing else ""),
    )


def _is_of_paper(variant: Variant) -> bool:
    """Whether the paper has gradients of such a network."""
    config = variant.config
    plain = not config.accelerates and not config.batch_norm
    return plain and config.dataset == "mnist" and paper.is_network(config)


def _published_gradient(variant: Variant, layer: str) -> str:
    published = paper.MNIST_GRADIENTS.get(layer)
    if published is None or not _is_of_paper(variant):
        return ""
    return spread([published[variant.config.dropout > 0]], None)


def saturation(study: Study, analyses: Analyses) -> Table | None:
    """Returns how many pre-activations of each layer are saturated."""
    return _by_layer(
        study,
        analyses,
        (
            ("saturated, %", lambda a, layer: 100 * a["saturation"][layer]["share"]),
            (
                "saturated in training, %",
                lambda a, layer: 100 * a["saturation"][layer]["accelerated_share"],
            ),
            (
                "dead nodes, %",
                lambda a, layer: (
                    100
                    * a["saturation"][layer]["dead_nodes"]
                    / a["saturation"][layer]["nodes"]
                ),
            ),
            (
                "mean |correlation|",
                lambda a, layer: a["correlations"][layer]["mean_absolute"],
            ),
        ),
        (1, 1, 1, 3),
        "On test data, at inference; mean (standard deviation) over seeds. Saturated "
        "is a pre-activation where the derivative of the plain activation is below "
        "0.07 (tanh: |z| > 2; ReLU: z ≤ 0); in training, where the derivative that the "
        "backward pass uses is below that too. A node is dead if it is saturated with "
        "all examples.",
    )


def pre_activation_variance(study: Study, analyses: Analyses) -> Table | None:
    """Returns the variance of pre-activations and the derivatives beside it."""

    def of(name: str) -> Callable[[Any, str], float]:
        return lambda a, layer: a["pre_activation_variance"][layer][name]

    return _by_layer(
        study,
        analyses,
        (
            ("pre-activation variance", of("variance")),
            ("φ′", of("derivative")),
            ("φ′ under noise", of("derivative_under_noise")),
            ("in training", of("derivative_in_training")),
            ("saturated: φ′", of("saturated_derivative")),
            ("φ′ under noise", of("saturated_derivative_under_noise")),
            ("in training", of("saturated_derivative_in_training")),
        ),
        (3,) * 7,
        "Variance of a pre-activation over repeated calls in training mode, φ′ at its "
        "mean, the mean of φ′ over the calls, and the derivative that the backward "
        "pass uses at the mean; then the same where the mean is saturated. Means over "
        "test examples and nodes, then over seeds.",
    )


def expected_derivatives(study: Study, analyses: Analyses) -> Table | None:
    """Returns how well shapes match the derivative that dropout gives on average."""
    rows = []
    for variant, layer, noise_std, curves in matched_derivatives(study, analyses):
        errors = [
            math.sqrt(statistics.fmean((curve - curves.under_noise) ** 2))
            for curve in (curves.plain, curves.matched, curves.default)
        ]
        row = [variant.name, layer, f"{noise_std:.3f}", *(f"{e:.4f}" for e in errors)]
        rows.append(row)
    if not rows:
        return None
    columns = ["variant", "layer", "net deviation", "φ′ alone"]
    columns += ["DropoutMatched", "default shape"]
    return Table(
        columns,
        rows,
        "How far the derivative in training is from the one that dropout gives on "
        "average: root mean square over pre-activations from the 0.1st to the 99.9th "
        "percentile, of the first seed. DropoutMatched has the net deviation beside "
        "it, one for all nodes of the layer.",
    )


@dataclasses.dataclass(frozen=True)
class MatchedDerivatives:
    """Derivatives by pre-activation: without noise, under dropout, and by shapes."""

    pre_activation: np.ndarray
    plain: np.ndarray
    under_noise: np.ndarray
    matched: np.ndarray
    default: np.ndarray


def matched_derivatives(
    study: Study, analyses: Analyses
) -> Iterator[tuple[Variant, str, float, MatchedDerivatives]]:
    """Yields the derivatives under dropout of each layer that dropout reaches."""
    for variant in study.chosen:
        config = variant.config
        found: Any = next(iter(analyses.get(variant.name, {}).values()), None)
        if config.accelerates or config.activation not in MATCHED_ACTIVATIONS:
            continue
        for layer in found["layers"] if found and config.dropout else ():
            measured = found["pre_activation_variance"][layer]
            noise_std, curve = measured["noise_std"], measured["curve"]
            if noise_std < _LEAST_NOISE:
                continue  # below the first dropout
            x = np.array(curve["pre_activation"])
            shape = DropoutMatched(config.activation, noise_std)
            matched = analysis.curve(GAAF(config.activation, shape), x)
            default = analysis.curve(GAAF(config.activation), x)
            yield (
                variant,
                layer,
                noise_std,
                MatchedDerivatives(
                    x,
                    np.array(curve["plain"]),
                    np.array(curve["under_noise"]),
                    matched.derivative_in_training,
                    default.derivative_in_training,
                ),
            )


_LEAST_NOISE = 1e-3
_SHOWN_SIZES = (2, -1)  # of the noises measured, a small and the largest one


def flatness(study: Study, analyses: Analyses) -> Table | None:
    """Returns the largest Hessian eigenvalues and what noise does to the accuracy."""
    noises = (("weight_noise", "weights"), ("input_noise", "images"))
    rows: list[list[str]] = []
    columns = ["variant", "largest Hessian eigenvalue", "training loss"]
    for variant in study.chosen:
        found = [a for a in analyses.get(variant.name, {}).values() if a["layers"]]
        if not found:
            continue
        row = [
            variant.name,
            spread([a["hessian"]["eigenvalue"] for a in found], None),
            spread([a["hessian_loss"] for a in found], None),
        ]
        for kind, of in noises:
            for index in _SHOWN_SIZES:
                losses = [
                    100 * (a[kind]["accuracies"][index] - a[kind]["accuracies"][0])
                    for a in found
                ]
                row.append(spread(losses, 2))
                if not rows:
                    size = found[0][kind]["sizes"][index]
                    columns.append(f"{of} ± {size:g}: accuracy, % points")
        rows.append(row)
    if not rows:
        return None
    return Table(
        columns,
        rows,
        "Of the cross-entropy on training examples, by power iteration, and that "
        "cross-entropy itself; then what is "
        "gained or lost in test accuracy when every weight tensor is moved at random "
        "by that part of its length, and when noise of that deviation, relative to all "
        "pixels, is added to the images. Mean (standard deviation) over seeds.",
    )


def _by_layer(
    study: Study,
    analyses: Analyses,
    columns: Sequence[tuple[str, Callable[[Any, str], float]]],
    decimals: Sequence[int],
    caption: str,
) -> Table | None:
    rows = []
    for variant in study.chosen:
        found = list(analyses.get(variant.name, {}).values())
        for layer in found[0]["layers"] if found else []:
            cells = [
                spread([value(a, layer) for a in found], places)
                for (_, value), places in zip(columns, decimals, strict=True)
            ]
            rows.append([variant.name, layer, *cells])
    if not rows:
        return None
    titles = [title for title, _ in columns]
    return Table(["variant", "layer", *titles], rows, caption)
