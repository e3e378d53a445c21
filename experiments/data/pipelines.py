"""The batches as `tf.data` pipelines, gathered from images in memory."""

import os
from collections.abc import Iterator

import numpy as np
import tensorflow as tf

from experiments.data.batches import SHIFT, epoch_order, evaluation_order, moved
from experiments.data.datasets import Split

_BATCHES_AHEAD = 4
# A few private threads: gathering is fast, and the run needs the processors.
_THREADS = max(1, (os.cpu_count() or 1) // 4)


def training_pipeline(
    split: Split,
    batch_size: int,
    seed: int,
    augment: bool,
    first_epoch: int = 0,
    *,
    replicas: int = 1,
    shard: slice = slice(None),
) -> tf.data.Dataset:
    """Returns an endless stream of the training batches of `epoch_order`.

    Args:
        split: The examples.
        batch_size: Examples per step, at most `len(split)` and a multiple of
            `replicas`.
        seed: Seed of order and augmentation.
        augment: Whether to flip images and shift them by up to 4 pixels.
        first_epoch: The first epoch, counted from 0.
        replicas: Number of batches into which each step is divided.
        shard: Which of them to yield; by default all, one after the other.

    Returns:
        A data set of `(images, labels)`: float32
        `(batch_size / replicas, height, width, channels)` and int32
        `(batch_size / replicas,)`.
    """
    images, labels = tf.constant(split.images), tf.constant(split.labels)
    batch = batch_size // replicas

    def epochs() -> Iterator[tuple[np.ndarray, ...]]:
        epoch = first_epoch
        while True:
            order = epoch_order(len(split), batch_size, seed, epoch)
            yield tuple(_shares(part, replicas, shard) for part in order)
            epoch += 1

    def gather(
        indices: tf.Tensor, flips: tf.Tensor, rows: tf.Tensor, columns: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        batch = tf.gather(images, indices)
        if augment:
            edge = [SHIFT, SHIFT]
            batch = tf.pad(batch, [[0, 0], edge, edge, [0, 0]])
            batch = moved(batch, flips, rows, columns)
        return tf.cast(batch, tf.float32), tf.gather(labels, indices)

    whole_numbers = tf.TensorSpec((None, batch), tf.int32)
    signature = (
        whole_numbers,
        tf.TensorSpec((None, batch), tf.bool),
        whole_numbers,
        whole_numbers,
    )
    return (
        tf.data.Dataset.from_generator(epochs, output_signature=signature)
        .unbatch()
        .map(gather, num_parallel_calls=_THREADS, deterministic=True)
        .prefetch(_BATCHES_AHEAD)
        .with_options(_options())
    )


def evaluation_pipeline(
    split: Split, replicas: int = 1, shard: slice = slice(None)
) -> tf.data.Dataset:
    """Returns a whole split, in order, in the batches of `evaluation_order`.

    Args:
        split: The examples.
        replicas: Number of batches into which each step is divided.
        shard: Which of them to yield; by default all, one after the other.

    Returns:
        A data set of `(images, labels, weights)`, with float32 weights `(batch,)`.
    """
    images, labels = tf.constant(split.images), tf.constant(split.labels)
    indices, weights = (
        _shares(part, replicas, shard)
        for part in evaluation_order(len(split), replicas)
    )

    def gather(indices: tf.Tensor, weights: tf.Tensor) -> tuple[tf.Tensor, ...]:
        batch = tf.cast(tf.gather(images, indices), tf.float32)
        return batch, tf.gather(labels, indices), weights

    return (
        tf.data.Dataset.from_tensor_slices((indices, weights))
        .map(gather, num_parallel_calls=_THREADS, deterministic=True)
        .prefetch(_BATCHES_AHEAD)
        .with_options(_options())
    )


def _shares(order: np.ndarray, replicas: int, shard: slice) -> np.ndarray:
    """Divides each batch of an order between replicas; returns a shard's parts."""
    share = order.shape[1] // replicas
    return order.reshape(-1, replicas, share)[:, shard].reshape(-1, share)


def _options() -> tf.data.Options:
    options = tf.data.Options()
    # Its threads can take two seconds to end, and each validation ends some.
    options.autotune.enabled = False
    options.threading.private_threadpool_size = _THREADS
    return options
