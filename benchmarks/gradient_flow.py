"""What it costs to watch the gradient flow while a model trains.

    python benchmarks/gradient_flow.py
    python benchmarks/gradient_flow.py --dataset=mnist --rounds=9

Trains the paper's MLP, measuring in every other epoch, and prints the ratio of the
epochs' times.
"""

import os
import platform
import statistics
import time
from collections.abc import Sequence
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
from absl import app, flags, logging

from experiments import networks
from experiments.data import datasets
from gaaf_keras.analysis import GradientFlow

_DATASET = flags.DEFINE_string("dataset", "digits", "As for train.py.")
_DATA_DIR = flags.DEFINE_string("data_dir", None, "As for train.py.")
_EVERY = flags.DEFINE_integer("every", 100, "Steps between two measurements.")
_STEPS = flags.DEFINE_integer("steps", 400, "Steps to time at once.", lower_bound=1)
_ROUNDS = flags.DEFINE_integer("rounds", 9, "How often to time both.", lower_bound=2)
_BATCH = 128
CLOCKS = {"seconds": time.perf_counter, "CPU seconds": time.process_time}


class Alternating(GradientFlow):
    """Measures in every other epoch, and times the epochs.

    Attributes:
        clocks: By the name of a clock, its seconds of the epochs without measurements
            and of those with them.
    """

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        super().on_epoch_begin(epoch, logs)
        self._watched = epoch % 2 == 1
        self._start = {name: clock() for name, clock in CLOCKS.items()}

    def on_train_batch_end(
        self, batch: int, logs: dict[str, Any] | None = None
    ) -> None:
        if self._watched:
            super().on_train_batch_end(batch, logs)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        for name, clock in CLOCKS.items():
            self.clocks[name][self._watched].append(clock() - self._start[name])

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        super().on_train_begin(logs)
        self.clocks: dict[str, tuple[list[float], list[float]]] = {
            name: ([], []) for name in CLOCKS
        }


def main(arguments: Sequence[str]) -> None:
    """Times training with and without the callback."""
    del arguments
    logging.set_verbosity(logging.ERROR)
    data = datasets.load(_DATASET.value, _DATA_DIR.value)
    images = data.train.images[: 20 * _BATCH].astype("float32")
    labels = data.train.labels[: len(images)]
    model = networks.mlp(
        images.shape[1:],
        data.classes,
        activation="gaaf_tanh",
        mean=data.mean,
        standard_deviation=data.standard_deviation,
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("sgd", loss, jit_compile=False)
    flow = Alternating(images, labels, _EVERY.value, _BATCH)
    steps = _STEPS.value
    repeated = np.resize(np.arange(len(images)), steps * _BATCH)
    model.fit(
        images[repeated],
        labels[repeated],
        _BATCH,
        epochs=2 + 2 * _ROUNDS.value,
        callbacks=[flow],
        verbose=0,
    )
    print(
        f"{_DATASET.value}, mlp, batches of {_BATCH}, a measurement every "
        f"{_EVERY.value} of {steps} steps, {os.cpu_count()} CPUs "
        f"({platform.machine()}), Keras {keras.__version__} on "
        f"{keras.backend.backend()}"
    )
    for name, ((_, *without), (first, *watched)) in flow.clocks.items():
        pairs = zip(watched, without, strict=True)
        low, middle, high = statistics.quantiles([a / b for a, b in pairs])
        once = first - statistics.median(watched)
        print(
            f"{name}: without {statistics.median(without):.2f}, with "
            f"{statistics.median(watched):.2f} (medians of {_ROUNDS.value}); ratio "
            f"{middle:.3f} (quartiles {low:.3f} and {high:.3f}); the first time "
            f"{once:.2f} more"
        )


if __name__ == "__main__":
    app.run(main)
