"""Draws the pictures of README and docs, and writes docs/gallery.md, from live code.

    python docs/draw_gallery.py

Every curve is the value or the gradient of the real object.
"""

from collections.abc import Iterator
from pathlib import Path

import keras
import matplotlib as mpl
import numpy as np

from experiments.config import BASE_ACTIVATIONS
from gaaf_keras import GAAF, analysis, gaaf, shapes

mpl.use("Agg")
import matplotlib.pyplot as plt

HERE = Path(__file__).parent
PAGE = HERE / "gallery.md"
IMAGES = HERE / "images"
GALLERY = IMAGES / "gallery"
PLAIN, ACCELERATED, SHAPE = "#8c8c8c", "#0072b2", "#d55e00"  # colour-blind safe
X = np.linspace(-8, 8, 1601)

# Of each shape an example, as it is written, on an activation it is made for.
SHAPES = {
    "Gaussian": ("tanh", "Gaussian(width=3.0)"),
    "ShiftedSigmoid": ("relu", "ShiftedSigmoid(slope=5.0, shift=0.5)"),
    "OneSided": ("relu", "ShiftedSigmoid().one_sided()"),
    "Scaled": ("relu", "0.5 * ShiftedSigmoid()"),
    "Sum": ("hard_tanh", "Gaussian(2.0) + Constant(0.1)"),
    "Clipped": ("tanh", "Gaussian(2.0).clip(0.0, 0.5)"),
    "Constant": ("sigmoid", "Constant(0.1)"),
    "DropoutMatched": ("tanh", 'DropoutMatched("tanh", noise_std=1.5)'),
    "FromDerivative": ("tanh", "FromDerivative(Gaussian(2.0))"),
    "BSiLUDerivative, b_silu": ("relu", "b_silu(alpha=1.67)"),
    "NeLUDerivative, nelu": ("relu", "nelu(alpha=0.1)"),
    "helu": ("relu", "helu(alpha=0.5)"),
    "leaky": ("relu", "leaky(slope=0.3)"),
    "straight_through": ("relu", "straight_through()"),
}


def shape_of(text: str) -> shapes.Shape:
    """Returns the shape that an example of `SHAPES` makes."""
    return eval(text, vars(shapes).copy())


def page() -> Iterator[str]:
    """Yields the lines of docs/gallery.md."""
    yield "# Gallery"
    yield ""
    yield "Value beside gradient, drawn from the objects themselves by"
    yield "`python docs/draw_gallery.py`. Grey is the plain activation, blue the"
    yield "accelerated one, orange what is added: the shape."
    yield ""
    yield "## Activations, with their default shapes"
    yield ""
    yield "The paper gives the shapes of tanh and ReLU; the others"
    yield "[follow from them](shapes.md#defaults)."
    for name in BASE_ACTIVATIONS:
        yield from item(name, f'GAAF("{name}")', f"{shapes.default_for(name)}", name)
    yield ""
    yield "## Shapes"
    yield ""
    yield "Each on an activation it is made for. [Shapes](shapes.md) has the formulas"
    yield "and where they are from."
    for name, (activation, text) in SHAPES.items():
        yield from item(
            name, f'GAAF("{activation}", shape_function={text})', "", picture_of(name)
        )


def item(name: str, code: str, shape: str, picture: str) -> Iterator[str]:
    """Yields the lines about one activation or shape."""
    yield ""
    yield f"### {name}"
    yield ""
    yield f"`{code}`" + (f" adds `{shape}`." if shape else "")
    yield ""
    yield f"![{name}: value and gradient](images/gallery/{picture}.png)"


def picture_of(shape: str) -> str:
    return "shape_" + shape.rsplit(", ", maxsplit=1)[-1].lower()


def panel(axes, title):
    axes.set_title(title, fontsize=10, loc="left")
    axes.axhline(0, color="black", linewidth=0.5)
    axes.axvline(0, color="black", linewidth=0.5)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_xlim(X[0], X[-1])
    axes.set_xlabel("pre-activation x", fontsize=8)
    axes.tick_params(labelsize=8)


def draw_pair(axes, name, plain, accelerated):
    """Draws value and derivative of an activation, plain and accelerated."""
    before, after = analysis.curve(plain, X), analysis.curve(accelerated, X)
    total = after.derivative_in_training
    value_axes, slope_axes = axes
    value_axes.plot(X, before.value, color=PLAIN, linewidth=4, label=name)
    value_axes.plot(X, after.value, color=ACCELERATED, linewidth=1.5, label="GAAF")
    value_axes.legend(fontsize=8, frameon=False, loc="upper left")
    panel(value_axes, f"{name}: value, the same")
    slope_axes.plot(X, before.derivative, color=PLAIN, linewidth=2)
    slope_axes.plot(X, total, color=ACCELERATED, linewidth=2)
    slope_axes.fill_between(X, before.derivative, total, color=ACCELERATED, alpha=0.15)
    panel(slope_axes, f"{name}: derivative in training")
    return after


def draw_idea():
    figure, axes = plt.subplots(1, 4, figsize=(11, 2.7), layout="constrained")
    for pair, name in zip((axes[:2], axes[2:]), ("tanh", "relu"), strict=True):
        draw_pair(pair, name, keras.activations.get(name), gaaf(name))
    figure.savefig(IMAGES / "idea.png", dpi=160, facecolor="white")
    plt.close(figure)


def draw_item(picture, name, shape):
    figure, axes = plt.subplots(1, 2, figsize=(6.6, 2.5), layout="constrained")
    # An activation layer, so that those that need one are drawn too.
    after = draw_pair(axes, name, GAAF(name, shape, strength=0), GAAF(name, shape))
    axes[1].plot(X, after.added, color=SHAPE, linewidth=1)
    figure.savefig(GALLERY / f"{picture}.png", dpi=140, facecolor="white")
    plt.close(figure)


def main():
    GALLERY.mkdir(parents=True, exist_ok=True)
    for path in GALLERY.iterdir():
        path.unlink()
    draw_idea()
    for name in BASE_ACTIVATIONS:
        draw_item(name, name, shapes.default_for(name))
    for name, (activation, text) in SHAPES.items():
        draw_item(picture_of(name), activation, shape_of(text))
    PAGE.write_text("\n".join(page()) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
