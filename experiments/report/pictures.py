"""The pictures of a report."""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from experiments.records.history import Row, is_finite
from experiments.records.studies import Study, Variant
from experiments.report import comparison
from experiments.report.measurements import layers_of, matched_derivatives
from gaaf_keras.analysis import Curve, Distribution, Spread
from gaaf_keras.analysis.figures import (
    Line,
    Style,
    draw,
    draw_curve,
    draw_differences,
    draw_distributions,
    styles,
)

Pictures = dict[str, Figure]  # by file name
_ROUNDING = 1e-6  # of an accuracy in float32
_SHOWN_ERRORS = 2.0
_POINTS = 60  # of a line over training steps


def differences(
    study: Study, title: str = "Hollow marks: no difference shown"
) -> Pictures:
    """Returns the differences in test accuracy, if they have intervals."""
    pairs = comparison.comparisons(study)
    return differences_of({f"{v.group} − {o.group}": (v, o) for v, o in pairs}, title)


def differences_of(
    pairs: Mapping[str, tuple[Variant, Variant]], title: str
) -> Pictures:
    """Returns the same for pairs of variants, by their names."""
    found = {
        name: difference
        for name, pair in pairs.items()
        if (difference := comparison.paired(*pair, "test_accuracy"))
    }
    if all(difference.low is None for difference in found.values()):
        return {}
    x_label = "difference in test accuracy, % points"
    return {"differences": draw_differences(found, title, x_label)}


def learning_curves(study: Study) -> Pictures:
    """Returns accuracy and loss over epochs and, unless runs share it, over time."""
    style_of = _styles(study)
    runs = [
        (variant, index, [row for row in run.history if is_finite(row)])
        for variant in study.chosen
        for index, run in enumerate(variant.runs.values())
    ]
    errors = [1 - row["val_accuracy"] for _, _, history in runs for row in history]
    # An error of 0 has no place on a logarithmic axis.
    least = min((error for error in errors if error > _ROUNDING), default=1.0) / 2

    def percent_wrong(row: Row) -> float:
        return 100 * max(1 - row["val_accuracy"], least)

    def over_epochs(
        value: Callable[[Row], float], title: str, y_label: str = "loss"
    ) -> Figure:
        lines = []
        for chosen in study.chosen:
            style = style_of[chosen.name]
            histories = [h for variant, _, h in runs if variant is chosen and h]
            values = [[value(row) for row in history] for history in histories]
            for run in values:
                epochs = np.arange(1, len(run) + 1)
                lines.append(Line(epochs, run, "", style, faint=True))
            points = list(zip(*values, strict=False))  # as far as all runs go
            if points:
                epochs = np.arange(1, len(points) + 1)
                lines.append(_banded(epochs, points, chosen.name, style, log=True))
        return draw(lines, title, "epoch", y_label, log_y=True)

    error = "validation error, %"
    drawn = {
        "validation_error": over_epochs(percent_wrong, "Validation error", error),
        "training_loss": over_epochs(lambda row: row["loss"], "Training loss"),
        "validation_loss": over_epochs(lambda row: row["val_loss"], "Validation loss"),
    }
    if not study.has_own_times:
        return drawn
    by_time = [
        Line(
            [row["seconds"] for row in history],
            [percent_wrong(row) for row in history],
            variant.name * (index == 0),
            style_of[variant.name],
            faint=index > 0,
        )
        for variant, index, history in runs
    ]
    over_time = draw(
        by_time, "Validation error over time", "seconds", error, log_y=True
    )
    return {**drawn, "validation_error_by_time": over_time}


def _banded(
    x: Sequence[float] | np.ndarray,
    points: Sequence[Sequence[float]],
    name: str,
    style: Style,
    *,
    log: bool = False,
    marked: bool = False,
) -> Line:
    """Returns the mean over runs, with a band of one standard deviation (n - 1).

    Args:
        x: The positions of the points.
        points: The values of the runs at each.
        name: The name of the line.
        style: How it is drawn.
        log: Whether the axis is logarithmic, so that the band must stay positive.
        marked: Whether to mark the points.
    """
    spreads = [Spread.of(values) for values in points]
    mean = np.array([spread.mean for spread in spreads])
    deviation = np.array([spread.standard_deviation or 0.0 for spread in spreads])
    low = mean - deviation
    if log:
        low = np.maximum(low, [min(values) for values in points])
    return Line(x, mean, name, style, low, mean + deviation, marked=marked)


def learning_rates(study: Study) -> Pictures:
    """Returns the validation error over the learning rates tried.

    Failed runs are above the picture; otherwise the differences between the others
    would be invisible. The best error of each variant is inside.
    """
    groups: dict[str, dict[float, list[float]]] = {}
    for variant in study.variants:
        # A group may have several dropout rates, each with all learning rates.
        name = variant.name.partition(", learning rate ")[0]
        groups.setdefault(name, {})[variant.config.learning_rate] = [
            100 * max(1 - value, _ROUNDING)
            for value in variant.values("validation_accuracy")
        ]
    groups = {name: errors for name, errors in groups.items() if len(errors) > 1}
    if not groups:
        return {}
    style_of = styles(groups)
    lines = []
    for name, errors in groups.items():
        rates = sorted(errors)
        points, style = [errors[rate] for rate in rates], style_of[name]
        lines.append(_banded(rates, points, name, style, log=True, marked=True))
    all_errors = np.concatenate([line.y for line in lines])
    smallest, largest = float(all_errors.min()), float(all_errors.max())
    largest_best = max(float(np.min(line.y)) for line in lines)
    highest = min(max(_SHOWN_ERRORS * smallest, 1.1 * largest_best), 1.1 * largest)
    return {
        "learning_rates": draw(
            lines,
            "Error by learning rate",
            "learning rate",
            "validation error, %",
            log_x=True,
            log_y=True,
            y_limits=(0.9 * smallest, highest),
        )
    }


def gradient_flow(study: Study) -> Pictures:
    """Returns the gradient of each layer over the steps of training."""
    style_of = _styles(study)
    by_layer: dict[str, list[Line]] = {}
    for variant in study.chosen:
        found: dict[str, dict[int, list[float]]] = {}
        for run in variant.runs.values():
            for step, layers in run.gradient_flow:
                for layer, values in layers.items():
                    at = found.setdefault(layer, {}).setdefault(step, [])
                    at.append(values.pre_activation_gradient)
        for layer, measured in found.items():
            points = sorted(
                (float(step), float(np.mean(values)))
                for step, values in measured.items()
                if len(values) == len(variant.runs)
            )
            if points:
                # Means over neighbours limit the number of points.
                parts = np.array_split(np.array(points), min(len(points), _POINTS))
                x, y = np.transpose([part.mean(axis=0) for part in parts])
                line = Line(x, y, variant.name, style_of[variant.name])
                by_layer.setdefault(layer, []).append(line)
    return {
        f"gradient_{_slug(layer)}": draw(
            lines, f"{layer}: gradient", "step", "mean |∂L/∂z|", log_y=True
        )
        for layer, lines in by_layer.items()
    }


def pre_activations(study: Study) -> Pictures:
    """Returns the distribution of each layer's pre-activations."""
    return {
        f"pre_activation_{_slug(layer)}": _distributions(
            study,
            ("saturation", layer, "pre_activations"),
            f"{layer}: pre-activations",
            "pre-activation",
        )
        for layer in _layers(study)
    }


def correlations(study: Study) -> Pictures:
    """Returns the distribution of each layer's correlations."""
    return {
        f"correlation_{_slug(layer)}": _distributions(
            study,
            ("correlations", layer, "distribution"),
            f"{layer}: correlations",
            "correlation of two nodes",
        )
        for layer in _layers(study)
    }


def weights(study: Study) -> Pictures:
    """Returns the distribution of each kernel's weights, before and after training."""
    first = next((a for variant in study.chosen for a in variant.analyses), None)
    return {
        f"weights_{_slug(path)}": _distributions(
            study, ("weights", path), path, "weight", initial
        )
        for path, initial in (first["initial_weights"] if first else {}).items()
    }


def _distributions(
    study: Study,
    path: tuple[str, ...],
    title: str,
    x_label: str,
    initial: dict[str, Any] | None = None,
) -> Figure:
    """Returns a picture of a distribution from the variants' analyses."""
    style_of = {**_styles(study), "before training": Style("#9aa0a8", (0, (1, 1)), "o")}
    shown = {
        variant.name: [Distribution(**found) for found in _found(variant, path)]
        for variant in study.chosen
    }
    if initial:
        shown["before training"] = [Distribution(**initial)]
    shown = {name: several for name, several in shown.items() if several}
    return draw_distributions(shown, title, x_label, style_of)


def ablation(study: Study) -> Pictures:
    """Returns the remaining accuracy without a part of a layer's nodes."""
    return {
        f"ablation_{_slug(layer)}": _accuracies(
            study,
            ("ablation", layer),
            "shares",
            f"{layer}: accuracy without some nodes",
            "share of the nodes held at their means",
        )
        for layer in _layers(study)
    }


def flatness(study: Study) -> Pictures:
    """Returns accuracy under noise in the weights and in the images."""
    if not _layers(study):
        return {}
    return {
        kind: _accuracies(study, (kind,), "sizes", title, x_label)
        for kind, title, x_label in (
            ("weight_noise", "Noise in the weights", "relative size of the change"),
            (
                "input_noise",
                "Noise in the images",
                "deviation, relative to all pixels",
            ),
        )
    }


def _accuracies(
    study: Study,
    path: tuple[str, ...],
    x: str,
    title: str,
    x_label: str,
) -> Figure:
    """Returns a picture of the accuracies in the variants' analyses."""
    style_of = _styles(study)
    lines = []
    for variant in study.chosen:
        found = _found(variant, path)
        if found:
            runs = [100 * np.array(each["accuracies"]) for each in found]
            points, style = np.transpose(runs).tolist(), style_of[variant.name]
            lines.append(_banded(found[0][x], points, variant.name, style, marked=True))
    return draw(lines, title, x_label, "test accuracy, %")


def expected_derivatives(study: Study) -> Pictures:
    """Returns the mean derivative under dropout, and the shapes that match it."""
    plain, real, matched, default = styles("abcd").values()
    return {
        f"derivative_{_slug(found.variant)}_{_slug(found.layer)}": draw(
            [
                Line(x := found.pre_activation, found.plain, "φ′ without noise", plain),
                Line(x, found.under_noise, "under dropout", real, marked=True),
                Line(x, found.matched, "DropoutMatched", matched),
                Line(x, found.default, "default shape", default),
            ],
            f"{found.layer}: derivative under {found.variant}",
            "mean pre-activation",
            "mean derivative",
        )
        for found in matched_derivatives(study)
    }


def functions(study: Study) -> Pictures:
    """Returns the value and gradient of the networks' activations.

    Of each variant, if activations of one name differ, as with several shapes.
    """
    by_name: dict[str, dict[str, Any]] = {}
    for variant in study.chosen:
        for each in variant.analyses:
            for name, values in each.get("functions", {}).items():
                by_name.setdefault(name, {}).setdefault(variant.name, values)
    drawn = {}
    for name, curves in by_name.items():
        first, *others = curves.values()
        differ = any(other != first for other in others)
        shown = curves if differ else {"": first}
        for number, (owner, values) in enumerate(shown.items(), start=1):
            curve = Curve(**{key: np.array(value) for key, value in values.items()})
            file, title = f"function_{_slug(name)}", name
            if differ:
                file, title = f"{file}_{number}", f"{name}, {owner}"
            drawn[file] = draw_curve(curve, title)
    return drawn


def _found(variant: Variant, path: tuple[str, ...]) -> list[dict[str, Any]]:
    """Returns the values at a path in the analyses of a variant that have it."""
    found: list[dict[str, Any]] = variant.analyses
    for name in path:
        found = [each[name] for each in found if name in each]
    return found


def _layers(study: Study) -> list[str]:
    """Returns the layers of all variants."""
    layers = [layer for variant in study.chosen for layer in layers_of(variant)]
    return list(dict.fromkeys(layers))


def _styles(study: Study) -> dict[str, Style]:
    groups = styles(dict.fromkeys(variant.group for variant in study.variants))
    return {variant.name: groups[variant.group] for variant in study.variants}


def _slug(text: str) -> str:
    """Returns a text as part of a file's name."""
    return re.sub(r"[^a-z0-9]+", "_", text.lower()).strip("_")
