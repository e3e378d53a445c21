"""What an epoch costs beyond the steps of the network itself.

    python benchmarks/training_loop.py --dataset=mnist

Side by side in one run, epoch after epoch: an epoch as `train.py` runs it, with its
data, metrics, callbacks, checkpoint and files, and as many training and validation
steps of the same network on batches that lie ready, in loops inside TensorFlow. Prints
the ratio of the two and its spread over the epochs, in seconds and in CPU seconds,
which other work on the machine disturbs less.
"""

import argparse
import os
import tempfile
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # must come before TensorFlow

import keras
import tensorflow as tf
from timing import Stopwatch, print_machine

from experiments import TrainingConfig, train_and_evaluate
from experiments.data import datasets
from experiments.data.batches import evaluation_order

Batch = tuple[tf.Tensor, tf.Tensor]


class Bare(keras.callbacks.Callback):
    """Times each epoch, and as many bare steps just before it.

    Args:
        train: A training batch.
        validation: A validation batch.
        validations: How many validation batches there are in an epoch.
    """

    def __init__(self, train: Batch, validation: Batch, validations: int) -> None:
        super().__init__()
        self._train = train
        self._validation = validation
        self._validations = validations
        self.stopwatch = Stopwatch()

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
        self.stopwatch.start()
        self._steps(tf.constant(self.params["steps"]), tf.constant(self._validations))
        self.stopwatch.stop(0)
        self.stopwatch.start()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self.stopwatch.stop(1)


def batch(split: datasets.Split, size: int) -> Batch:
    """Returns the first examples of a split."""
    images = tf.constant(split.images[:size].astype("float32"))
    return images, tf.constant(split.labels[:size])


def main() -> None:
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("--dataset", default="mnist", help="As for train.py.")
    parser.add_argument("--data_dir", help="As for train.py.")
    parser.add_argument("--epochs", type=int, default=7, help="To time, after a first.")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        config = TrainingConfig(
            dataset=options.dataset,
            data_dir=options.data_dir,
            model="mlp",
            epochs=1 + options.epochs,
            patience=1 + options.epochs,
            export=False,
            output_dir=str(Path(folder) / "training"),
        )
        data = datasets.load(config.dataset, config.data_dir, False, None)
        indices, _ = evaluation_order(len(data.validation))
        train = batch(data.train, config.batch_size)
        validation = batch(data.validation, indices.shape[1])
        bare = Bare(train, validation, len(indices))
        train_and_evaluate(config, [bare])
    print_machine(f"{config.dataset}, mlp, batches of {config.batch_size}")
    bare.stopwatch.print("the steps alone", "an epoch")


if __name__ == "__main__":
    main()
