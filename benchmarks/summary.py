"""The ratios of several runs of `speed.py`, side by side.

    python benchmarks/summary.py first.json second.json third.json

Prints, as Markdown, the median ratio of GAAF to each other variant in each of the runs.
"""

import json
import statistics
import sys
from operator import truediv
from pathlib import Path

Ratios = dict[tuple[str, str], dict[str, float]]  # by backend and title, and variant

COMPARED = ("plain", "dropout", "GELU", "literal sawtooth")


def main(paths: list[str]) -> None:
    if not paths:
        sys.exit("summary.py: name the files that speed.py --json has written")
    runs = [ratios(Path(path)) for path in paths]
    print("| on | measured | " + " | ".join(f"GAAF / {name}" for name in COMPARED), "|")
    print("|---|---|" + "---|" * len(COMPARED))
    for backend, title in runs[0]:
        found = [run[backend, title] for run in runs if (backend, title) in run]
        cells = [" ".join(f"{run[name]:.2f}" for run in found) for name in COMPARED]
        print("|", " | ".join([backend, title, *cells]), "|")


def ratios(path: Path) -> Ratios:
    """Returns the medians of the ratios in a file."""
    found: Ratios = {}
    for part in json.loads(path.read_text()):
        for title, seconds in part["seconds"].items():
            plain, accelerated = list(seconds)[:2]
            names = {"plain": plain, "dropout": f"{plain}, dropout"}
            found[part["backend"], title] = {
                name: statistics.median(
                    map(truediv, seconds[accelerated], seconds[names.get(name, name)])
                )
                for name in COMPARED
            }
    return found


if __name__ == "__main__":
    main(sys.argv[1:])
