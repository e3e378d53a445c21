"""Accuracies are those that Keras gives."""

import keras
import numpy as np
import pytest
from keras import layers

from gaaf_keras import analysis

RANDOM = np.random.default_rng(0)


def accuracies(model, x, y):
    """The accuracy without noise and with all nodes, as each analysis has it."""
    found = [
        analysis.weight_noise(model, x, y, sizes=[]),
        analysis.input_noise(model, x, y, sizes=[]),
        *analysis.ablation(model, x, y, shares=[]).values(),
    ]
    return [result.accuracies[0] for result in found]


CLASSES = RANDOM.integers(0, 3, 300)


@pytest.mark.parametrize(
    ("loss", "y"),
    [
        (keras.losses.CategoricalGeneralizedCrossEntropy(), CLASSES),
        (keras.losses.CategoricalGeneralizedCrossEntropy(), CLASSES[:, None]),
        ("categorical_focal_crossentropy", np.eye(3)[CLASSES]),
        ("sparse_categorical_crossentropy", CLASSES[:, None]),
    ],
)
def test_targets_are_numbers_of_classes_or_one_hot(loss, y):
    model = keras.Sequential(
        [
            keras.Input((4,)),
            layers.Dense(6, activation="tanh"),
            layers.Dense(3, activation="softmax"),
        ]
    )
    model.compile("sgd", loss, metrics=["accuracy"])
    x = RANDOM.normal(size=(300, 4)).astype("float32")
    _, expected = model.evaluate(x, y, verbose=0)
    assert 0.1 < expected < 0.9
    assert accuracies(model, x, y) == pytest.approx([expected] * 3)
