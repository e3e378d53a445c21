"""What an epoch costs beyond the steps of the network itself.

    python benchmarks/training_loop.py --dataset=mnist

Side by side in one run, epoch after epoch: an epoch as `train.py` runs it, with its
data, metrics, callbacks, checkpoint and files, and as many training and validation
steps of the same network on batches that lie ready, in loops inside TensorFlow. Prints
the ratio of the two and its spread over the epochs, in seconds and in CPU seconds,
which other work on the machine disturbs less.
"""

import os
import platform
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from absl import app, flags, logging

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # must come before TensorFlow

import keras
import tensorflow as tf

from experiments import TrainingConfig, train_and_evaluate
from experiments.data import datasets
from experiments.data.batches import plan_evaluation

_DATASET = flags.DEFINE_string("dataset", "mnist", "As for train.py.")
_DATA_DIR = flags.DEFINE_string("data_dir", None, "As for train.py.")
_EPOCHS = flags.DEFINE_integer(
    "epochs", 7, "How many epochs to time, after one that is not.", lower_bound=2
)
_MODEL = flags.DEFINE_enum("model", "mlp", ["mlp", "cnn"], "As for train.py.")
_WIDTH = flags.DEFINE_integer("width", 8, "As for train.py.")


Batch = tuple[tf.Tensor, tf.Tensor]
CLOCKS = {"seconds": time.perf_counter, "CPU seconds": time.process_time}


class Bare(keras.callbacks.Callback):
    """Times each epoch, and as many bare steps just before it.

    Args:
        train: A training batch.
        validation: A validation batch, and how many there are in an epoch.

    Attributes:
        clocks: By the name of a clock, the seconds of an epoch and of the bare steps,
            for each epoch.
    """

    def __init__(self, train: Batch, validation: Batch, validations: int) -> None:
        super().__init__()
        self._train = train
        self._validation = validation
        self._validations = validations
        self.clocks: dict[str, list[tuple[float, float]]] = {
            name: [] for name in CLOCKS
        }

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        model = keras.models.clone_model(self.model)
        model.compile_from_config(self.model.get_compile_config())
        model.optimizer.build(model.trainable_variables)

        @tf.function
        def steps(training: tf.Tensor, validation: tf.Tensor) -> None:
            for _ in tf.range(training):
                model.train_step(self._train)
            for _ in tf.range(validation):
                model.test_step(self._validation)

        self._steps = steps
        steps(tf.constant(1), tf.constant(1))

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        before = now()
        counts = self.params["steps"], self._validations
        self._steps(*map(tf.constant, counts))
        self._start = now()
        self._bare = {name: self._start[name] - before[name] for name in CLOCKS}

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        for name, end in now().items():
            pair = end - self._start[name], self._bare[name]
            self.clocks[name].append(pair)


def now() -> dict[str, float]:
    """Returns what each clock says."""
    return {name: clock() for name, clock in CLOCKS.items()}


def batch(split: datasets.Split, size: int) -> Batch:
    """Returns the first examples of a split."""
    images = tf.constant(split.images[:size].astype("float32"))
    return images, tf.constant(split.labels[:size])


def main(arguments: Sequence[str]) -> None:
    """Trains a network, timing it."""
    del arguments
    logging.set_verbosity(logging.ERROR)
    with tempfile.TemporaryDirectory() as folder:
        config = TrainingConfig(
            dataset=_DATASET.value,
            data_dir=_DATA_DIR.value,
            model=_MODEL.value,
            width=_WIDTH.value,
            epochs=1 + _EPOCHS.value,
            patience=1 + _EPOCHS.value,
            export=False,
            output_dir=str(Path(folder) / "training"),
        )
        data = datasets.load(config.dataset, config.data_dir, False, None)
        indices, _ = plan_evaluation(len(data.validation))
        bare = Bare(
            batch(data.train, config.batch_size),
            batch(data.validation, indices.shape[1]),
            len(indices),
        )
        train_and_evaluate(config, [bare])
    print(
        f"{config.dataset}, {config.model}, batches of {config.batch_size}, "
        f"{os.cpu_count()} CPUs ({platform.machine()}), TensorFlow {tf.__version__}"
    )
    for name, (_, *pairs) in bare.clocks.items():  # the first builds the graph
        epoch, steps = map(statistics.median, zip(*pairs, strict=True))
        ratios = [epoch / steps for epoch, steps in pairs]
        low, middle, high = statistics.quantiles(ratios)
        print(
            f"{name}: an epoch {epoch:.2f}, its steps alone {steps:.2f} (medians of "
            f"{len(pairs)}); ratio {middle:.3f} (quartiles {low:.3f} and {high:.3f})"
        )


if __name__ == "__main__":
    app.run(main)
