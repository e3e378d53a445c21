"""The analyses of the networks, layer by layer."""

import dataclasses
import math
import statistics
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from experiments.records.studies import Study, Variant
from experiments.report import paper
from experiments.tables import Table, spread
from gaaf_keras import GAAF, analysis
from gaaf_keras.analysis.gradients import mean_of
from gaaf_keras.shapes import MATCHED_ACTIVATIONS, DropoutMatched

_LEAST_NOISE = 1e-3
_SHOWN_SIZES = (2, -1)  # a small and the largest of the measured sizes of noise
_GRADIENTS = {
    "|∂L/∂z|": "pre_activation_gradient",
    "|∂L/∂a|": "output_gradient",
    "|a|": "activity",
    "|∂L/∂a| / |a|": "ratio",
    "|a ∂L/∂a|": "sensitivity",
}


def gradients(study: Study) -> Table:
    """Returns the mean gradient of each layer over training: the paper's table 2."""
    variants = [
        variant
        for variant in study.chosen
        if all(run.gradient_flow for run in variant.runs.values())
    ]
    missing = [v.name for v in study.chosen if v not in variants]
    of_paper = any(paper.gradients(variant.config) for variant in variants)
    flows = {v.name: [run.gradient_flow for run in v.runs.values()] for v in variants}
    last = min((flow[-1][0] for each in flows.values() for flow in each), default=0)
    rows = []
    for variant in variants:
        means = [
            mean_of([row for row in flow if row[0] <= last])
            for flow in flows[variant.name]
        ]
        published = paper.gradients(variant.config)
        for layer in means[0]:
            row = [variant.name, layer]
            row += [
                spread([getattr(mean[layer], name) for mean in means], None)
                for name in _GRADIENTS.values()
            ]
            if of_paper:
                known = layer in published
                row.append(spread([published[layer]], None) if known else "")
            rows.append(row)
    return Table(
        ["variant", "layer", *_GRADIENTS, *["paper: gradient"] * of_paper],
        rows,
        f"Means over the measurements up to step {last}, which all runs reached, of "
        "absolute values over examples and nodes; then mean (standard deviation) over "
        "seeds. L is the loss of a batch, z the pre-activation of a node, a its output "
        "before dropout. |a ∂L/∂a| does not depend on the scale of the outputs, which "
        "dropout changes."
        + (f" Not measured in every run: {', '.join(missing)}." if missing else ""),
    )


def _by_layer(
    study: Study,
    caption: str,
    *columns: tuple[str, int, Callable[[dict[str, Any], str], float]],
) -> Table:
    """Returns a table of each layer's analyses: titles, decimals and values."""
    return Table(
        ["variant", "layer", *(title for title, _, _ in columns)],
        [
            [
                variant.name,
                layer,
                *(
                    spread([value(each, layer) for each in variant.analyses], decimals)
                    for _, decimals, value in columns
                ),
            ]
            for variant in study.chosen
            for layer in layers_of(variant)
        ],
        caption,
    )


def layers_of(variant: Variant) -> list[str]:
    """Returns the layers that were analysed."""
    return variant.analyses[0]["layers"] if variant.analyses else []


def saturation(study: Study) -> Table:
    """Returns how many pre-activations of each layer are saturated."""

    def share(name: str, of: str | None = None) -> Callable[[Any, str], float]:
        def percent(a: dict[str, Any], layer: str) -> float:
            found = a["saturation"][layer]
            return 100 * found[name] / (found[of] if of else 1)

        return percent

    return _by_layer(
        study,
        "On test data, at inference; mean (standard deviation) over seeds. A "
        "pre-activation is saturated where the derivative of the plain activation is "
        "below 0.07 (tanh: |z| > 2; ReLU: z ≤ 0), and saturated in training where the "
        "derivative in the backward pass is below that too. A node is dead if it is "
        "saturated with every example.",
        ("saturated, %", 1, share("share")),
        ("saturated in training, %", 1, share("accelerated_share")),
        ("dead nodes, %", 1, share("dead_nodes", "nodes")),
        ("mean |correlation|", 3, lambda a, n: a["correlations"][n]["mean_absolute"]),
    )


def pre_activation_variance(study: Study) -> Table:
    """Returns the variance of pre-activations, with the derivatives."""

    def of(name: str) -> Callable[[Any, str], float]:
        return lambda a, layer: a["pre_activation_variance"][layer][name]

    return _by_layer(
        study,
        "Variance of a pre-activation over repeated calls in training mode, φ′ at its "
        "mean, the mean of φ′ over the calls, and the derivative of the backward pass "
        "at the mean; then the same where the mean is saturated. Means over test "
        "examples and nodes, then over seeds.",
        ("pre-activation variance", 3, of("variance")),
        ("φ′", 3, of("derivative")),
        ("φ′ under noise", 3, of("derivative_under_noise")),
        ("in training", 3, of("derivative_in_training")),
        ("saturated: φ′", 3, of("saturated_derivative")),
        ("saturated: φ′ under noise", 3, of("saturated_derivative_under_noise")),
        ("saturated: in training", 3, of("saturated_derivative_in_training")),
    )


@dataclasses.dataclass(frozen=True)
class MatchedDerivatives:
    """Derivatives by pre-activation: without noise, under dropout, with shapes."""

    variant: str
    layer: str
    noise_std: float
    pre_activation: np.ndarray
    plain: np.ndarray
    under_noise: np.ndarray
    matched: np.ndarray
    default: np.ndarray

    def error(self, curve: np.ndarray) -> str:
        """Returns the distance of a curve from the derivative under dropout."""
        return f"{math.sqrt(statistics.fmean((curve - self.under_noise) ** 2)):.4f}"


def matched_derivatives(study: Study) -> Iterator[MatchedDerivatives]:
    """Yields the derivatives under dropout of each layer that dropout reaches."""
    for variant in study.chosen:
        config = variant.config
        if config.accelerates or config.activation not in MATCHED_ACTIVATIONS:
            continue
        for layer in layers_of(variant) if config.dropout else ():
            measured = variant.analyses[0]["pre_activation_variance"][layer]
            noise_std, curve = measured["noise_std"], measured["curve"]
            if noise_std < _LEAST_NOISE:
                continue  # below the first dropout
            x, plain, under_noise = (
                np.array(curve[name])
                for name in ("pre_activation", "plain", "under_noise")
            )
            matched, default = (
                analysis.curve(GAAF(config.activation, shape), x).derivative_in_training
                for shape in (DropoutMatched(config.activation, noise_std), None)
            )
            yield MatchedDerivatives(
                variant.name, layer, noise_std, x, plain, under_noise, matched, default
            )


def expected_derivatives(study: Study) -> Table:
    """Returns how well shapes match the mean derivative under dropout."""
    return Table.of(
        matched_derivatives(study),
        [
            ("variant", lambda found: found.variant),
            ("layer", lambda found: found.layer),
            ("noise deviation", lambda found: f"{found.noise_std:.3f}"),
            ("φ′ alone", lambda found: found.error(found.plain)),
            ("DropoutMatched", lambda found: found.error(found.matched)),
            ("default shape", lambda found: found.error(found.default)),
        ],
        "Root-mean-square distance of the derivative in training from the mean "
        "derivative under dropout, over pre-activations from the 0.1st to the 99.9th "
        "percentile, for the first seed. DropoutMatched uses the noise deviation shown "
        "in its row, one for all nodes of the layer.",
    )


def flatness(study: Study) -> Table:
    """Returns the largest Hessian eigenvalues and the effect of noise on accuracy."""
    analysed = [variant for variant in study.chosen if layers_of(variant)]
    columns = ["variant", "largest Hessian eigenvalue", "training loss"]
    rows = [
        [
            variant.name,
            spread([a["hessian"]["eigenvalue"] for a in variant.analyses], None),
            spread([a["hessian_loss"] for a in variant.analyses], None),
        ]
        for variant in analysed
    ]
    for kind, of in (("weight_noise", "weights"), ("input_noise", "images")):
        for index in _SHOWN_SIZES if analysed else ():
            size = analysed[0].analyses[0][kind]["sizes"][index]
            columns.append(f"{of} ± {size:g}: accuracy, % points")
            for row, variant in zip(rows, analysed, strict=True):
                found = [a[kind]["accuracies"] for a in variant.analyses]
                row.append(spread([100 * (each[index] - each[0]) for each in found], 2))
    return Table(
        columns,
        rows,
        "The eigenvalue is that of the cross-entropy on training examples, by power "
        "iteration; the training loss is that cross-entropy. Then the change in test "
        "accuracy when every weight tensor moves in a random direction by that "
        "fraction of its length, and when noise of that deviation, relative to all "
        "pixels, is added to the images. Mean (standard deviation) over seeds.",
    )
