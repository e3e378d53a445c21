"""Draws the pictures of README and docs, and lists shapes and activations.

    python docs/draw_gallery.py

Every curve is the value or the gradient of the real object. docs/gallery.md,
docs/reference/shapes.md and the tables of docs/shapes.md are written from the
definitions.
"""

import inspect
from collections.abc import Iterator
from pathlib import Path

import keras
import matplotlib as mpl
import numpy as np

from gaaf_keras import GAAF, analysis, gaaf, shapes
from gaaf_keras._core.known_activations import ACTIVATIONS
from gaaf_keras.shapes.base import DEFINED

mpl.use("Agg")
import matplotlib.pyplot as plt

HERE = Path(__file__).parent
IMAGES = HERE / "images"
GALLERY = IMAGES / "gallery"
PLAIN, ACCELERATED, SHAPE = "#8c8c8c", "#0072b2", "#d55e00"  # colour-blind safe
X = np.linspace(-8, 8, 1601)

WITH_DEFAULT = [known for known in ACTIVATIONS if known.default_shape]
NAMES = [known.name for known in WITH_DEFAULT if known.name != "linear"]
EXAMPLES = {each.make.__name__: each for each in DEFINED.values() if each.example}


def pages() -> dict[Path, str]:
    """Returns the generated pages with their texts."""
    explained = HERE / "shapes.md"
    text = with_table(explained.read_text(encoding="utf-8"), "shapes", shape_rows())
    return {
        HERE / "gallery.md": "\n".join(gallery()) + "\n",
        HERE / "reference" / "shapes.md": "\n".join(reference()) + "\n",
        explained: with_table(text, "defaults", default_rows()),
    }


def gallery() -> Iterator[str]:
    """Yields the lines of docs/gallery.md."""
    yield "# Gallery"
    yield ""
    yield "Value and gradient, drawn from the objects themselves by"
    yield "`python docs/draw_gallery.py`. Grey is the plain activation, blue the"
    yield "accelerated one, orange the added shape."
    yield ""
    yield "## Activations, with their default shapes"
    yield ""
    yield "The paper gives the shapes of tanh and ReLU; the others"
    yield "[follow from them](shapes.md#defaults)."
    for name in NAMES:
        yield from item(name, f'GAAF("{name}")', f"{shapes.default_for(name)}", name)
    yield ""
    yield "## Shapes"
    yield ""
    yield "Each shape on an activation that it is made for. [Shapes](shapes.md) has the"
    yield "formulas and their sources."
    for name, defined in EXAMPLES.items():
        code = f'GAAF("{defined.on}", shape_function="{defined.example}")'
        yield from item(name, code, "", picture_of(name))


def item(name: str, code: str, shape: str, picture: str) -> Iterator[str]:
    """Yields the lines about one activation or shape."""
    yield ""
    yield f"### {name}"
    yield ""
    yield f"`{code}`" + (f" adds `{shape}`." if shape else "")
    yield ""
    yield f"![{name}: value and gradient](images/gallery/{picture}.png)"


def picture_of(shape: str) -> str:
    return f"shape_{shape.lower()}"


def reference() -> Iterator[str]:
    """Yields the lines of docs/reference/shapes.md."""
    yield "# Shapes"
    yield ""
    yield "[Shapes](../shapes.md) explains them; the [gallery](../gallery.md) shows"
    yield "them."
    names = [defined.make.__name__ for defined in DEFINED.values()]
    for name in ("get", "default_for", "Shape", *names):
        yield ""
        yield f"::: gaaf_keras.shapes.{name}"


def shape_rows() -> Iterator[str]:
    """Yields the table of the shapes, from their docstrings."""
    yield "| shape | by name | formula | source |"
    yield "|---|---|---|---|"
    for name, defined in DEFINED.items():
        parameters = [
            parameter.replace(annotation=parameter.empty)
            for parameter in inspect.signature(defined.make).parameters.values()
        ]
        code = f"{defined.make.__name__}{inspect.Signature(parameters)}"
        _, formula, *others = inspect.getdoc(defined.make).split("\n\n")
        sources = [text for text in others if text.startswith("Reference:")]
        source = " ".join("".join(sources)[len("Reference:") :].split())
        source = "".join(source.partition(")")[:2])
        formula = " ".join(formula.split())
        yield f"| `{code}` | `{defined.example or name}` | {formula} | {source} |"


def default_rows() -> Iterator[str]:
    """Yields the table of the default shapes."""
    yield "| activation | default shape | why |"
    yield "|---|---|---|"
    for known in WITH_DEFAULT:
        shape = shapes.default_for(known.name)
        yield f"| {known.name} | `{shape}` | {known.why} |"


def with_table(page: str, name: str, rows: Iterator[str]) -> str:
    """Returns a page with a table between the comments that mark its place."""
    begin, end = f"<!-- {name}: from draw_gallery.py -->", f"<!-- end of {name} -->"
    before, rest = page.split(begin)
    return "\n".join([before + begin, "", *rows, "", end + rest.split(end)[1]])


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
    """Draws the first picture of README and site, in two rows for narrow screens."""
    figure, axes = plt.subplots(2, 2, figsize=(5.2, 4.2), layout="constrained")
    for (value, slope), name in zip(axes.T, ("tanh", "relu"), strict=True):
        draw_pair((value, slope), name, keras.activations.get(name), gaaf(name))
        value.set_title(f"{name}: same value", fontsize=12, loc="left")
        slope.set_title(f"{name}: more gradient", fontsize=12, loc="left")
        value.legend(fontsize=11, frameon=False, loc="upper left")
    for each in axes.flat:
        each.set(xlim=(-4, 4), xlabel="")
        each.locator_params(nbins=4)
        each.tick_params(labelsize=11)
    axes[0, 1].set_ylim(-0.2, 4)
    figure.savefig(IMAGES / "idea.png", dpi=200, facecolor="white")
    plt.close(figure)


def draw_item(picture, name, shape):
    figure, axes = plt.subplots(1, 2, figsize=(6.6, 2.5), layout="constrained")
    # An activation layer, so that activations that need one are drawn too.
    after = draw_pair(axes, name, GAAF(name, shape, strength=0), GAAF(name, shape))
    axes[1].plot(X, after.added, color=SHAPE, linewidth=1)
    figure.savefig(GALLERY / f"{picture}.png", dpi=140, facecolor="white")
    plt.close(figure)


def main():
    GALLERY.mkdir(parents=True, exist_ok=True)
    for path in GALLERY.iterdir():
        path.unlink()
    draw_idea()
    for name in NAMES:
        draw_item(name, name, shapes.default_for(name))
    for name, defined in EXAMPLES.items():
        draw_item(picture_of(name), defined.on, shapes.get(defined.example))
    for path, text in pages().items():
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
