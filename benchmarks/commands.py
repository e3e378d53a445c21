"""What whole commands take: the import, `train.py --help`, and suites in parallel.

    python benchmarks/commands.py
    python benchmarks/commands.py --suite=mnist --runs=5 --epochs=6 --repeats=2

Each measurement is a process of its own. The suite is run alternately one run at a
time and with `--parallel_runs=auto`, with as many epochs for all, so that both do the
same work.
"""

import argparse
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from operator import truediv
from pathlib import Path

_TRAIN = Path(__file__).parents[1] / "train.py"
_IMPORT = (
    "import time, keras; start = time.perf_counter(); import gaaf_keras; "
    "print(time.perf_counter() - start)"
)


def main() -> None:
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("--suite", default="digits", help="As for train.py.")
    parser.add_argument("--data_dir", default="", help="As for train.py.")
    parser.add_argument("--runs", type=int, default=3, help="Seeds of the suite.")
    parser.add_argument("--epochs", type=int, default=12, help="Of each run.")
    parser.add_argument("--repeats", type=int, default=3, help="Of the suite.")
    options = parser.parse_args()
    print(
        f"Python {platform.python_version()}, {platform.machine()}, {os.cpu_count()} "
        "CPUs"
    )
    times = range(options.repeats)
    importing = [1000 * importing_takes() for _ in range(3) for _ in times]
    print(f"import gaaf_keras, after Keras: {described(importing, 'ms')}")
    helping = [seconds("--help") for _ in range(3) for _ in times]
    print(f"train.py --help: {described(helping, 's')}")
    suites = [(suite(options, "1"), suite(options, "auto")) for _ in times]
    serial, parallel = zip(*suites, strict=True)
    name = f"{options.suite} suite, {options.runs} seeds, {options.epochs} epochs"
    print(f"{name}, one run at a time: {described(serial, 's')}")
    print(f"{name}, --parallel_runs=auto: {described(parallel, 's')}")
    ratios = list(map(truediv, serial, parallel))
    print(f"{name}, times faster in parallel: {described(ratios, '')}")


def importing_takes() -> float:
    """Returns the seconds of importing the package where Keras is imported."""
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # an installed package has it
    command = [sys.executable, "-c", _IMPORT]
    return float(subprocess.check_output(command, text=True, env=environment))


def suite(options: argparse.Namespace, parallel_runs: str) -> float:
    """Returns the seconds of a suite."""
    with tempfile.TemporaryDirectory() as folder:
        return seconds(
            *(f"--suite={options.suite}", f"--runs={options.runs}"),
            *(f"--epochs={options.epochs}", f"--patience={options.epochs}"),
            *(f"--parallel_runs={parallel_runs}", f"--output_dir={folder}"),
            *([f"--data_dir={options.data_dir}"] if options.data_dir else []),
            "--noreport",
        )


def seconds(*options: str) -> float:
    """Returns how long `train.py` takes."""
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, str(_TRAIN), *options], check=False, capture_output=True
    )
    if done.returncode > 1:  # absl's --help returns 1
        sys.exit(done.stderr.decode())
    return time.perf_counter() - start


def described(values: Sequence[float], unit: str) -> str:
    """Returns median, range and number of values in words."""
    text = f"median {statistics.median(values):.3g} {unit}".rstrip()
    return f"{text} ({min(values):.3g} to {max(values):.3g}, {len(values)} times)"


if __name__ == "__main__":
    main()
