"""Timing of two things that alternate, such as epochs, and their ratio in words."""

import os
import platform
import statistics
import time
from operator import truediv

import keras

CLOCKS = {"seconds": time.perf_counter, "CPU seconds": time.process_time}


class Stopwatch:
    """Times two things that alternate, by each clock. The first time is not counted."""

    def __init__(self) -> None:
        self._times: dict[str, tuple[list[float], list[float]]] = {
            name: ([], []) for name in CLOCKS
        }

    def start(self) -> None:
        self._start = {name: clock() for name, clock in CLOCKS.items()}

    def stop(self, which: int) -> None:
        for name, clock in CLOCKS.items():
            self._times[name][which].append(clock() - self._start[name])

    def print(self, plain: str, more: str) -> None:
        """Prints medians of thing 0, `plain`, and 1, `more`, and of their ratio."""
        for clock, ((_, *before), (first, *after)) in self._times.items():
            low, middle, high = statistics.quantiles(map(truediv, after, before))
            median = statistics.median(after)
            print(
                f"{clock}: {plain} {statistics.median(before):.2f}, {more} {median:.2f}"
                f" (medians of {len(after)}); ratio {middle:.3f} (quartiles {low:.3f} "
                f"and {high:.3f}); the first time {first - median:.2f} more"
            )


def print_machine(what: str) -> None:
    """Prints what is measured, and on what."""
    backend = keras.backend.backend()
    version = __import__(backend).__version__
    machine = f"{os.cpu_count()} CPUs ({platform.machine()})"
    print(f"{what}, {machine}, Keras {keras.__version__} on {backend} {version}")
