"""The pictures of a report."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from experiments.records.studies import Study, Variant, slug
from experiments.report import comparison
from experiments.report.measurements import Analyses, matched_derivatives
from experiments.training.checkpoints import Row, is_finite
from gaaf_keras.analysis import Curve, Distribution
from gaaf_keras.analysis.figures import (
    Line,
    Style,
    draw,
    draw_curve,
    draw_differences,
    draw_distributions,
    styles,
)

Pictures = dict[str, Figure]  # by the name of their file
_ROUNDING = 1e-6  # of an accuracy in float32
_ACCURACY = "validation_accuracy"
_SHOWN_ERRORS = 2.0
_POINTS = 60  # of a line over training steps


def differences(
    study: Study, title: str = "Hollow marks: no difference shown"
) -> Pictures:
    """Returns the differences in test accuracy, if there are intervals for them."""
    pairs = comparison.comparisons(study)
    return differences_of(
        {
            f"{variant.group} − {other.group}": (variant, other)
            for variant, other in pairs
        },
        title,
    )


def differences_of(
    pairs: Mapping[str, tuple[Variant, Variant]], title: str
) -> Pictures:
    """Returns the same of some pairs of variants, by what they are called."""
    found = {
        name: difference
        for name, pair in pairs.items()
        if (difference := comparison.paired(*pair, "test_accuracy", 100))
    }
    if all(difference.low is None for difference in found.values()):
        return {}
    x_label = "difference in test accuracy, % points"
    return {"differences": draw_differences(found, title, x_label)}


def learning_curves(study: Study) -> Pictures:
    """Returns accuracy and loss over epochs and over time."""
    style_of = _styles(study)

    errors = [
        1 - row["val_accuracy"]
        for variant in study.chosen
        for run in variant.runs.values()
        for row in run.history
        if is_finite(row)
    ]
    # An error of 0 has no place on a logarithmic axis.
    least = min((error for error in errors if error > _ROUNDING), default=1.0) / 2

    def percent_wrong(row: Row) -> float:
        return 100 * max(1 - row["val_accuracy"], least)

    def lines(value: Callable[[Row], float]) -> list[Line]:
        found = []
        for variant in study.chosen:
            histories = [
                [value(row) for row in t.history if is_finite(row)]
                for t in variant.runs.values()
            ]
            found += _with_band(variant.name, histories, style_of[variant.name])
        return found

    over_time = [
        Line(
            [row["seconds"] for row in run.history if is_finite(row)],
            [percent_wrong(row) for row in run.history if is_finite(row)],
            variant.name * (index == 0),
            style_of[variant.name],
            faint=index > 0,
        )
        for variant in study.chosen
        for index, run in enumerate(variant.runs.values())
    ]
    error = "validation error, %"
    return {
        "validation_error": draw(
            lines(percent_wrong),
            "Validation error",
            "epoch",
            error,
            log_y=True,
        ),
        "training_loss": draw(
            lines(lambda row: row["loss"]), "Training loss", "epoch", "loss", log_y=True
        ),
        "validation_loss": draw(
            lines(lambda row: row["val_loss"]),
            "Validation loss",
            "epoch",
            "loss",
            log_y=True,
        ),
        "validation_error_by_time": draw(
            over_time, "Validation error over time", "seconds", error, log_y=True
        ),
    }


def _with_band(name: str, runs: list[list[float]], style: Style) -> list[Line]:
    """Returns the runs faintly, and their mean with a band as far as all go."""
    runs = [run for run in runs if run]
    if not runs:
        return []
    shared = min(map(len, runs))
    epochs = np.arange(1, shared + 1)
    table = np.array([run[:shared] for run in runs])
    mean, deviation = _mean_and_deviation(table)
    faint = [
        Line(np.arange(1, len(run) + 1), run, "", style, faint=True) for run in runs
    ]
    lowest = np.min(table, axis=0)  # keeps the band on a logarithmic axis
    low = np.maximum(mean - deviation, lowest)
    return [*faint, Line(epochs, mean, name, style, low=low, high=mean + deviation)]


def _mean_and_deviation(table: np.ndarray) -> tuple[Any, Any]:
    """Returns mean and standard deviation (n - 1; of one, 0) along the first axis."""
    several = len(table) > 1
    deviation = table.std(axis=0, ddof=1) if several else np.zeros_like(table[0])
    return table.mean(axis=0), deviation


def learning_rates(study: Study) -> Pictures:
    """Returns the validation error over the learning rates that were tried.

    Where a run fails, it is above the picture: otherwise the differences between
    those that do not could not be seen.
    """
    groups: dict[str, list[Variant]] = {}
    for variant in study.variants:
        # A group may have several dropout rates, each with all learning rates.
        name = variant.name.partition(", learning rate ")[0]
        groups.setdefault(name, []).append(variant)
    groups = {
        name: variants
        for name, variants in groups.items()
        if len({variant.config.learning_rate for variant in variants}) > 1
    }
    if not groups:
        return {}
    style_of = styles(groups)
    lines = []
    for name, variants in groups.items():
        ordered = sorted(variants, key=lambda variant: variant.config.learning_rate)
        errors = [
            [100 * max(1 - value, _ROUNDING) for value in variant.values(_ACCURACY)]
            for variant in ordered
        ]
        spreads = [_mean_and_deviation(np.array(each)) for each in errors]
        mean, deviation = np.transpose(spreads)
        lowest = np.min(errors, axis=1)  # keeps the band on a logarithmic axis
        low, high = np.maximum(mean - deviation, lowest), mean + deviation
        rates = [variant.config.learning_rate for variant in ordered]
        lines.append(Line(rates, mean, name, style_of[name], low, high, marked=True))
    all_errors = np.concatenate([line.y for line in lines])
    smallest, largest = float(all_errors.min()), float(all_errors.max())
    return {
        "learning_rates": draw(
            lines,
            "Error by learning rate",
            "learning rate",
            "validation error, %",
            log_x=True,
            log_y=True,
            y_limits=(0.9 * smallest, min(_SHOWN_ERRORS * smallest, 1.1 * largest)),
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
            everyone = len(variant.runs)
            steps = {s: v for s, v in measured.items() if len(v) == everyone}
            if not steps:
                continue
            x, y = _thinned(list(steps), [float(np.mean(v)) for v in steps.values()])
            line = Line(x, y, variant.name, style_of[variant.name])
            by_layer.setdefault(layer, []).append(line)
    return {
        f"gradient_{slug(layer)}": draw(
            lines, f"{layer}: gradient", "step", "mean |∂L/∂z|", log_y=True
        )
        for layer, lines in by_layer.items()
    }


def _thinned(x: list[int], y: list[float]) -> tuple[list[float], list[float]]:
    """Returns means over neighbours, so that no more points are left than wanted."""
    order = np.argsort(x)
    parts = np.array_split(order, min(len(x), _POINTS))
    points = [(np.mean(np.take(x, p)), np.mean(np.take(y, p))) for p in parts]
    return [float(a) for a, _ in points], [float(b) for _, b in points]


def pre_activations(study: Study, analyses: Analyses) -> Pictures:
    """Returns the distribution of each layer's pre-activations."""
    return _distributions(
        study,
        analyses,
        ("pre_activation", "pre-activations", "pre-activation"),
        lambda a, layer: a["saturation"][layer]["pre_activations"],
    )


def correlations(study: Study, analyses: Analyses) -> Pictures:
    """Returns the distribution of each layer's correlations."""
    return _distributions(
        study,
        analyses,
        ("correlation", "correlations", "correlation of two nodes"),
        lambda a, layer: a["correlations"][layer]["distribution"],
    )


def _distributions(
    study: Study,
    analyses: Analyses,
    names: tuple[str, str, str],
    distribution: Callable[[Any, str], Mapping[str, Any]],
) -> Pictures:
    style_of = _styles(study)
    name, title, x_label = names
    return {
        f"{name}_{slug(layer)}": draw_distributions(
            {
                variant: [Distribution(**distribution(a, layer)) for a in found]
                for variant, found in by_variant.items()
            },
            f"{layer}: {title}",
            x_label,
            style_of,
        )
        for layer, by_variant in _by_layer(study, analyses)
    }


def ablation(study: Study, analyses: Analyses) -> Pictures:
    """Returns the accuracy that is left without a part of a layer's nodes."""
    return {
        f"ablation_{slug(layer)}": _noise_picture(
            study,
            {
                variant: [a["ablation"][layer] for a in found]
                for variant, found in by_variant.items()
            },
            "shares",
            f"{layer}: accuracy without some nodes",
            "share of the nodes held at their means",
        )
        for layer, by_variant in _by_layer(study, analyses)
    }


def flatness(study: Study, analyses: Analyses) -> Pictures:
    """Returns accuracy under noise in the weights and in the images."""
    by_variant = {
        name: [a for a in found.values() if a["layers"]]
        for name, found in analyses.items()
    }
    if not any(by_variant.values()):
        return {}
    texts = {
        "weight_noise": ("Noise in the weights", "relative size of the change"),
        "input_noise": ("Noise in the images", "deviation, relative to all pixels"),
    }
    return {
        kind: _noise_picture(
            study,
            {name: [a[kind] for a in found] for name, found in by_variant.items()},
            "sizes",
            title,
            x_label,
        )
        for kind, (title, x_label) in texts.items()
    }


def _noise_picture(
    study: Study,
    found: Mapping[str, Sequence[Mapping[str, Any]]],
    x: str,
    title: str,
    x_label: str,
) -> Figure:
    style_of = _styles(study)
    lines = []
    for name, several in found.items():
        if not several:
            continue
        table = 100 * np.array([values["accuracies"] for values in several])
        mean, deviation = _mean_and_deviation(table)
        lines.append(
            Line(
                several[0][x],
                mean,
                name,
                style_of[name],
                low=mean - deviation,
                high=mean + deviation,
                marked=True,
            )
        )
    return draw(lines, title, x_label, "test accuracy, %")


def weights(study: Study, analyses: Analyses) -> Pictures:
    """Returns the distribution of each kernel's weights, before and after training."""
    style_of = {**_styles(study), "before training": Style("#9aa0a8", (0, (1, 1)), "o")}
    first = next((a for found in analyses.values() for a in found.values()), None)
    if first is None:
        return {}
    pictures = {}
    for path in first["weights"]:
        by_variant = {
            name: [
                Distribution(**a["weights"][path])
                for a in found.values()
                if path in a["weights"]
            ]
            for name, found in analyses.items()
        }
        shown = {name: several for name, several in by_variant.items() if several}
        shown["before training"] = [Distribution(**first["initial_weights"][path])]
        pictures[f"weights_{slug(path)}"] = draw_distributions(
            shown, path, "weight", style_of
        )
    return pictures


def expected_derivatives(study: Study, analyses: Analyses) -> Pictures:
    """Returns the derivative that dropout gives on average, and what matches it."""
    plain, real, matched, default = styles("abcd").values()
    return {
        f"derivative_{slug(variant.name)}_{slug(layer)}": draw(
            [
                Line(curves.pre_activation, curves.plain, "φ′ without noise", plain),
                Line(
                    curves.pre_activation,
                    curves.under_noise,
                    "under dropout",
                    real,
                    marked=True,
                ),
                Line(curves.pre_activation, curves.matched, "DropoutMatched", matched),
                Line(curves.pre_activation, curves.default, "default shape", default),
            ],
            f"{layer}: derivative under {variant.name}",
            "mean pre-activation",
            "mean derivative",
        )
        for variant, layer, _, curves in matched_derivatives(study, analyses)
    }


def functions(analyses: Analyses) -> Pictures:
    """Returns value and gradient of the activations of the networks."""
    found: dict[str, Curve] = {}
    for of_seeds in analyses.values():
        for found_there in of_seeds.values():
            for name, values in found_there.get("functions", {}).items():
                arrays = {key: np.array(value) for key, value in values.items()}
                found.setdefault(name, Curve(**arrays))
    return {
        f"function_{slug(name)}": draw_curve(curve, name)
        for name, curve in found.items()
    }


def _by_layer(
    study: Study, analyses: Analyses
) -> Iterator[tuple[str, dict[str, list[Any]]]]:
    """Yields each layer with the analyses of all variants that have it."""
    layers = dict.fromkeys(
        layer
        for found in analyses.values()
        for one in found.values()
        for layer in one["layers"]
    )
    for layer in layers:
        by_variant = {
            variant.name: [
                one
                for one in analyses.get(variant.name, {}).values()
                if layer in one["layers"]
            ]
            for variant in study.chosen
        }
        yield layer, {name: found for name, found in by_variant.items() if found}


def _styles(study: Study) -> dict[str, Style]:
    groups = styles(dict.fromkeys(variant.group for variant in study.variants))
    return {variant.name: groups[variant.group] for variant in study.variants}
