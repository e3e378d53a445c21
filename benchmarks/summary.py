"""The ratios of several runs of `speed.py`, side by side.

    python benchmarks/summary.py first.json second.json third.json

Prints, as Markdown, the median ratio of GAAF to each other variant in each of the runs.
"""

import json
import statistics
import sys
from collections.abc import Mapping, Sequence
from operator import truediv
from pathlib import Path
from typing import Any

from absl import app

COMPARED = ("plain", "dropout", "GELU", "literal sawtooth")


def main(arguments: Sequence[str]) -> None:
    """Prints the table."""
    if not arguments[1:]:
        sys.exit("summary.py: name the files that speed.py --json has written")
    runs = [ratios(json.loads(Path(name).read_text())) for name in arguments[1:]]
    print("| on | measured | " + " | ".join(f"GAAF / {name}" for name in COMPARED), "|")
    print("|---|---|" + "---|" * len(COMPARED))
    for backend, title in runs[0]:
        cells = []
        for name in COMPARED:
            found = [run.get((backend, title), {}).get(name) for run in runs]
            cells.append(" ".join("?" if x is None else f"{x:.2f}" for x in found))
        print(f"| {backend} | {title} | " + " | ".join(cells), "|")


def ratios(run: Sequence[Mapping[str, Any]]) -> dict[tuple[str, str], dict[str, float]]:
    """Returns the medians of the ratios by backend and title."""
    found = {}
    for part in run:
        for title, seconds in part["seconds"].items():
            plain, accelerated = list(seconds)[:2]
            names = {"plain": plain, "dropout": f"{plain}, dropout"}
            others = {name: seconds[names.get(name, name)] for name in COMPARED}
            found[part["backend"], title] = {
                name: statistics.median(map(truediv, seconds[accelerated], other))
                for name, other in others.items()
            }
    return found


if __name__ == "__main__":
    app.run(main)
