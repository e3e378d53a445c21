"""What it costs to watch the gradient flow while a model trains.

    python benchmarks/gradient_flow.py
    python benchmarks/gradient_flow.py --dataset=mnist --rounds=9

Trains the paper's MLP, measuring in every other epoch, and prints the ratio of the
epochs' times.
"""

import argparse
import os
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # must come before TensorFlow

import keras
import numpy as np
from timing import Stopwatch, print_machine

from experiments import networks
from experiments.data import datasets
from gaaf_keras.analysis import GradientFlow

_EVERY = 100  # steps between two measurements, as by default
_BATCH = 128


class Alternating(GradientFlow):
    """Measures in every other epoch, and times the epochs."""

    stopwatch = Stopwatch()

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        super().on_epoch_begin(epoch, logs)
        self._watched = epoch % 2
        self.stopwatch.start()

    def on_train_batch_end(
        self, batch: int, logs: dict[str, Any] | None = None
    ) -> None:
        if self._watched:
            super().on_train_batch_end(batch, logs)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self.stopwatch.stop(self._watched)


def main() -> None:
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("--dataset", default="digits", help="As for train.py.")
    parser.add_argument("--data_dir", help="As for train.py.")
    parser.add_argument("--steps", type=int, default=400, help="Steps of an epoch.")
    parser.add_argument("--rounds", type=int, default=9, help="Pairs of epochs.")
    options = parser.parse_args()
    data = datasets.load(options.dataset, options.data_dir)
    images = data.train.images[: 20 * _BATCH].astype("float32")
    model = networks.mlp(
        images.shape[1:],
        data.classes,
        activation="gaaf_tanh",
        mean=data.mean,
        standard_deviation=data.standard_deviation,
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("sgd", loss, jit_compile=False)
    flow = Alternating(images, data.train.labels[: len(images)], _EVERY, _BATCH)
    indices = np.resize(np.arange(len(images)), options.steps * _BATCH)
    x, y = images[indices], data.train.labels[indices]
    epochs = 2 + 2 * options.rounds
    model.fit(x, y, _BATCH, epochs=epochs, callbacks=[flow], verbose=0)
    what = f"{options.dataset}, mlp, batches of {_BATCH}"
    print_machine(f"{what}, a measurement every {_EVERY} of {options.steps} steps")
    flow.stopwatch.print("without", "with")


if __name__ == "__main__":
    main()
