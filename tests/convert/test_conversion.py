"""What a converted model is made of, and what goes along."""

import keras
import numpy as np

import gaaf_keras
from gaaf_keras import GAAF, Gaussian, accelerate, gaaf, restore
from gaaf_keras.layers import accelerated_layers
from tests.convert.zoo import (
    LAYERS,
    MODELS,
    architecture,
    assert_same_outputs,
    sequential,
    tied,
    wide_functional,
)


def test_sharing_is_kept():
    accelerated = accelerate(tied(), verbose=False)
    assert len(accelerated.weights) == 4
    outer = accelerated.get_layer("tied")
    assert accelerated.get_layer("left").get_layer("tied") is outer
    assert accelerated.get_layer("right").get_layer("tied") is outer
    model = wide_functional()
    shared = accelerate(model, verbose=False).get_layer("shared")
    assert len(shared._inbound_nodes) == 2


def test_an_activation_layer_shared_by_two_hosts():
    leaky = LAYERS.LeakyReLU()
    model = sequential(
        LAYERS.Dense(3, activation=leaky),
        LAYERS.Dense(3, activation=leaky),
        LAYERS.Dense(2),
    )
    accelerated = accelerate(model, verbose=False)
    restored = restore(accelerated)
    for other, kind in ((accelerated, GAAF), (restored, LAYERS.LeakyReLU)):
        first, second, _ = other.layers
        assert first.activation is second.activation is not leaky
        assert isinstance(first.activation, kind)


def test_a_layer_inside_of_a_wrapper_and_on_its_own():
    inputs = keras.Input((5, 4))
    dense = LAYERS.Dense(4, activation="tanh", name="both")
    wrapper = LAYERS.TimeDistributed(dense)
    model = keras.Model(inputs, LAYERS.Dense(2)(wrapper(inputs) + dense(inputs)))
    accelerated = accelerate(model, verbose=False)
    for other in (accelerated, restore(accelerated)):
        assert other.layers[1].layer is other.get_layer("both")
        assert len(other.weights) == 4
        assert_same_outputs(model, other)
    assert len(accelerated_layers(accelerated)) == 1


def test_a_lambda_inside_of_a_wrapper():
    model = sequential(
        LAYERS.TimeDistributed(LAYERS.Lambda(lambda x: 2 * x)),
        LAYERS.Dense(3, activation="relu"),
        LAYERS.Dense(2),
        shape=(5, 4),
    )
    assert_same_outputs(model, accelerate(model, verbose=False), restore(model))


def test_what_the_layers_become():
    model = sequential(
        LAYERS.Dense(3, activation="relu", name="one"),
        LAYERS.Activation("tanh", name="two"),
        LAYERS.ReLU(6, name="three"),
        LAYERS.Dense(2),
    )
    one, two, three, _ = accelerate(model, verbose=False).layers
    assert isinstance(one, LAYERS.Dense)
    assert isinstance(one.activation, GAAF)
    assert one.activation.name == "one_activation"
    assert isinstance(two, GAAF)
    assert two.activation is keras.activations.tanh
    assert two.shape == Gaussian(2.0)
    assert isinstance(three, GAAF)
    assert isinstance(three.activation, LAYERS.ReLU)
    assert three.name == three.activation.name == "three"


def test_restore_of_a_model_written_with_gaaf():
    inputs = keras.Input((4,))
    x = LAYERS.Dense(3, activation=gaaf_keras.gaaf_tanh)(inputs)
    x = LAYERS.Dense(3, activation=gaaf("relu", strength=2))(x)
    x = gaaf_keras.GAAFTanh(name="own")(x)
    x = LAYERS.Activation(gaaf_keras.gaaf_relu, name="function")(x)
    x = gaaf_keras.gaaf_relu(x)
    x = GAAF(LAYERS.LeakyReLU(0.1), name="leaky")(x)
    model = keras.Model(inputs, LAYERS.Dense(2)(x))
    plain = restore(model)
    assert "gaaf_keras" not in plain.to_json()
    assert plain.get_layer("own").activation is keras.activations.tanh
    assert plain.get_layer("leaky").negative_slope == 0.1
    assert_same_outputs(model, plain)


def test_trainable_flags_go_along():
    backbone = sequential(
        LAYERS.Dense(4, activation="relu"),
        LAYERS.BatchNormalization(),
        LAYERS.Dense(4, activation="relu"),
        name="backbone",
    )
    backbone.trainable = False
    inputs = keras.Input((4,))
    functional = keras.Model(inputs, backbone(inputs), name="functional")
    functional.trainable = False
    head = LAYERS.Dense(2, name="head")
    model = keras.Model(inputs, head(functional(inputs)))
    head.kernel.trainable = False
    accelerated = accelerate(model, verbose=False)
    for other in (accelerated, restore(accelerated)):
        assert [v.path for v in other.trainable_variables] == [
            v.path for v in model.trainable_variables
        ]
        assert not other.get_layer("functional").trainable
        assert not other.get_layer("functional").get_layer("backbone").trainable
        assert other.get_layer("head").trainable


def test_a_model_without_inputs():
    model = keras.Sequential([LAYERS.Dense(3, activation="relu"), LAYERS.Dense(2)])
    accelerated = accelerate(model, verbose=False)
    assert not accelerated.built
    assert len(accelerated_layers(accelerated)) == 1
    assert architecture(restore(accelerated)) == architecture(model)


def test_adapted_layers_go_along():
    normalise = LAYERS.Normalization()
    normalise.adapt(np.random.default_rng(0).normal(3, 2, (100, 4)))
    model = sequential(normalise, LAYERS.Dense(3, activation="relu"), LAYERS.Dense(2))
    assert_same_outputs(model, accelerate(model, verbose=False))


def test_the_seeds_of_later_layers_are_not_used_up():
    def weights_of_the_next_layer(convert):
        keras.utils.set_random_seed(3)
        model = MODELS["separable"][0]()
        if convert:
            accelerate(model, verbose=False)
        return sequential(LAYERS.Dense(3)).get_weights()[0]

    np.testing.assert_array_equal(
        weights_of_the_next_layer(True), weights_of_the_next_layer(False)
    )
