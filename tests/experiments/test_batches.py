"""Batches: each epoch has its own order, the same on every path to the model."""

import itertools

import keras
import numpy as np
import pytest

from experiments.data.batches import evaluation_order, training_batches
from experiments.data.datasets import Split
from experiments.data.pipelines import evaluation_pipeline, training_pipeline


def numbered(count):
    """A split in which image i is filled with i."""
    images = np.arange(count, dtype="uint8").reshape(-1, 1, 1, 1)
    return Split(images, np.arange(count, dtype="int32"))


def epochs(dataset, steps, count):
    batches = list(itertools.islice(dataset.as_numpy_iterator(), steps * count))
    return [
        np.concatenate([labels for _, labels in batches[i * steps : (i + 1) * steps]])
        for i in range(count)
    ]


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
    assert len(batches) % replicas == 0
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


@pytest.mark.parametrize("augment", [False, True])
def test_replicas_and_numpy_see_the_same_batches(augment):
    random = np.random.default_rng(0)
    split = Split(random.integers(0, 256, (17, 5, 6, 2), "uint8"), np.arange(17))
    numpy = training_batches(split, 6, seed=3, augment=augment, first_epoch=1)
    expected = list(itertools.islice(numpy, 5))

    def batches(**options):
        dataset = training_pipeline(split, 6, 3, augment, first_epoch=1, **options)
        return dataset.as_numpy_iterator()

    workers = [
        batches(replicas=3, shard=slice(0, 2)),  # a worker of two replicas
        batches(replicas=3, shard=slice(2, 3)),
    ]
    whole = batches()
    for images, labels in expected:
        parts = [next(workers[0]), next(workers[0]), next(workers[1])]
        for ours in (next(whole), tuple(map(np.concatenate, zip(*parts, strict=True)))):
            np.testing.assert_array_equal(ours[0], images)
            np.testing.assert_array_equal(ours[1], labels)


def test_workers_share_an_evaluation():
    split = Split(np.zeros((7, 1, 1, 1), "uint8"), np.arange(7))
    indices, weights = evaluation_order(7, replicas=3)
    for worker in range(3):
        shard = slice(worker, worker + 1)
        (batch,) = evaluation_pipeline(split, 3, shard).as_numpy_iterator()
        part = slice(3 * worker, 3 * worker + 3)
        np.testing.assert_array_equal(batch[1], split.labels[indices[0, part]])
        np.testing.assert_array_equal(batch[2], weights[0, part])
