"""Accuracies equal Keras's."""

import keras
import numpy as np
import pytest
from keras import layers

from gaaf_keras import analysis

RANDOM = np.random.default_rng(0)


def accuracies(model, x, y):
    """The accuracy without noise and with all nodes, from each analysis."""
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


TOKENS = RANDOM.integers(0, 6, (300, 5))  # 0 is padding, and at the end
TOKENS.sort()
TOKENS = TOKENS[:, ::-1].copy()


def tagging(outputs, activation):
    inputs = keras.Input((5,), dtype="int32")
    x = layers.Embedding(6, 4, mask_zero=True)(inputs)
    x = layers.Dense(4, activation="tanh", name="hidden")(x)
    return keras.Model(inputs, layers.Dense(outputs, activation)(x))


def without_noise(model, y):
    """As `accuracies`, where noise cannot be added to the inputs."""
    found = [
        analysis.weight_noise(model, TOKENS, y, sizes=[]),
        analysis.ablation(model, TOKENS, y, shares=[])["hidden"],
    ]
    return [result.accuracies[0] for result in found]


@pytest.mark.parametrize(
    ("loss", "outputs", "y"),
    [
        ("sparse_categorical_crossentropy", 3, TOKENS % 3),
        ("categorical_crossentropy", 3, np.eye(3)[TOKENS % 3]),
        ("binary_crossentropy", 1, TOKENS[:, :, None] % 2),
        ("binary_crossentropy", 2, np.stack([TOKENS % 2, TOKENS % 3 > 0], axis=-1)),
    ],
)
def test_what_is_masked_does_not_count(loss, outputs, y):
    model = tagging(outputs, "sigmoid" if outputs < 3 else "softmax")
    accuracy = "binary_accuracy" if outputs < 3 else "accuracy"
    model.compile("sgd", loss, weighted_metrics=[accuracy])
    _, expected = model.evaluate(TOKENS, y, batch_size=300, verbose=0)
    predicted = model.predict(TOKENS, verbose=0)
    if outputs < 3:
        right = (predicted > 0.5) == y
    else:
        right = predicted.argmax(axis=-1) == TOKENS % 3
    assert expected == pytest.approx(right[TOKENS > 0].mean())
    assert abs(right.mean() - expected) > 1e-3
    assert without_noise(model, y) == pytest.approx([expected] * 2)


@pytest.mark.parametrize("ignored", [-1, 2])
def test_an_ignored_class_does_not_count(ignored):
    model = tagging(3, "softmax")
    loss = keras.losses.SparseCategoricalCrossentropy(ignore_class=ignored)
    model.compile("sgd", loss)
    y = np.where(TOKENS % 2, TOKENS % 3, ignored)
    counted = (y != ignored) & (TOKENS > 0)
    right = model.predict(TOKENS, verbose=0).argmax(axis=-1) == y
    expected = right[counted].mean()
    assert abs(right[TOKENS > 0].mean() - expected) > 1e-3
    assert without_noise(model, y) == pytest.approx([expected] * 2)


def test_a_model_of_which_nothing_counts_has_no_right_predictions():
    model = tagging(3, "softmax")
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(ignore_class=0))
    assert without_noise(model, np.zeros((300, 5))) == [0, 0]


def test_several_outputs_with_one_loss_have_no_accuracy():
    inputs = keras.Input((4,))
    x = layers.Dense(3, activation="tanh")(inputs)
    model = keras.Model(inputs, [layers.Dense(3)(x), layers.Dense(2)(x)])
    model.compile("sgd", "sparse_categorical_crossentropy")
    x = RANDOM.normal(size=(300, 4)).astype("float32")
    found = analysis.weight_noise(model, x, [CLASSES, CLASSES % 2], sizes=[])
    assert found.accuracies == []
