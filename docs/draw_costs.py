"""Writes the tables of docs/performance.md and draws its picture.

    python docs/draw_costs.py                       # from benchmarks/measured.json
    python docs/draw_costs.py run1.json run2.json   # puts these there first

The arguments are what `benchmarks/speed.py --json=...` wrote, on CPUs or GPUs, a file a
run. They replace what was recorded of the same kinds of measurement.
"""

import json
import statistics
import sys
from collections.abc import Iterator
from operator import truediv
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt

HERE = Path(__file__).parent
MEASURED = HERE.parent / "benchmarks" / "measured.json"
PAGE = HERE / "performance.md"
COLORS = {
    "tensorflow": "#d55e00",
    "tensorflow_xla": "#e69f00",
    "jax": "#0072b2",
    "torch": "#009e73",
}
BACKENDS = {
    "tensorflow": "TensorFlow",
    "tensorflow_xla": "TensorFlow, XLA",
    "jax": "JAX",
    "torch": "PyTorch",
}


def condensed(paths: list[str], before: dict[str, Any]) -> dict[str, Any]:
    """Returns the machines, and a row a backend and title with a ratio a run."""
    rows: dict[str, dict[str, Any]] = {}
    machines: list[str] = []
    for path in paths:
        for backend, measured in json.loads(Path(path).read_text()).items():
            for measurement, found in measured.items():
                if found["machine"] not in machines:
                    machines.append(found["machine"])
                for title, seconds in found["seconds"].items():
                    key = f"{backend} {measurement} {title}"
                    row = {"backend": backend, "of": measurement, "title": title}
                    row |= {"ratios": {}, "share": {}}
                    add(rows.setdefault(key, row), seconds, found, title)
    again = {row["of"] for row in rows.values()}
    kept = [row for row in before["rows"] if row["of"] not in again]
    machines = list(dict.fromkeys([*before["machines"], *machines]))
    return {"machines": machines, "rows": [*rows.values(), *kept]}


def add(
    row: dict[str, Any], seconds: dict[str, Any], found: dict[str, Any], title: str
) -> None:
    """Adds what one run has measured to a row."""
    plain, gaaf = list(seconds)[:2]
    for variant, taken in seconds.items():
        name = variant.partition(", ")[2] or variant
        name = "plain" if variant == plain else name
        pair = (seconds[gaaf], taken)
        if name == "unit gain":
            pair = (taken, seconds[plain])
        ratio = statistics.median(map(truediv, *pair))
        row["ratios"].setdefault(name, []).append(round(ratio, 3))
    moved = found.get("gigabytes", {}).get(title, {})
    speeds = {name: moved[name] / statistics.median(seconds[name]) for name in moved}
    for name in (plain, gaaf) if speeds else ():
        share = round(speeds[name] / speeds["copy"], 3)
        row["share"].setdefault("plain" if name == plain else "GAAF", []).append(share)


def table(measured: dict[str, Any]) -> Iterator[str]:
    """Yields the table of ratios, of CPUs: a line a title, a column a backend."""
    cells: dict[str, dict[str, str]] = {}
    for row in measured["rows"]:
        compared = {"": "plain"}
        if row["of"] == "training":
            compared |= {"; unit gain": "unit gain", "; to dropout": "dropout"}
        for more, name in compared.items() if row["of"] != "gpu" else ():
            line = cells.setdefault(row["title"] + more, {})
            line[row["backend"]] = spread(row["ratios"][name])
    yield f"| | {' | '.join(BACKENDS.values())} |"
    yield "|---|" + "---|" * len(BACKENDS)
    for title, line in cells.items():
        yield f"| {title} | {' | '.join(line[backend] for backend in BACKENDS)} |"


def spread(ratios: list[float]) -> str:
    """Returns the median of the runs, and the least and the largest."""
    middle, least, most = statistics.median(ratios), min(ratios), max(ratios)
    return f"{middle:.2f} ({least:.2f} to {most:.2f})"


def gpu_table(measured: dict[str, Any]) -> Iterator[str]:
    """Yields the table of GPUs."""
    if all(row["of"] != "gpu" for row in measured["rows"]):
        yield "Not measured."
        return
    yield "| on | measured | GAAF / plain | GAAF, of a copy | plain, of a copy |"
    yield "|---|---|---|---|---|"
    for row in measured["rows"]:
        if row["of"] == "gpu":
            shares = [row["share"].get(name, []) for name in ("GAAF", "plain")]
            cells = [", ".join(f"{each:.0%}" for each in share) for share in shares]
            cells = [
                row["backend"],
                row["title"],
                f"{statistics.median(row['ratios']['plain']):.2f}",
                *cells,
            ]
            yield "| " + " | ".join(cells) + " |"


def draw(measured: dict[str, Any]) -> None:
    """Draws GAAF / plain of what was measured on CPUs: median and range of runs."""
    figure, axes = plt.subplots(  # narrow: it is read on a phone too
        3, 1, figsize=(5, 13), layout="constrained", height_ratios=(8, 8, 9)
    )
    kinds = {
        "training": "a training step",
        "inference": "a prediction",
        "elementwise": "activation and gradient alone",
    }
    for axis, (kind, heading) in zip(axes, kinds.items(), strict=True):
        rows = [row for row in measured["rows"] if row["of"] == kind]
        titles = list(dict.fromkeys(row["title"] for row in rows))
        for row in rows:
            place = list(COLORS).index(row["backend"]) * 0.18 - 0.27
            place += titles.index(row["title"])
            ratios = row["ratios"]["plain"]
            color = COLORS[row["backend"]]
            axis.plot([min(ratios), max(ratios)], [place] * 2, color=color, lw=2)
            label = BACKENDS[row["backend"]] if row["title"] == titles[0] else None
            middle = statistics.median(ratios)
            axis.plot(middle, place, "o", color=color, markersize=5, label=label)
        axis.axvline(1, color="#8c8c8c", linewidth=1, zorder=0)
        axis.set_yticks(range(len(titles)), [short(title) for title in titles])
        axis.set_xlim(*((0.5, None) if kind == "elementwise" else (0.8, 1.5)))
        axis.tick_params(labelsize=12)
        axis.invert_yaxis()
        axis.set_title(heading, fontsize=14, loc="left")
        axis.set_xlabel("time with GAAF / plain", fontsize=12)
        axis.spines[["top", "right"]].set_visible(False)
    axes[1].legend(fontsize=12, frameon=False, handlelength=1, loc="center right")
    figure.savefig(HERE / "images" / "costs.png", dpi=160, facecolor="white")
    plt.close(figure)


def short(title: str) -> str:
    title = title.removeprefix("training step, ").removeprefix("prediction, ")
    return title.replace(" and its gradient", "").partition(", batch")[0]


def main() -> None:
    measured = json.loads(MEASURED.read_text(encoding="utf-8"))
    if sys.argv[1:]:
        measured = condensed(sys.argv[1:], measured)
        lines = json.dumps(measured).replace('{"backend"', '\n{"backend"')
        MEASURED.write_text(lines + "\n", encoding="utf-8")
    draw(measured)
    page = PAGE.read_text(encoding="utf-8")
    for name, rows in (("ratios", table(measured)), ("gpu", gpu_table(measured))):
        begin, end = f"<!-- {name}: from draw_costs.py -->", f"<!-- end of {name} -->"
        before, rest = page.split(begin)
        page = "\n".join([before + begin, "", *rows, "", end + rest.split(end)[1]])
    PAGE.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
