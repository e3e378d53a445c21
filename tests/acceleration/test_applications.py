"""The networks of `keras.applications`, without their weights."""

import collections

import keras
import numpy as np
import pytest
import tensorflow as tf

from gaaf_keras import accelerate
from tests.acceleration.zoo import attributes, unchanged
from tests.gradients import value_and_gradient

# With the smallest images that the network takes.
NETWORKS = {
    "MobileNetV3Small": (32, 32, 3),
    "ResNet50": (32, 32, 3),
    "VGG16": (32, 32, 3),
}
SLOW_NETWORKS = {
    "ConvNeXtTiny": (32, 32, 3),
    "DenseNet121": (32, 32, 3),
    "EfficientNetB0": (32, 32, 3),
    "EfficientNetV2B0": (32, 32, 3),
    "InceptionResNetV2": (75, 75, 3),
    "InceptionV3": (75, 75, 3),
    "MobileNet": (32, 32, 3),
    "MobileNetV2": (32, 32, 3),
    "NASNetMobile": (32, 32, 3),
    "ResNet50V2": (32, 32, 3),
    "Xception": (75, 75, 3),
}


def build(network, classes=10):
    make = getattr(keras.applications, network)
    shape = {**NETWORKS, **SLOW_NETWORKS}[network]
    return make(weights=None, input_shape=shape, classes=classes)


def count_in_config(config):
    """Counts the activations in a model's JSON configuration."""
    counts = collections.Counter()

    def visit(node):
        if isinstance(node, dict):
            if node.get("class_name") == "ReLU":
                counts["ReLU"] += 1
            elif isinstance(node.get("config"), dict):
                activation = node["config"].get("activation")
                if isinstance(activation, str):
                    counts[activation] += 1
            for value in node.values():
                visit(value)
        elif isinstance(node, list):
            for value in node:
                visit(value)

    visit(config)
    del counts["linear"], counts["softmax"]
    return sum(counts.values())


def images(model):
    random = np.random.default_rng(0)
    return random.uniform(0, 255, (2, *model.input_shape[1:])).astype("float32")


def input_gradient(model, x, training):
    function = lambda x: model(x, training=training) * tf.range(10.0)  # noqa: E731
    with unchanged(model):
        return value_and_gradient(function, x, np.ones((2, 10), "float32"))[1]


@pytest.mark.parametrize(
    "network",
    [
        *NETWORKS,
        *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW_NETWORKS),
    ],
)
def test_in_place(network):
    keras.utils.set_random_seed(0)
    model = build(network)
    expected = count_in_config(model.get_config())
    assert expected > 10
    x = images(model)
    value = model(x, training=False)
    before = attributes(model)
    with accelerate(model) as acceleration:
        assert len(acceleration.accelerated) == expected
        assert [row.activation for row in acceleration.left_alone] == ["softmax"]
        np.testing.assert_array_equal(model(x, training=False), value)
    assert attributes(model) == before


@pytest.mark.slow
def test_gradients_of_resnet50_differ_in_training_only():
    keras.utils.set_random_seed(0)
    model = build("ResNet50")
    x = images(model)
    inference, plain = (input_gradient(model, x, mode) for mode in (False, True))
    with accelerate(model, layers="conv5*", strength=0.5, unit_gain=False):
        np.testing.assert_array_equal(inference, input_gradient(model, x, False))
        changed = input_gradient(model, x, True)
    assert np.all(np.isfinite(changed))
    assert np.linalg.norm(changed - plain) > 0.1 * np.linalg.norm(plain)


def test_backbone_inside_of_a_model():
    """With a custom head, the backbone's last activation is a hidden one."""
    backbone = keras.applications.MobileNetV2(
        weights=None, input_shape=(32, 32, 3), include_top=False
    )
    inputs = keras.Input((32, 32, 3))
    x = keras.layers.GlobalAveragePooling2D()(backbone(inputs))
    model = keras.Model(inputs, keras.layers.Dense(3)(x))
    with accelerate(backbone) as acceleration:
        assert [row.layer for row in acceleration.left_alone] == ["out_relu"]
    with accelerate(model) as acceleration:
        assert len(acceleration.accelerated) == 35
        assert acceleration.left_alone == ()
