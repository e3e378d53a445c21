"""Data sets: fixed splits, pipelines that repeat themselves, clear refusals."""

import itertools
import shutil

import keras
import numpy as np
import pytest

from gaaf_keras.experiments import UsageError, datasets
from gaaf_keras.experiments.datasets import (
    Split,
    evaluation_pipeline,
    training_pipeline,
)


def as_rows(split):
    return {
        (image.tobytes(), int(label))
        for image, label in zip(split.images, split.labels, strict=True)
    }


def numbered(count):
    """A split whose image number i is filled with i."""
    images = np.arange(count, dtype="uint8").reshape(-1, 1, 1, 1)
    return Split(images, np.arange(count, dtype="int32"))


def epochs(dataset, steps, count):
    batches = list(itertools.islice(dataset.as_numpy_iterator(), steps * count))
    return [
        np.concatenate([labels for _, labels in batches[i * steps : (i + 1) * steps]])
        for i in range(count)
    ]


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


def test_missing_folder_is_named(tmp_path):
    with pytest.raises(UsageError, match=r"'.*nowhere' is not a folder.*'mnist'"):
        datasets.load("mnist", str(tmp_path / "nowhere"))


@pytest.mark.parametrize("folder", ["", "nowhere", "file"])
def test_what_is_no_folder_is_refused(folder, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=f"data_dir '{folder}' is not a folder"):
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


def test_training_epochs_are_new_orders_without_repetition():
    dataset = training_pipeline(numbered(23), 5, seed=0, augment=False)
    first, second = epochs(dataset, steps=4, count=2)
    assert len(set(first)) == len(set(second)) == 20
    assert first.tolist() != second.tolist()


def test_training_order_depends_on_seed_and_epoch_alone():
    def orders(seed, first_epoch=0, count=3):
        dataset = training_pipeline(numbered(23), 5, seed, False, first_epoch)
        return np.array(epochs(dataset, steps=4, count=count)).tolist()

    assert orders(seed=1) == orders(seed=1)
    assert orders(seed=1) != orders(seed=2)
    assert orders(seed=1)[2:] == orders(seed=1, first_epoch=2, count=1)


def test_images_and_labels_stay_together():
    dataset = training_pipeline(numbered(23), 5, seed=0, augment=False)
    for images, labels in itertools.islice(dataset.as_numpy_iterator(), 8):
        assert images.dtype == "float32"
        np.testing.assert_array_equal(images[:, 0, 0, 0], labels)


def test_augmentation_flips_and_shifts():
    random = np.random.default_rng(0)
    split = Split(random.integers(1, 255, (6, 9, 9, 3), "uint8"), np.arange(6))

    def variants(image):
        for flipped in (image, image[:, ::-1]):
            padded = np.pad(flipped, [(4, 4), (4, 4), (0, 0)])
            for row, column in itertools.product(range(9), range(9)):
                yield padded[row : row + 9, column : column + 9]

    def batches(first_epoch=0):
        dataset = training_pipeline(split, 6, 3, augment=True, first_epoch=first_epoch)
        return list(itertools.islice(dataset.as_numpy_iterator(), 20))

    seen = set()
    for images, labels in batches():
        for image, label in zip(images, labels, strict=True):
            found = [
                number
                for number, variant in enumerate(variants(split.images[label]))
                if np.array_equal(variant, image)
            ]
            assert len(found) == 1
            seen.update(found)
    assert len(seen) > 50  # of 162: shifts in all directions, flipped and not
    np.testing.assert_array_equal(batches()[7][0], batches(first_epoch=7)[0][0])


@pytest.mark.parametrize("count", [1, 5, 256, 257, 1000])
@pytest.mark.parametrize("replicas", [1, 2, 3])
def test_evaluation_covers_everything_once(count, replicas):
    split = Split(np.zeros((count, 1, 1, 1), "uint8"), np.arange(count))
    batches = list(evaluation_pipeline(split, replicas).as_numpy_iterator())
    sizes = {len(labels) for _, labels, _ in batches}
    assert len(sizes) == 1
    assert sizes.pop() % replicas == 0
    labels = np.concatenate([labels for _, labels, _ in batches])
    weights = np.concatenate([weights for *_, weights in batches])
    assert labels[:count].tolist() == list(range(count))
    assert np.all(weights[count:] == 0)
    values = np.random.default_rng(0).normal(size=len(labels))
    assert np.mean(weights * values) == pytest.approx(values[:count].mean(), rel=1e-5)


def test_keras_evaluates_exactly():
    random = np.random.default_rng(0)
    split = Split(random.integers(0, 9, (301, 2, 2, 1)), random.integers(0, 3, 301))
    model = keras.Sequential([keras.layers.Flatten(), keras.layers.Dense(3)])
    model.compile(
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        weighted_metrics=[keras.metrics.SparseCategoricalAccuracy(name="accuracy")],
    )
    scores = model.evaluate(evaluation_pipeline(split), return_dict=True, verbose=0)
    logits = model.predict(split.images.astype("float32"), verbose=0).astype("float64")
    right = logits[np.arange(301), split.labels]
    losses = np.log(np.exp(logits).sum(axis=1)) - right
    assert scores["loss"] == pytest.approx(losses.mean(), rel=1e-5)
    accuracy = (logits.argmax(axis=1) == split.labels).mean()
    assert scores["accuracy"] == pytest.approx(accuracy, rel=1e-6)
