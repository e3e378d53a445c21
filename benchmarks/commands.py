"""What whole commands take: the import, `train.py --help`, and suites in parallel.

    python benchmarks/commands.py
    python benchmarks/commands.py --suite=mnist --runs=5 --epochs=6 --repeats=2

Each measurement is a process of its own. The suite is run alternately one run at a
time and with `--parallel_runs=auto`, with as many epochs for all, so that both do the
same work.
"""

import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from absl import app, flags

_SUITE = flags.DEFINE_enum("suite", "digits", ["digits", "mnist"], "As for train.py.")
_DATA_DIR = flags.DEFINE_string("data_dir", None, "As for train.py.")
_RUNS = flags.DEFINE_integer("runs", 3, "Seeds of the suite.", lower_bound=1)
_EPOCHS = flags.DEFINE_integer("epochs", 12, "Epochs of each run.", lower_bound=1)
_REPEATS = flags.DEFINE_integer("repeats", 3, "How often to run each.", lower_bound=2)

_TRAIN = Path(__file__).parents[1] / "train.py"
_IMPORT = (
    "import time, keras; start = time.perf_counter(); import gaaf_keras; "
    "print(time.perf_counter() - start)"
)


def main(arguments: Sequence[str]) -> None:
    """Times the commands and prints medians."""
    if len(arguments) > 1:
        sys.exit(f"commands.py: unexpected argument {arguments[1]!r}")
    print(
        f"Python {platform.python_version()}, {platform.machine()}, {os.cpu_count()} "
        "CPUs"
    )
    importing = [1000 * importing_takes() for _ in range(3 * _REPEATS.value)]
    print(f"import gaaf_keras, after Keras: {described(importing, 'ms')}")
    helping = [seconds("--help") for _ in range(3 * _REPEATS.value)]
    print(f"train.py --help: {described(helping, 's')}")
    serial, parallel = [], []
    for _ in range(_REPEATS.value):
        serial.append(suite("1"))
        parallel.append(suite("auto"))
    name = f"{_SUITE.value} suite, {_RUNS.value} seeds, {_EPOCHS.value} epochs"
    print(f"{name}, one run at a time: {described(serial, 's')}")
    print(f"{name}, --parallel_runs=auto: {described(parallel, 's')}")
    ratios = [a / b for a, b in zip(serial, parallel, strict=True)]
    print(f"{name}, times faster in parallel: {described(ratios, '')}")


def importing_takes() -> float:
    """Returns the seconds of importing the package where Keras is imported."""
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # an installed package has it
    command = [sys.executable, "-c", _IMPORT]
    output = subprocess.check_output(command, text=True, env=environment)
    return float(output)


def suite(parallel_runs: str) -> float:
    """Returns the seconds of a suite."""
    with tempfile.TemporaryDirectory() as folder:
        options = [
            f"--suite={_SUITE.value}",
            f"--runs={_RUNS.value}",
            f"--epochs={_EPOCHS.value}",
            f"--patience={_EPOCHS.value}",
            f"--parallel_runs={parallel_runs}",
            f"--output_dir={folder}",
            "--noreport",
        ]
        if _DATA_DIR.value:
            options.append(f"--data_dir={_DATA_DIR.value}")
        return seconds(*options)


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
    low, high = min(values), max(values)
    return f"{text} ({low:.3g} to {high:.3g}, {len(values)} times)"


if __name__ == "__main__":
    app.run(main)
