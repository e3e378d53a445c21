"""Data sets: fixed splits, clear refusals."""

import shutil

import numpy as np
import pytest

from experiments import UsageError
from experiments.data import datasets
from experiments.data.datasets import Split


def as_rows(split):
    return {
        (image.tobytes(), int(label))
        for image, label in zip(split.images, split.labels, strict=True)
    }


def test_digits_are_split_for_good():
    from sklearn.datasets import load_digits

    data = datasets.load("digits")
    splits = (data.train, data.validation, data.test)
    assert [len(split) for split in splits] == [1197, 240, 360]
    assert data.train.images.shape[1:] == (8, 8, 1)
    assert data.classes == 10
    union = [row for split in splits for row in as_rows(split)]
    assert len(union) == len(set(union)) == 1797  # nothing twice, nothing left out
    digits = load_digits()
    everything = Split(digits.images[..., None].astype("uint8"), digits.target)
    assert set(union) == as_rows(everything)
    assert data.test.labels[:8].tolist() == [0, 8, 8, 9, 8, 3, 7, 5]  # for good


def test_statistics_are_those_of_the_training_pixels():
    data = datasets.load("digits")
    assert data.mean == pytest.approx([data.train.images.mean()])
    assert data.standard_deviation == pytest.approx([data.train.images.std()])


def test_constant_channel_is_not_divided_by_zero():
    split = Split(np.full((3, 2, 2, 1), 7), np.zeros(3))
    assert datasets.ImageData("x", 2, split, split, split).standard_deviation == [1.0]


def test_fewer_training_examples_leave_the_other_splits_alone():
    data, few = datasets.load("digits"), datasets.load("digits", train_examples=50)
    assert len(few.train) == 50
    assert as_rows(few.train) <= as_rows(data.train)
    np.testing.assert_array_equal(few.validation.images, data.validation.images)
    np.testing.assert_array_equal(few.test.images, data.test.images)


def test_tfds(data_dir):
    data = datasets.load("mnist", data_dir)
    assert [len(data.train), len(data.validation), len(data.test)] == [108, 12, 37]
    assert data.train.images.shape == (108, 28, 28, 1)
    assert data.train.images.dtype == "uint8"
    assert data.classes == 10
    assert not as_rows(data.train) & as_rows(data.validation)
    few = datasets.load("mnist", data_dir, train_examples=20)
    np.testing.assert_array_equal(few.train.images, data.train.images[:20])
    np.testing.assert_array_equal(few.validation.images, data.validation.images)
    assert datasets.load("mnist", data_dir) is data


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "mnits"}, "no data set 'mnits'.*mnist"),
        ({"name": "../etc"}, "'../etc' cannot be opened"),
        (
            {"name": "fashion_mnist"},
            "'fashion_mnist' is not in .*fashion_mnist.*download",
        ),
        ({"name": "mnist", "train_examples": 109}, "at most 108.*'mnist'.*109"),
        ({"name": "coco"}, "'coco' is not in"),
        ({"name": "mnist:9.9.9"}, "'mnist:9.9.9' cannot be opened in .*9.9.9"),
    ],
)
def test_refusals_say_what_to_do(arguments, message, data_dir):
    with pytest.raises(UsageError, match=message) as error:
        datasets.load(data_dir=data_dir, **arguments)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("folder", ["", "nowhere", "file"])
def test_what_is_no_folder_is_refused(folder, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.chdir(tmp_path)
    message = f"data_dir '{folder}' is not a folder.*'mnist'"
    with pytest.raises(UsageError, match=message):
        datasets.load("mnist", folder)


def test_damaged_data_is_named(data_dir, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(data_dir, copy)
    (record,) = copy.rglob("*test.tfrecord*")
    record.unlink()
    with pytest.raises(UsageError, match=r"'mnist' in .*copy.* cannot be read"):
        datasets.load("mnist", str(copy))
    (info,) = copy.rglob("dataset_info.json")
    info.write_text("{")
    with pytest.raises(UsageError, match=r"'mnist' cannot be opened in .*copy"):
        datasets.load("mnist", str(copy), train_examples=5)


def own_arrays(folder, **changes):
    """Writes a user's file of 40 training and 10 test images, and returns its name."""
    random = np.random.default_rng(0)
    arrays = {
        "x_train": random.integers(0, 256, (40, 6, 5), "uint8"),
        "y_train": np.arange(40) % 3,
        "x_test": random.integers(0, 256, (10, 6, 5), "uint8"),
        "y_test": np.arange(10) % 3,
        **changes,
    }
    path = folder / "own.npz"
    np.savez(path, **{name: a for name, a in arrays.items() if a is not None})
    return str(path)


def test_own_arrays(tmp_path):
    path = own_arrays(tmp_path, y_test=np.arange(10)[:, None] % 3)
    data = datasets.load(path)
    assert [len(data.train), len(data.validation), len(data.test)] == [36, 4, 10]
    assert data.train.images.shape == (36, 6, 5, 1)
    assert data.classes == 3
    assert data.train.labels.dtype == data.test.labels.dtype == "int32"
    with np.load(path) as arrays:
        everything = Split(arrays["x_train"][..., None], arrays["y_train"])
        np.testing.assert_array_equal(data.test.images[..., 0], arrays["x_test"])
    assert as_rows(data.train) | as_rows(data.validation) == as_rows(everything)
    # A file may be sorted by label: what is held out is not its last part.
    assert data.train.labels.tolist() != everything.labels[:36].tolist()
    few = datasets.load(path, train_examples=9)
    np.testing.assert_array_equal(few.train.images, data.train.images[:9])
    np.testing.assert_array_equal(few.validation.images, data.validation.images)


def test_own_vectors(tmp_path):
    features = np.random.default_rng(0).normal(size=(40, 7))
    data = datasets.load(own_arrays(tmp_path, x_train=features, x_test=features[:10]))
    assert data.train.images.shape == (36, 7)
    assert data.train.images.dtype == "float32"
    assert np.shape(data.mean) == (7,)
    assert data.mean == pytest.approx(data.train.images.mean(axis=0), abs=1e-6)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"y_test": None, "x_train": None}, "must have.*Missing: x_train, y_test"),
        ({"x_train": np.zeros(40)}, r"x_train must be finite numbers.*\(40,\)"),
        ({"x_train": np.full((40, 6, 5), np.nan)}, "x_train must be.*not all finite"),
        (
            {"x_test": np.zeros((10, 5, 5))},
            r"the same shape.*\(6, 5, 1\) and \(5, 5, 1\)",
        ),
        ({"x_test": np.full((10, 6, 5), "a")}, "x_test must be finite numbers.*<U1"),
        ({"y_train": np.arange(40) - 1}, "y_train must be whole.*from -1 to 38"),
        (
            {"y_train": np.zeros(40)},
            "y_train must be whole numbers of an integer.*float64",
        ),
        ({"y_train": np.zeros(39, int)}, r"one per image \(40\).*\(39,\)"),
        ({"x_train": np.zeros((9, 6, 5)), "y_train": np.zeros(9, int)}, "at least 10"),
        ({"x_train": np.array([{}], object)}, "cannot be read"),
        ({"x_train": np.full((40, 6, 5), 1e300)}, "not all finite in float32"),
        ({"y_train": np.arange(40) + 2**32}, "y_train must be whole.*to 4294967335"),
        ({"y_test": np.full(10, 2**31, "uint32")}, "y_test must be whole.*2147483648"),
        ({"y_test": np.full(10, 70)}, "two classes or more.*labels up to 70, in 40"),
        ({"y_train": np.zeros(40, int), "y_test": np.zeros(10, int)}, "two classes"),
        (
            {"y_train": 1 + np.arange(40) % 3, "y_test": 1 + np.arange(10) % 3},
            "of every class.*Classes from 0 to 3 without examples: 0",
        ),
        ({"y_test": np.full(10, 4)}, "Classes from 0 to 4 without examples: 3, 4"),
    ],
)
def test_wrong_arrays_are_refused(changes, message, tmp_path):
    with pytest.raises(UsageError, match=message) as error:
        datasets.load(own_arrays(tmp_path, **changes))
    assert "\n" not in str(error.value)


def test_what_is_no_npz_file_is_refused(tmp_path):
    (tmp_path / "text.npz").write_text("text")
    (tmp_path / "empty.npz").touch()
    with (tmp_path / "single.npz").open("wb") as file:
        np.save(file, np.zeros(3))
    for name in ("text.npz", "empty.npz", "single.npz", "missing.npz"):
        with pytest.raises(UsageError, match=f"{name}' cannot be read"):
            datasets.load(str(tmp_path / name))
