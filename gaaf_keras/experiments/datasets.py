"""Image data sets in memory, with fixed splits, and the pipelines that feed them.

Images are read and decoded once and kept as whole numbers; a batch is gathered from
memory. What a pipeline yields is a function of the seed and the epoch alone.
"""

import dataclasses
import difflib
import functools
import math
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from gaaf_keras.experiments.config import UsageError

_SHIFT = 4  # pixels a training image moves at most, in each direction
_MOST_VALIDATION = (
    5000  # examples held out, unless a tenth of the training data is less
)
_DIGITS_VALIDATION = 240
_DIGITS_TEST = 360
_LARGEST_EVALUATION_BATCH = 256


@dataclasses.dataclass(frozen=True)
class Split:
    """Images of shape (examples, height, width, channels) and their labels."""

    images: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)


@dataclasses.dataclass(frozen=True)
class ImageData:
    """A data set: three disjoint splits, and the training pixels' statistics.

    `mean` and `standard_deviation` have a value a channel.
    """

    name: str
    classes: int
    train: Split
    validation: Split
    test: Split

    @functools.cached_property
    def mean(self) -> list[float]:
        """Mean of the training pixels, a value a channel."""
        return self._pixels.mean(axis=0, dtype="float64").tolist()

    @functools.cached_property
    def standard_deviation(self) -> list[float]:
        """Standard deviation of the training pixels, a value a channel, never 0."""
        deviation = self._pixels.std(axis=0, dtype="float64")
        return np.where(deviation > 0, deviation, 1.0).tolist()

    @property
    def _pixels(self) -> np.ndarray:
        return self.train.images.reshape(-1, self.train.images.shape[-1])


@functools.lru_cache(maxsize=2)
def load(
    name: str,
    data_dir: str | None = None,
    download: bool = False,
    train_examples: int | None = None,
) -> ImageData:
    """Returns a data set with its fixed splits, decoded into memory.

    Validation is always the last tenth of the training data, at most 5,000 (of the
    digits, 240), whatever `train_examples` is. The test split is the data set's own
    (of the digits, 360 that are always the same).

    Args:
        name: `"digits"` (the 1,797 handwritten digits bundled with scikit-learn, 8x8
            pixels) or a tensorflow-datasets image-classification data set.
        data_dir: Folder of the prepared tensorflow-datasets data. Defaults to that
            package's own default.
        download: Whether a data set that is not there may be downloaded.
        train_examples: How many training examples to use. Defaults to all that are
            not held out.

    Returns:
        The data set. It is cached: a second call with the same arguments returns the
        same object.

    Raises:
        UsageError: If there is no such data set, if it is not there and may not be
            or cannot be downloaded, if it is not one of equally large, labelled
            images, or if it has fewer training examples than asked for.
    """
    if name == "digits":
        return _load_digits(train_examples)
    return _load_tfds(name, data_dir, download, train_examples)


def _load_digits(train_examples: int | None) -> ImageData:
    from sklearn.datasets import load_digits

    digits = load_digits()
    order = np.random.default_rng(0).permutation(len(digits.target))
    images = digits.images[order, :, :, np.newaxis].astype("uint8")
    labels = digits.target[order].astype("int32")
    first_test = len(labels) - _DIGITS_TEST
    first_validation = first_test - _DIGITS_VALIDATION
    train = _train_size("digits", first_validation, train_examples)

    def part(first: int, count: int) -> Split:
        return Split(images[first : first + count], labels[first : first + count])

    return ImageData(
        name="digits",
        classes=len(digits.target_names),
        train=part(0, train),
        validation=part(first_validation, _DIGITS_VALIDATION),
        test=part(first_test, _DIGITS_TEST),
    )


def _load_tfds(
    name: str, data_dir: str | None, download: bool, train_examples: int | None
) -> ImageData:
    builder = _prepared_builder(name, data_dir, download)
    _require_labelled_images(name, builder.info)
    total = builder.info.splits["train"].num_examples
    validation = min(total // 10, _MOST_VALIDATION)
    train = _train_size(name, total - validation, train_examples)

    def read(split: str) -> Split:
        try:
            images, labels = builder.as_dataset(
                split=split, as_supervised=True, batch_size=-1, shuffle_files=False
            )
        except Exception as error:
            raise UsageError(
                f"Data set '{name}' in {builder.data_path} cannot be read "
                f"({_one_line(error)}). Delete that folder and prepare it again."
            ) from error
        return Split(images.numpy(), labels.numpy().astype("int32"))

    return ImageData(
        name=name,
        classes=builder.info.features["label"].num_classes,
        train=read(f"train[:{train}]"),
        validation=read(f"train[{total - validation}:]"),
        test=read("test"),
    )


def _train_size(name: str, available: int, train_examples: int | None) -> int:
    if train_examples is None:
        return available
    if train_examples > available:
        raise UsageError(
            f"train_examples must be at most {available}, which data set '{name}' has "
            f"besides those held out for validation. Received: {train_examples}"
        )
    return train_examples


def _prepared_builder(name: str, data_dir: str | None, download: bool) -> Any:
    import tensorflow_datasets as tfds

    if data_dir is not None:
        folder = Path(data_dir).expanduser()
        if not data_dir or not folder.is_dir():
            raise UsageError(
                f"data_dir '{data_dir}' is not a folder. Give the folder that holds "
                f"the prepared data set '{name}', or make it and add --download."
            )
        data_dir = str(folder.resolve())
    try:
        builder = tfds.builder(name, data_dir=data_dir)
    except tfds.core.DatasetNotFoundError as error:
        known = ["digits", *tfds.list_builders()]
        close = difflib.get_close_matches(name, known, n=3)
        hint = f" Did you mean {' or '.join(close)}?" if close else ""
        raise UsageError(
            f"There is no data set '{name}'. Give 'digits' or the name of a "
            f"tensorflow-datasets image-classification data set.{hint}"
        ) from error
    except Exception as error:  # a damaged folder, a version or a source unknown to it
        raise UsageError(
            f"Data set '{name}' cannot be opened in "
            f"{data_dir or tfds.core.constants.DATA_DIR} ({_one_line(error)})."
        ) from error
    if builder.is_prepared():
        return builder
    folder = builder.data_path
    if not download:
        raise UsageError(
            f"Data set '{name}' is not in {folder}. Add --download to fetch it there, "
            "or give the folder that holds it with --data_dir."
        )
    try:
        builder.download_and_prepare()
    except Exception as error:
        raise UsageError(
            f"Data set '{name}' is not in {folder} and could not be downloaded "
            f"({_one_line(error)}). Prepare it on a connected machine with "
            f"tfds.load('{name}') and give that folder with --data_dir."
        ) from error
    return builder


def _require_labelled_images(name: str, info: Any) -> None:
    keys = info.supervised_keys
    shape: Sequence[int | None] = ()
    if keys == ("image", "label") and hasattr(info.features["label"], "num_classes"):
        shape = info.features["image"].shape
    if len(shape) != len(("height", "width", "channels")) or None in shape:
        raise UsageError(
            f"Data set '{name}' cannot be used here: it must have labelled images of "
            f"one size. Its features: {_one_line(info.features)}"
        )
    missing = {"train", "test"} - set(info.splits)
    if missing:
        raise UsageError(
            f"Data set '{name}' cannot be used here: it has no "
            f"{' and no '.join(sorted(missing))} split, only {', '.join(info.splits)}."
        )


def _one_line(message: object) -> str:
    return textwrap.shorten(str(message), width=200, placeholder=" ...")


def training_pipeline(
    split: Split, batch_size: int, seed: int, augment: bool, first_epoch: int = 0
) -> tf.data.Dataset:
    """Returns an endless stream of training batches, shuffled anew each epoch.

    An epoch is `len(split) // batch_size` batches; the few examples left over take
    their turn in another epoch. The order in an epoch, and how its images are
    augmented, depend on the seed and the number of the epoch alone, so that training
    can go on from any epoch as if it had never stopped.

    Args:
        split: The examples.
        batch_size: Examples a batch, at most `len(split)`.
        seed: Seed of order and augmentation.
        augment: Whether to flip images and shift them by up to 4 pixels.
        first_epoch: The epoch to begin with, counted from 0.

    Returns:
        A data set of `(images, labels)`: float32 `(batch, height, width, channels)`
        and int32 `(batch,)`.
    """
    steps = len(split) // batch_size
    images, labels = tf.constant(split.images), tf.constant(split.labels)

    def batches(epoch: tf.Tensor) -> tf.data.Dataset:
        order = tf.random.experimental.stateless_shuffle(
            tf.range(len(split)), seed=[seed, epoch]
        )
        order = tf.reshape(order[: steps * batch_size], (steps, batch_size))
        return tf.data.Dataset.from_tensor_slices(order)

    def gather(step: tf.Tensor, indices: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        batch = tf.cast(tf.gather(images, indices), tf.float32)
        if augment:
            batch = _flip_and_shift(batch, seed=tf.stack([seed, step]))
        return batch, tf.gather(labels, indices)

    return (
        tf.data.Dataset.counter(first_epoch)
        .flat_map(batches)
        .enumerate(first_epoch * steps)
        .map(gather, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
        .prefetch(tf.data.AUTOTUNE)
    )


def evaluation_pipeline(split: Split, replicas: int = 1) -> tf.data.Dataset:
    """Returns a whole split, in order, in equally large batches.

    What is missing in the last batch is filled up with copies of the first example
    that weigh nothing, so that the replicas can share each batch. (A smaller one
    could leave a replica without examples, and the mean of none is not a number.)
    The other weights are such that the mean over the batches is the mean over the
    split's examples, in Keras's losses and in weighted metrics alike.

    Args:
        split: The examples.
        replicas: How many replicas share a batch.

    Returns:
        A data set of `(images, labels, weights)`, the weights being float32
        `(batch,)`. Its first `len(split)` examples are the split's.
    """
    count = len(split)
    steps = math.ceil(count / _LARGEST_EVALUATION_BATCH)
    batch_size = math.ceil(count / (steps * replicas)) * replicas
    padded = steps * batch_size
    indices = np.zeros(padded, "int32")
    indices[:count] = np.arange(count)
    weights = np.zeros(padded, "float32")
    weights[:count] = padded / count
    images, labels = tf.constant(split.images), tf.constant(split.labels)

    def gather(indices: tf.Tensor, weights: tf.Tensor) -> tuple[tf.Tensor, ...]:
        batch = tf.cast(tf.gather(images, indices), tf.float32)
        return batch, tf.gather(labels, indices), weights

    return (
        tf.data.Dataset.from_tensor_slices((indices, weights))
        .batch(batch_size, drop_remainder=True)
        .map(gather, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
        .prefetch(tf.data.AUTOTUNE)
    )


def _flip_and_shift(images: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Mirrors half of the images and moves each, with black coming in at the edges."""
    count, height, width = images.shape[:3]
    flip_seed, row_seed, column_seed = tf.unstack(
        tf.random.experimental.stateless_split(tf.cast(seed, tf.int32), 3)
    )
    flipped = tf.random.stateless_uniform((count, 1, 1, 1), flip_seed) < 1 / 2
    images = tf.where(flipped, tf.reverse(images, axis=[2]), images)
    images = tf.pad(images, [[0, 0], [_SHIFT, _SHIFT], [_SHIFT, _SHIFT], [0, 0]])

    def offsets(seed: tf.Tensor) -> tf.Tensor:
        return tf.random.stateless_uniform(
            (count, 1), seed, maxval=2 * _SHIFT + 1, dtype=tf.int32
        )

    rows = offsets(row_seed) + tf.range(height)
    columns = offsets(column_seed) + tf.range(width)
    images = tf.gather(images, rows, axis=1, batch_dims=1)
    return tf.gather(images, columns, axis=2, batch_dims=1)
