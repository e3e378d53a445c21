"""Small pictures of the analyses' results, for light and dark pages.

A picture is one panel. The page that shows several lays them out: side by side, or
stacked on a phone. Colours can be told apart with any colour vision, and each line also
has its own pattern.
"""

import dataclasses
import io
import itertools
import re
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure, SubFigure

from gaaf_keras.analysis.curves import Curve
from gaaf_keras.analysis.distributions import Distribution
from gaaf_keras.analysis.statistics import Difference

Pattern = str | tuple[int, tuple[float, ...]]  # of a line, as Matplotlib takes it

_INK = "#1f2328"  # of text and axes; in SVG the colour of the text around it
_SIZE = 4.4, 3.2  # inches
_LEGEND_ROW = 0.18
_FRAME_HEIGHT = 0.9
_DIFFERENCE_HEIGHT = 0.22
_TITLE_WIDTH = 50  # characters
_LARGEST_RATIO_SPELLED_OUT = 300  # between numbers on a logarithmic axis
_DOTS_PER_INCH = 200  # twice what a screen shows at this size
_COLOURS = (
    "#7a828e",
    "#d98200",
    "#2a7fd4",
    "#199a72",
    "#c4608f",
    "#cf4a12",
    "#8a63c8",
    "#3fa7d6",
)
_PATTERNS: tuple[Pattern, ...] = (
    "-",
    (0, (5, 1.5)),
    (0, (9, 1)),
    (0, (3, 1, 1, 1)),
    (0, (1, 1)),
    (0, (6, 1, 1, 1, 1, 1)),
    (0, (2, 2)),
    (0, (8, 1, 2, 1)),
)
_MARKERS = "osD^vPX*"
_SETTINGS: Any = {
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.labelcolor": _INK,
    "axes.edgecolor": _INK,
    "axes.titlecolor": _INK,
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": _INK,
    "grid.alpha": 0.12,
    "grid.linewidth": 0.6,
    "text.color": _INK,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "svg.fonttype": "path",  # looks the same with any fonts installed
}


@dataclasses.dataclass(frozen=True)
class Style:
    """How a variant is drawn, the same in all pictures."""

    colour: str
    pattern: Pattern
    marker: str


def styles(names: Iterable[str]) -> dict[str, Style]:
    """Returns a style for each name, in their order."""
    looks = itertools.cycle(zip(_COLOURS, _PATTERNS, _MARKERS, strict=True))
    return {name: Style(*look) for name, look in zip(names, looks, strict=False)}


@dataclasses.dataclass(frozen=True)
class Line:
    """A line of a picture.

    Attributes:
        x: Its horizontal coordinates.
        y: Its vertical coordinates.
        label: Its entry in the legend; empty for none.
        style: How it is drawn.
        low: Lower edge of a band around it, if any.
        high: Upper edge of that band.
        faint: Whether it is one of several that another line summarises.
        marked: Whether to mark its points, because they are measurements.
        filled: Whether the area below it is filled.
    """

    x: Sequence[float] | np.ndarray
    y: Sequence[float] | np.ndarray
    label: str
    style: Style
    low: Sequence[float] | np.ndarray | None = None
    high: Sequence[float] | np.ndarray | None = None
    faint: bool = False
    marked: bool = False
    filled: bool = False


def draw(
    lines: Sequence[Line],
    title: str,
    x_label: str,
    y_label: str,
    *,
    log_x: bool = False,
    log_y: bool = False,
    y_limits: tuple[float | None, float | None] | None = None,
    place: SubFigure | None = None,
) -> Figure:
    """Draws lines, in a new figure or in a given place."""
    with mpl.rc_context(_SETTINGS):
        figure, axes = _panel(_SIZE, place)
        axes.set(xlabel=x_label, ylabel=y_label)
        axes.set_title(textwrap.fill(title, _TITLE_WIDTH), loc="left")
        axes.set_xscale("log" if log_x else "linear")
        axes.set_yscale("log" if log_y else "linear")
        for line in lines:
            _draw_line(axes, line)
        if y_limits is not None:
            axes.set_ylim(*y_limits)
        _plain_numbers(axes, log_x, log_y)
        handles, labels = axes.get_legend_handles_labels()
        if len(labels) > 1:
            longest = max(map(len, labels))
            columns = max(1, min(len(labels), 60 // (longest + 6)))
            more_rows = -(-len(labels) // columns) - 1
            if place is None:  # so that the axes keep their room
                figure.set_figheight(_SIZE[1] + more_rows * _LEGEND_ROW)
            figure.legend(handles, labels, ncols=columns, loc="outside lower center")
    return figure


def _draw_line(axes: Axes, line: Line) -> None:
    style = line.style
    axes.plot(
        line.x,
        line.y,
        color=style.colour,
        linestyle="-" if line.faint else style.pattern,
        linewidth=0.7 if line.faint else 1.7,
        alpha=0.35 if line.faint else 1.0,
        marker=style.marker if line.marked else None,
        markersize=4,
        label=line.label or "_",
    )
    if line.low is not None and line.high is not None:
        axes.fill_between(
            line.x, line.low, line.high, color=style.colour, alpha=0.18, linewidth=0
        )
    if line.filled:
        axes.fill_between(line.x, line.y, color=style.colour, alpha=0.08, linewidth=0)


def _plain_numbers(axes: Axes, log_x: bool, log_y: bool) -> None:
    """Writes plain numbers, and more than one, on short logarithmic axes."""
    for axis, is_log in ((axes.xaxis, log_x), (axes.yaxis, log_y)):
        if not is_log:
            continue
        low, high = sorted(axis.get_view_interval())
        if low > 0 and high / low < _LARGEST_RATIO_SPELLED_OUT:
            axis.set_major_locator(mpl.ticker.LogLocator(subs=(1, 2, 5)))
            axis.set_major_formatter("{x:g}")
        axis.set_minor_formatter(mpl.ticker.NullFormatter())


def draw_distributions(
    distributions: Mapping[str, Sequence[Distribution]],
    title: str,
    x_label: str,
    style_of: Mapping[str, Style] | None = None,
) -> Figure:
    """Draws distributions, those of one name on top of each other.

    Args:
        distributions: For each name of a variant, one distribution per run. The first
            is drawn strongly, the others faintly.
        title: Title of the picture.
        x_label: The quantity, with its unit.
        style_of: Styles by name. Defaults to those of `styles`.

    Examples:
        ```python
        found = analysis.saturation(model, x_test)
        figures.draw_distributions(
            {"GAAF": [found["activation_1"].pre_activations]},
            "Layer 1",
            "pre-activation",
        ).savefig("pre_activations.png")
        ```
    """
    style_of = styles(distributions) if style_of is None else style_of
    lines = []
    for name, several in distributions.items():
        for index, found in enumerate(several):
            x = (np.array(found.edges[:-1]) + found.edges[1:]) / 2
            label, first = "" if index else name, not index
            style = style_of[name]
            lines.append(
                Line(x, found.density, label, style, faint=not first, filled=first)
            )
    return draw(lines, title, x_label, "density", y_limits=(0, None))


def draw_curve(curve: Curve, title: str) -> Figure:
    """Draws an activation: its value, and its gradient in training.

    Examples:
        ```python
        figures.draw_curve(analysis.curve(GAAFTanh()), "GAAF tanh").savefig("tanh.png")
        ```
    """
    plain, shape, total, value = styles("abcd").values()
    found = [(curve.value, "value", value), (curve.derivative, "its derivative", plain)]
    if np.any(curve.added):
        found.append((curve.added, "added in training", shape))
        found.append((curve.derivative_in_training, "derivative in training", total))
    lines = [Line(curve.pre_activation, *line) for line in found]
    highest = max(float(np.max(line.y)) for line in lines[1:])
    lowest = min(float(np.min(line.y)) for line in lines)
    limits = max(lowest, -1.5) - 0.1, max(1.0, highest) + 0.3
    return draw(lines, title, "pre-activation", "value, derivative", y_limits=limits)


def draw_differences(
    differences: Mapping[str, Difference],
    title: str,
    x_label: str,
    *,
    higher_is_better: bool = True,
    place: SubFigure | None = None,
) -> Figure:
    """Draws differences with their confidence intervals.

    Args:
        differences: The differences by name, the first at the top. The mark is filled
            if the interval shows a direction, otherwise hollow. Differences that are
            the same in all pairs have no bar.
        title: Title of the picture.
        x_label: The quantity that differs, with its unit.
        higher_is_better: Whether a higher value is better, as for accuracies; False for
            losses. Better and worse have different colours.
        place: Where to draw. Defaults to a new figure.

    Examples:
        ```python
        found = analysis.paired_difference([0.983, 0.984, 0.981], [0.980, 0.982, 0.980])
        figures.draw_differences(
            {"GAAF": found}, "Against plain tanh", "test accuracy"
        ).savefig("differences.png")
        ```
    """
    worse, better = ("lower", "higher") if higher_is_better else ("higher", "lower")
    colours = dict(zip(("not shown", worse, better), _COLOURS, strict=False))
    with mpl.rc_context(_SETTINGS):
        height = _FRAME_HEIGHT + _DIFFERENCE_HEIGHT * len(differences)
        figure, axes = _panel((_SIZE[0], height), place)
        axes.set_xlabel(x_label, loc="right")  # it may be longer than the axis
        # Extend over the names too: the space to their right is too narrow.
        title = textwrap.fill(title, _TITLE_WIDTH)
        figure.suptitle(title, x=0.01, ha="left", fontsize=_SETTINGS["axes.titlesize"])
        axes.axvline(0, color=_INK, linewidth=0.7)
        axes.grid(visible=False, axis="y")
        for row, found in enumerate(differences.values()):
            colour = colours[found.direction]
            low, high = found.low, found.high
            if low is not None and high is not None and not found.identical:
                axes.plot([low, high], [row, row], color=colour)
            face = "none" if found.direction == "not shown" else colour
            axes.plot(found.mean, row, "o", color=colour, markerfacecolor=face)
        axes.set_yticks(range(len(differences)), list(differences))
        axes.tick_params(axis="y", length=0)
        axes.set_ylim(len(differences) - 0.5, -0.5)
    return figure


def panels(count: int) -> tuple[Figure, list[SubFigure]]:
    """Returns an empty picture for several side by side, and their places."""
    figure = Figure(figsize=(count * _SIZE[0], _SIZE[1]), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, list(figure.subfigures(1, count, squeeze=False)[0])


def _panel(size: tuple[float, float], place: SubFigure | None) -> tuple[Any, Axes]:
    """Returns an empty picture, or a given place in one, and its axes."""
    if place is not None:
        return place, place.add_subplot()
    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.add_subplot()


def to_svg(figure: Figure, name: str) -> str:
    """Returns a picture as SVG that takes the colour of the text around it.

    Args:
        figure: The result of `draw` or a similar function.
        name: A name without spaces, unique in the page that will hold it.
    """
    file = io.StringIO()
    with mpl.rc_context({**_SETTINGS, "svg.hashsalt": name}):
        figure.savefig(file, format="svg", transparent=True, metadata={"Date": None})
    svg = file.getvalue()
    svg = svg[svg.index("<svg") :].replace(_INK, "currentColor")
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, count=1, flags=re.DOTALL)
    # Glyphs have the same identifiers in all pictures, and would refer to each other.
    svg = re.sub(r'(id="|href="#|url\(#)', rf"\g<1>{name}-", svg)
    start, rest = svg.split(">", 1)  # the page sets its size
    return re.sub(r' (width|height)="[^"]*"', "", start) + ">" + rest


_OWN_COLOURS = (
    "<style>svg{color:#1f2328;background:#fff}@media(prefers-color-scheme:dark)"
    "{svg{color:#e6e8eb;background:#16181d}}</style>"
)


def save(figure: Figure, folder: Path, name: str, *, png: bool = True) -> str:
    """Writes a picture as SVG and PNG files, and returns the SVG for a page.

    Args:
        figure: The result of `draw` or a similar function.
        folder: Where to write it.
        name: Name of the files, without extension and without spaces.
        png: Whether to write a PNG file too, for programs that cannot show SVG.
    """
    svg = to_svg(figure, name)
    alone = svg.replace(">", f">{_OWN_COLOURS}", 1)
    (folder / f"{name}.svg").write_text(alone, encoding="utf-8")
    if png:
        figure.set_layout_engine("none")  # the layout is done, and slow to repeat
        figure.savefig(folder / f"{name}.png", dpi=_DOTS_PER_INCH, facecolor="white")
    return svg
