"""Settings shared by all tests."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
import pytest

if keras.backend.backend() == "jax":
    import jax

    # The gradient tests compare in float64 too, which JAX allows on request only.
    jax.config.update("jax_enable_x64", True)


if "GAAF_KERAS_WHEEL" in os.environ:  # what `make package` tests is the wheel
    import gaaf_keras

    assert gaaf_keras.__file__.startswith(os.environ["GAAF_KERAS_WHEEL"])


def pytest_collection_modifyitems(items):
    """Puts the longest tests first, so that the workers end at the same time."""
    items.sort(key=lambda item: "test_backends" not in item.nodeid)


@pytest.fixture(autouse=True)
def _same_seed():
    keras.utils.set_random_seed(0)


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory):
    """A folder with a prepared 'mnist' of 120 training and 37 test images."""
    import tensorflow_datasets as tfds

    random = np.random.default_rng(0)

    def examples(count):
        for label in random.integers(0, 10, count):
            image = random.integers(0, 100, (28, 28, 1), dtype="uint8")
            image[2 * label : 2 * label + 3] = (
                250  # so that there is something to learn
            )
            yield {"image": image, "label": label}

    folder = tmp_path_factory.mktemp("tensorflow_datasets")
    tfds.dataset_builders.store_as_tfds_dataset(
        name="mnist",
        version="3.0.1",
        data_dir=folder,
        features=tfds.features.FeaturesDict(
            {
                "image": tfds.features.Image(shape=(28, 28, 1)),
                "label": tfds.features.ClassLabel(num_classes=10),
            }
        ),
        split_datasets={
            "train": list(enumerate(examples(120))),
            "test": list(enumerate(examples(37))),
        },
    )
    return str(folder)


@pytest.fixture(scope="session")
def digits_as_mnist(tmp_path_factory):
    """A file `mnist.npz` with the digits of scikit-learn."""
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    images = images.reshape(-1, 8, 8).astype("uint8")
    path = tmp_path_factory.mktemp("digits") / "mnist.npz"
    train, test = slice(1200), slice(1200, None)
    np.savez(
        path,
        x_train=images[train],
        y_train=labels[train],
        x_test=images[test],
        y_test=labels[test],
    )
    return path


@pytest.fixture(scope="session")
def suite(tmp_path_factory):
    """The folder of a small suite with its report, one for all test processes."""
    from tests import small_suite

    base = tmp_path_factory.getbasetemp()
    on_its_own = "PYTEST_XDIST_WORKER" not in os.environ
    return small_suite.made_in(base if on_its_own else base.parent)
