"""Data sets with fixed splits, read and decoded once and kept in memory."""

import dataclasses
import difflib
import functools
import importlib.util
import textwrap
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from experiments.config import UsageError

_MOST_VALIDATION = (
    5000  # examples held out, or a tenth of the training data if that is less
)
_DIGITS_VALIDATION = 240
_DIGITS_TEST = 360
_FEWEST_OWN_EXAMPLES = 10  # with fewer there would be none to hold out
_DIMENSIONS = (2, 3, 4)  # of vectors, images, and images with channels
_ARRAYS = ("x_train", "y_train", "x_test", "y_test")


@dataclasses.dataclass(frozen=True)
class Split:
    """Images of shape (examples, height, width, channels) and their int32 labels.

    In a user's own data, also vectors of shape (examples, features).
    """

    images: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)


@dataclasses.dataclass(frozen=True)
class ImageData:
    """A data set: three disjoint splits, and the training pixels' statistics.

    `mean` and `standard_deviation` have one value per channel.
    """

    name: str
    classes: int
    train: Split
    validation: Split
    test: Split

    @functools.cached_property
    def mean(self) -> list[float]:
        """Mean of the training pixels, one value per channel."""
        return self._pixels.mean(axis=0, dtype="float64").tolist()

    @functools.cached_property
    def standard_deviation(self) -> list[float]:
        """Standard deviation of the training pixels, one value per channel, never 0."""
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

    Validation is always the last tenth of the training data, at most 5,000 examples
    (for the digits, 240), whatever `train_examples` is. The test split is the data
    set's own (for the digits, 360 fixed examples). Training data from a file is first
    shuffled into a fixed order, because it may be sorted.

    Args:
        name: `"digits"` (the 1,797 handwritten digits bundled with scikit-learn, 8x8
            pixels), a tensorflow-datasets image-classification data set, or an `.npz`
            file written by `numpy.savez`, with `x_train`, `y_train`, `x_test` and
            `y_test`: images of shape (examples, height, width), or with channels, or
            vectors of shape (examples, features), and labels that are whole numbers
            from 0.
        data_dir: Folder of the prepared tensorflow-datasets data. Defaults to that
            package's own default.
        download: Whether a missing data set may be downloaded.
        train_examples: Number of training examples to use. Defaults to all that are
            not held out.

    Returns:
        The data set. It is cached: a second call with the same arguments returns the
        same object.

    Raises:
        UsageError: If there is no such data set; if it is missing and may not or cannot
            be downloaded; if it does not have labelled images of one size; if the
            arrays in a file do not match each other; or if it has fewer training
            examples than requested.
    """
    if name == "digits":
        return _load_digits(train_examples)
    if name.endswith(".npz"):
        return _load_arrays(name, train_examples)
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


def _load_arrays(name: str, train_examples: int | None) -> ImageData:
    path = Path(name).expanduser()
    try:
        with _opened(path) as file:
            missing = sorted(set(_ARRAYS) - set(file.files))
            arrays = {key: file[key] for key in _ARRAYS if key not in missing}
    except (OSError, EOFError, ValueError, zipfile.BadZipFile, zlib.error) as error:
        reason = getattr(error, "strerror", None) or _one_line(error)
        raise UsageError(f"Data set '{name}' cannot be read ({reason}).") from error
    if missing:
        raise UsageError(
            f"Data set '{name}' must have the arrays {', '.join(_ARRAYS)}. "
            f"Missing: {', '.join(missing)}"
        )
    splits = {
        part: _checked_split(name, part, arrays[f"x_{part}"], arrays[f"y_{part}"])
        for part in ("train", "test")
    }
    train, test = splits["train"], splits["test"]
    if train.images.shape[1:] != test.images.shape[1:]:
        raise UsageError(
            f"Data set '{name}' must have training and test images of the same shape. "
            f"Received: {train.images.shape[1:]} and {test.images.shape[1:]}"
        )
    total = len(train)
    if total < _FEWEST_OWN_EXAMPLES:
        raise UsageError(
            f"Data set '{name}' must have at least {_FEWEST_OWN_EXAMPLES} training "
            f"examples. Received: {total}"
        )
    largest = int(max(train.labels.max(), test.labels.max()))
    if not 0 < largest < total:
        raise UsageError(
            f"Data set '{name}' must have two classes or more, numbered from 0 without "
            f"gaps. Received: labels up to {largest}, in {total} training examples"
        )
    unseen = sorted(set(range(1 + largest)) - set(train.labels.tolist()))
    if unseen:
        raise UsageError(
            f"Data set '{name}' must have training examples of every class, numbered "
            f"from 0 without gaps. Classes from 0 to {largest} without examples: "
            f"{', '.join(map(str, unseen))}"
        )
    first_validation = total - _held_out(total)
    count = _train_size(name, first_validation, train_examples)
    order = np.random.default_rng(0).permutation(total)

    def part(chosen: np.ndarray) -> Split:
        return Split(train.images[chosen], train.labels[chosen])

    return ImageData(
        name=name,
        classes=1 + largest,
        train=part(order[:count]),
        validation=part(order[first_validation:]),
        test=test,
    )


def _opened(path: Path) -> np.lib.npyio.NpzFile:
    file = np.load(path, allow_pickle=False)
    if not isinstance(file, np.lib.npyio.NpzFile):
        raise zipfile.BadZipFile("it holds one array; numpy.savez writes several")
    return file


def _checked_split(name: str, part: str, x: np.ndarray, y: np.ndarray) -> Split:
    """Returns the arrays of a user's file as a split, or says what is wrong."""
    if y.ndim == len(("examples", "label")) and y.shape[1] == 1:
        y = y[:, 0]
    dtype = x.dtype
    if dtype.kind == "f":
        with np.errstate(over="ignore"):
            x = x.astype("float32")
    numbers = dtype.kind in "buif" and x.ndim in _DIMENSIONS and x.size > 0
    if not numbers or (x.dtype.kind == "f" and not np.all(np.isfinite(x))):
        raise UsageError(
            f"Data set '{name}': x_{part} must be finite numbers of shape "
            "(examples, height, width), (examples, height, width, channels) or "
            f"(examples, features). Received: {dtype} of shape {x.shape}"
            + (", not all finite in float32" if numbers else "")
        )
    whole = y.dtype.kind in "ui" and y.size > 0
    most = np.iinfo("int32").max
    if not whole or y.shape != x.shape[:1] or y.min() < 0 or y.max() > most:
        raise UsageError(
            f"Data set '{name}': y_{part} must be whole numbers of an integer type, "
            f"from 0, one per image ({len(x)}). Received: {y.dtype} of shape {y.shape}"
            + (f", from {y.min()} to {y.max()}" if whole else "")
        )
    if x.ndim == len(("examples", "height", "width")):
        x = x[..., np.newaxis]
    return Split(x, y.astype("int32"))


def _load_tfds(
    name: str, data_dir: str | None, download: bool, train_examples: int | None
) -> ImageData:
    builder = _prepared_builder(name, data_dir, download)
    _require_labelled_images(name, builder.info)
    total = builder.info.splits["train"].num_examples
    validation = _held_out(total)
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


def _held_out(total: int) -> int:
    """Returns the number of training examples held out for validation."""
    return min(total // 10, _MOST_VALIDATION)


def _train_size(name: str, available: int, train_examples: int | None) -> int:
    if train_examples is None:
        return available
    if train_examples > available:
        raise UsageError(
            f"train_examples must be at most {available}: data set '{name}' has no "
            "more besides those held out for validation. "
            f"Received: {train_examples}"
        )
    return train_examples


def _prepared_builder(name: str, data_dir: str | None, download: bool) -> Any:
    if not importlib.util.find_spec("tensorflow"):
        raise UsageError(
            f"Reading data set '{name}' needs TensorFlow. Install it in "
            "addition to your backend, or give 'digits' or arrays in an .npz file."
        )
    import tensorflow_datasets as tfds

    if data_dir is not None:
        folder = Path(data_dir).expanduser()
        if not data_dir or not folder.is_dir():
            raise UsageError(
                f"data_dir '{data_dir}' is not a folder. Give the folder that holds "
                f"the prepared data set '{name}', or create it and add --download."
            )
        data_dir = str(folder.resolve())
    try:
        builder = tfds.builder(name, data_dir=data_dir)
    except tfds.core.DatasetNotFoundError as error:
        known = ["digits", *tfds.list_builders()]
        close = difflib.get_close_matches(name, known, n=3)
        hint = f" Did you mean {' or '.join(close)}?" if close else ""
        raise UsageError(
            f"There is no data set '{name}'. Give 'digits', an .npz file or the name "
            f"of a tensorflow-datasets image-classification data set.{hint}"
        ) from error
    except Exception as error:  # a damaged folder, an unknown version or source
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
            f"Data set '{name}' cannot be used: it must have labelled images of one "
            f"size. Its features: {_one_line(info.features)}"
        )
    missing = {"train", "test"} - set(info.splits)
    if missing:
        raise UsageError(
            f"Data set '{name}' cannot be used: it has no "
            f"{' and no '.join(sorted(missing))} split, only {', '.join(info.splits)}."
        )


def _one_line(message: object) -> str:
    return textwrap.shorten(str(message), width=200, placeholder=" ...")
