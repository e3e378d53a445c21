"""Draws the pictures of README and docs/shapes.md from the live code.

    python docs/draw_gallery.py

Every curve is the value or the gradient of the real object.
"""

from pathlib import Path

import keras
import matplotlib as mpl
import numpy as np

from gaaf_keras import analysis, derivatives, gaaf, shapes

mpl.use("Agg")
import matplotlib.pyplot as plt

IMAGES = Path(__file__).parent / "images"
PLAIN, ACCELERATED, SHAPE = "#8c8c8c", "#0072b2", "#d55e00"  # colour-blind safe
X = np.linspace(-8, 8, 1601)


def value_and_slope(function):
    curve = analysis.curve(function, X)
    return curve.value, curve.derivative_in_training


def style(axes, title):
    axes.set_title(title, fontsize=10, loc="left")
    axes.axhline(0, color="black", linewidth=0.5)
    axes.axvline(0, color="black", linewidth=0.5)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_xlim(X[0], X[-1])
    axes.tick_params(labelsize=8)


def save(figure, name):
    figure.savefig(IMAGES / f"{name}.png", dpi=160, facecolor="white")
    plt.close(figure)


def draw_idea():
    figure, rows = plt.subplots(
        1, 4, figsize=(11, 2.7), layout="constrained", sharex=True
    )
    for (value_axes, slope_axes), name in zip(
        (rows[:2], rows[2:]), ("tanh", "relu"), strict=True
    ):
        value, slope = value_and_slope(gaaf(name))
        plain_value, plain_slope = value_and_slope(keras.activations.get(name))
        value_axes.plot(X, plain_value, color=PLAIN, linewidth=4, label=name)
        value_axes.plot(
            X, value, color=ACCELERATED, linewidth=1.5, label=f"GAAF {name}"
        )
        style(value_axes, f"{name}: value, the same")
        slope_axes.plot(X, plain_slope, color=PLAIN, linewidth=2)
        slope_axes.plot(X, slope, color=ACCELERATED, linewidth=2)
        slope_axes.fill_between(X, plain_slope, slope, color=ACCELERATED, alpha=0.15)
        style(slope_axes, f"{name}: derivative in training")
        value_axes.legend(fontsize=8, frameon=False, loc="upper left")
        slope_axes.set_xlabel("net input x", fontsize=8)
        value_axes.set_xlabel("net input x", fontsize=8)
    save(figure, "idea")


def draw_grid(name, panels, columns, title):
    count = -(-len(panels) // columns)
    figure, axes = plt.subplots(
        count,
        columns,
        figsize=(2.75 * columns, 2.2 * count + 0.5),
        layout="constrained",
        sharex=True,
    )
    for panel, (label, activation, shape) in zip(axes.flat, panels, strict=False):
        _, plain = value_and_slope(gaaf(activation, shape, strength=0))
        _, total = value_and_slope(gaaf(activation, shape))
        panel.plot(X, plain, color=PLAIN, linewidth=3, label="derivative of the value")
        panel.plot(X, total - plain, color=SHAPE, linewidth=1, label="shape s(x)")
        panel.plot(X, total, color=ACCELERATED, linewidth=1.8, label="their sum")
        style(panel, label)
    for panel in axes.flat[len(panels) :]:
        panel.axis("off")
    handles, labels = axes.flat[0].get_legend_handles_labels()
    figure.legend(handles, labels, ncols=3, fontsize=9, loc="outside lower center")
    figure.suptitle(title, fontsize=11)
    save(figure, name)


def main():
    IMAGES.mkdir(exist_ok=True)
    draw_idea()
    matched = shapes.DropoutMatched
    panels = [
        ("Gaussian(2.0)", "tanh", shapes.Gaussian(2.0)),
        ("Constant(0.1), sigmoid", "sigmoid", shapes.Constant(0.1)),
        ('DropoutMatched("tanh", 1.5)', "tanh", matched("tanh", 1.5)),
        ('DropoutMatched("relu", 0.7)', "relu", matched("relu", 0.7)),
        ("ShiftedSigmoid(5.0, 0.5)", "relu", shapes.ShiftedSigmoid()),
        ("... .one_sided()", "relu", shapes.ShiftedSigmoid().one_sided()),
        ("0.5 * ShiftedSigmoid()", "relu", 0.5 * shapes.ShiftedSigmoid()),
        ("b_silu(1.67)", "relu", shapes.b_silu()),
        ("nelu(0.1)", "relu", shapes.nelu()),
        ("helu(0.5)", "relu", shapes.helu()),
        ("leaky(0.3)", "relu", shapes.leaky()),
        ("linear()", "relu", shapes.linear()),
    ]
    draw_grid("shapes", panels, 4, "Shapes on their base activation")
    panels = [
        (name, name, shapes.default_for(name))
        for name in derivatives.known_activations()
    ]
    draw_grid("defaults", panels, 5, "The default shape of every known activation")


if __name__ == "__main__":
    main()
