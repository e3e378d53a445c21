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

from gaaf_keras.analysis import GradientFlow
from gaaf_keras.experiments import datasets, models

_DATASET = flags.DEFINE_string("dataset", "digits", "As for train.py.")
_DATA_DIR = flags.DEFINE_string("data_dir", None, "As for train.py.")
_EVERY = flags.DEFINE_integer("every", 100, "Steps between two measurements.")
_STEPS = flags.DEFINE_integer("steps", 400, "Steps to time at once.", lower_bound=1)
_ROUNDS = flags.DEFINE_integer("rounds", 9, "How often to time both.", lower_bound=2)
_BATCH = 128


class Alternating(GradientFlow):
    """Measures in every other epoch, and times the epochs.

    Attributes:
        seconds: Of the epochs without and with measurements.
    """

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        super().on_epoch_begin(epoch, logs)
        self._watched = epoch % 2 == 1
        self._start = time.perf_counter()

    def on_train_batch_end(
        self, batch: int, logs: dict[str, Any] | None = None
    ) -> None:
        if self._watched:
            super().on_train_batch_end(batch, logs)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        seconds = time.perf_counter() - self._start
        self.seconds.setdefault(self._watched, []).append(seconds)

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        super().on_train_begin(logs)
        self.seconds: dict[bool, list[float]] = {}


def main(arguments: Sequence[str]) -> None:
    """Times training with and without the callback."""
    del arguments
    logging.set_verbosity(logging.ERROR)
    data = datasets.load(_DATASET.value, _DATA_DIR.value)
    images = data.train.images[: 20 * _BATCH].astype("float32")
    labels = data.train.labels[: len(images)]
    model = models.mlp(
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
    times = flow.seconds
    first = times[True][0] - statistics.median(times[True][1:])
    ratios = [
        watched / plain
        for watched, plain in zip(times[True][1:], times[False][1:], strict=True)
    ]
    low, middle, high = statistics.quantiles(ratios)
    print(
        f"{_DATASET.value}, mlp, batches of {_BATCH}, a measurement every "
        f"{_EVERY.value} of {steps} steps, {os.cpu_count()} CPUs "
        f"({platform.machine()}), Keras {keras.__version__} on "
        f"{keras.backend.backend()}"
    )
    print(
        f"without {statistics.median(times[False][1:]):.2f} s, with "
        f"{statistics.median(times[True][1:]):.2f} s (medians of {_ROUNDS.value}); "
        f"ratio {middle:.3f} (quartiles {low:.3f} and {high:.3f}); the first "
        f"time {first:.2f} s more"
    )


if __name__ == "__main__":
    app.run(main)
