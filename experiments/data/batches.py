"""The examples of each batch and the augmentation of its images, in NumPy.

Both depend only on the seed and the epoch. They are the same on every backend and with
any number of replicas, so training can resume at any epoch as if it had never stopped.
"""

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from keras import ops

from experiments.data.datasets import Split

SHIFT = 4  # maximum shift of a training image in pixels, in each direction
_LARGEST_EVALUATION_BATCH = 256


class EpochOrder(NamedTuple):
    """The order of an epoch; all arrays have the shape (steps, batch size).

    Attributes:
        indices: The examples of each batch.
        flips: Which images are mirrored. Without augmentation, this and the following
            are None.
        rows: Where the rows begin in the padded image, from 0 to `2 * SHIFT`.
        columns: Where the columns begin.
    """

    indices: Any  # NumPy's, or a backend's
    flips: Any = None
    rows: Any = None
    columns: Any = None


def epoch_order(
    examples: int, batch_size: int, seed: int, epoch: int, *, augment: bool = True
) -> EpochOrder:
    """Returns the order of an epoch.

    An epoch is `examples // batch_size` batches; the few examples left over take
    their turn in another epoch.

    Args:
        examples: Number of examples.
        batch_size: Examples per batch, at most `examples`.
        seed: Seed of order and augmentation.
        epoch: Number of the epoch, counted from 0.
        augment: Whether images are flipped and shifted.
    """
    random = np.random.default_rng([seed, epoch])
    shape = (examples // batch_size, batch_size)
    order = random.permutation(examples)[: math.prod(shape)]
    indices = order.reshape(shape).astype("int32")
    if not augment:
        return EpochOrder(indices)
    return EpochOrder(
        indices=indices,
        flips=random.random(shape) < 1 / 2,
        rows=random.integers(0, 2 * SHIFT + 1, shape, "int32"),
        columns=random.integers(0, 2 * SHIFT + 1, shape, "int32"),
    )


def padded(images: np.ndarray) -> np.ndarray:
    """Returns images with a black border as wide as the maximum shift."""
    return np.pad(images, [(0, 0), (SHIFT, SHIFT), (SHIFT, SHIFT), (0, 0)])


def flip_and_shift(
    images: np.ndarray, flips: np.ndarray, rows: np.ndarray, columns: np.ndarray
) -> np.ndarray:
    """Returns images mirrored and shifted, with black filling the edges."""
    count, height, width, _ = images.shape
    images = np.where(flips[:, None, None, None], images[:, :, ::-1], images)
    images = padded(images)
    return images[
        np.arange(count)[:, None, None],
        (rows[:, None] + np.arange(height))[:, :, None],
        (columns[:, None] + np.arange(width))[:, None, :],
    ]


def moved(padded: Any, flips: Any, rows: Any, columns: Any) -> Any:
    """Does what `flip_and_shift` does, for padded images on any backend."""
    count, height, width, channels = padded.shape
    rows = rows[:, None] + ops.arange(height - 2 * SHIFT)
    columns = columns[:, None] + ops.arange(width - 2 * SHIFT)
    columns = ops.where(flips[:, None], width - 1 - columns, columns)
    images = ops.arange(count)[:, None, None]
    places = (images * height + rows[:, :, None]) * width + columns[:, None]
    return ops.take(ops.reshape(padded, (-1, channels)), places, axis=0)


def training_batches(
    split: Split, batch_size: int, seed: int, augment: bool, first_epoch: int = 0
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yields endless training batches: float32 images and int32 labels."""
    epoch = first_epoch
    while True:
        order = epoch_order(len(split), batch_size, seed, epoch, augment=augment)
        parts = [part for part in order if part is not None]
        for indices, *augmentation in zip(*parts, strict=True):
            images = split.images[indices].astype("float32")
            if augmentation:
                images = flip_and_shift(images, *augmentation)
            yield images, split.labels[indices]
        epoch += 1


def evaluation_batches(split: Split) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns images, labels and weights of a split, in batches along the first axis.

    Batches and weights are those of `evaluation_order`.
    """
    indices, weights = evaluation_order(len(split))
    return split.images[indices], split.labels[indices], weights


def evaluation_order(examples: int, replicas: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Returns the order in which a whole split is evaluated, and the weights.

    All batches have the same size, so that replicas can share each one: the last is
    filled up with copies of the first example with weight 0. (A smaller batch could
    leave a replica without examples, and the mean of no examples is NaN.) The other
    weights make the mean over the batches equal the mean over the split's examples, in
    Keras's losses and in weighted metrics alike.

    Args:
        examples: Number of examples.
        replicas: Number of replicas that share a batch.

    Returns:
        Indices, int32, and weights, float32, both of the shape (batches, batch size).
        The first `examples` of them are the split's, in order.
    """
    batches = math.ceil(examples / _LARGEST_EVALUATION_BATCH)
    batch_size = math.ceil(examples / (batches * replicas)) * replicas
    padded = batches * batch_size
    indices = np.zeros(padded, "int32")
    indices[:examples] = np.arange(examples)
    weights = np.zeros(padded, "float32")
    weights[:examples] = padded / examples
    return indices.reshape(batches, -1), weights.reshape(batches, -1)
