"""Layers, models and functions of the user's own classes."""

import warnings

import keras
import numpy as np
import pytest

from gaaf_keras import Gaussian, accelerate, restore
from gaaf_keras.layers import accelerated_layers
from tests.convert.zoo import (
    LAYERS,
    architecture,
    assert_same_outputs,
    sequential,
)


class Block(LAYERS.Layer):
    """Has its activation as an argument, and is registered nowhere."""

    def __init__(self, units, activation="relu", **kwargs):
        super().__init__(**kwargs)
        self.units = units
        self.activation = keras.activations.get(activation)
        self.dense = LAYERS.Dense(units, activation=self.activation)

    def build(self, input_shape):
        self.dense.build(input_shape)

    def call(self, x):
        return x + self.dense(x)

    def get_config(self):
        activation = keras.activations.serialize(self.activation)
        return {**super().get_config(), "units": self.units, "activation": activation}


class Hiding(Block):
    """Says nothing of its activation."""

    def get_config(self):
        config = super().get_config()
        del config["activation"]
        return config


class Attending(Block):
    """Has the softmax of an attention inside."""

    def __init__(self, units, activation="relu", **kwargs):
        super().__init__(units, activation, **kwargs)
        self.attention = LAYERS.MultiHeadAttention(2, 3)

    def build(self, input_shape):
        super().build(input_shape)
        self.attention.build(input_shape, input_shape)

    def call(self, x):
        return super().call(self.attention(x, x))


class Half(Block):
    """Shows one activation of two."""

    def __init__(self, units, activation="linear", **kwargs):
        super().__init__(units, activation, **kwargs)
        self.gate = LAYERS.Dense(units, activation="sigmoid")


class Stubborn(Block):
    """Takes no activation but its own."""

    def __init__(self, units, activation="relu", **kwargs):
        super().__init__(units, "relu", **kwargs)


def test_layer_class_of_ones_own():
    model = sequential(Block(4, name="block"), LAYERS.Dense(2))
    accelerated, report = accelerate(model, verbose=False, return_report=True)
    assert [row.kind for row in report.accelerated] == ["Block"]
    assert_same_outputs(model, accelerated)
    assert architecture(restore(accelerated)) == architecture(model)


@pytest.mark.parametrize("layers", [None, "block", ["blo*", "dense"], Attending])
def test_a_block_with_attention(layers):
    model = sequential(
        Attending(4, name="block"),
        LAYERS.Dense(4, activation="tanh", name="dense"),
        LAYERS.Dense(2),
        shape=(5, 4),
    )
    accelerated, report = accelerate(
        model, layers=layers, verbose=False, return_report=True
    )
    assert report.accelerated[0].layer == "block"
    assert_same_outputs(model, accelerated)


def test_attention_has_nothing_to_accelerate():
    inputs = keras.Input((5, 4))
    x = LAYERS.MultiHeadAttention(2, 3, name="attention")(inputs, inputs)
    x = LAYERS.Dense(4, activation="tanh", name="dense")(x)
    model = keras.Model(inputs, LAYERS.Dense(2)(x))
    with pytest.raises(ValueError, match=r"nothing that has an .*'attention'.*: dense"):
        accelerate(model, layers=["attention", "dense"], verbose=False)


@pytest.mark.parametrize("kind", [Hiding, Half, Stubborn])
def test_half_a_conversion_is_refused(kind):
    block = kind(4, name="block")
    model = sequential(
        LAYERS.Dense(4, activation="relu"),
        block,
        LAYERS.Dense(2),
    )
    reason = "does not keep what" if kind is Stubborn else "makes an activation"
    with pytest.raises(ValueError, match=rf"{reason}.*layer.name != 'block'"):
        accelerate(model, verbose=False)
    chosen = accelerate(
        model, layers=lambda layer: layer.name != "block", verbose=False
    )
    assert len(accelerated_layers(chosen)) == 1
    assert_same_outputs(model, chosen)


def test_subclassed_models_are_refused():
    class Own(keras.Model):
        def __init__(self):
            super().__init__()
            self.dense = LAYERS.Dense(3, activation="relu")

        def call(self, x):
            return self.dense(x)

    for convert in (accelerate, restore):
        with pytest.raises(TypeError, match="Functional or Sequential"):
            convert(Own())
    inputs = keras.Input((4,))
    nested = keras.Model(inputs, LAYERS.Dense(2)(Own()(inputs)))
    with pytest.raises(TypeError, match=r"\(Own\), whose activations cannot be found"):
        accelerate(nested, verbose=False)


class OwnTraining(keras.Model):
    """A functional model with a training step of its own."""

    marker = "kept"


class OwnArguments(keras.Model):
    def __init__(self, units):
        inputs = keras.Input((4,))
        super().__init__(inputs, LAYERS.Dense(units, activation="relu")(inputs))


def test_functional_models_of_a_class_of_their_own():
    inputs = keras.Input((4,))
    x = LAYERS.Dense(3, activation="relu")(inputs)
    model = OwnTraining(inputs, LAYERS.Dense(2)(x))
    accelerated = accelerate(model, verbose=False)
    assert type(accelerated) is OwnTraining
    with pytest.raises(TypeError, match="class of its own"):
        accelerate(OwnArguments(3), verbose=False)


class Distilling(keras.Model):
    """Keeps something in attributes."""

    def __init__(self, *arguments, **more):
        super().__init__(*arguments, **more)
        self.alpha = 0.1
        self.weigh = lambda loss: self.alpha * loss
        self.seen = keras.metrics.Mean()
        self.limits = {"low": [0, 1], 2: np.zeros(2)}


def test_attributes_of_a_model():
    inputs = keras.Input((4,))
    x = LAYERS.Dense(3, activation="relu")(inputs)
    model = Distilling(inputs, LAYERS.Dense(2)(x))
    model.compile("sgd", "mse")
    model.fit(np.ones((4, 4)), np.ones((4, 2)), verbose=0)
    model.alpha = 0.7
    model.limits["low"].append(2)
    model.notes = "trained"
    with warnings.catch_warnings(action="error", category=UserWarning):
        accelerated = accelerate(model, verbose=False)
    assert (accelerated.alpha, accelerated.notes) == (0.7, "trained")
    assert accelerated.weigh(1) == 0.7
    assert accelerated.seen is not model.seen
    assert accelerated.limits["low"] == [0, 1, 2]
    for own in (accelerated.limits, accelerated.limits["low"]):
        own.clear()
    assert model.limits["low"] == [0, 1, 2]
    accelerated.alpha = 0.3
    outer = sequential(model, LAYERS.Dense(1))
    assert accelerate(outer, verbose=False).layers[0].alpha == 0.7


def test_attributes_that_cannot_be_copied_are_named():
    model = sequential(LAYERS.Dense(3, activation="relu"), LAYERS.Dense(2))
    model.augment = lambda x: model.factor * x
    with pytest.warns(UserWarning, match="has no augment: attributes"):
        accelerate(model, verbose=False)


class Naming(LAYERS.Layer):
    """Keeps its activation as a name."""

    def __init__(self, activation="relu", **kwargs):
        super().__init__(**kwargs)
        self.activation = activation

    def call(self, x):
        return keras.activations.get(self.activation)(x)

    def get_config(self):
        return {**super().get_config(), "activation": self.activation}


def test_an_activation_kept_as_a_name():
    model = sequential(Naming(), LAYERS.Dense(2))
    accelerated, report = accelerate(model, verbose=False, return_report=True)
    assert [row.kind for row in report.accelerated] == ["Naming"]
    assert len(accelerated_layers(accelerated)) == 1
    assert_same_outputs(model, accelerated)


class Comparing(Naming):
    """Compares the name with those that it knows."""

    def call(self, x):
        return keras.ops.relu(x) if self.activation == "relu" else x


class Checking(Naming):
    """Takes no activation but by its name."""

    def __init__(self, activation="relu", **kwargs):
        super().__init__(activation, **kwargs)
        if activation not in ("relu", "tanh"):
            raise ValueError(f"Received: {activation}")


@pytest.mark.parametrize(
    ("kind", "reason"),
    [(Comparing, "is not seen to apply"), (Checking, "does not take")],
)
def test_a_name_that_must_stay_one(kind, reason):
    model = sequential(
        kind(name="named"), LAYERS.Dense(4, activation="tanh"), LAYERS.Dense(2)
    )
    with pytest.raises(ValueError, match=rf"{reason} what .*layer.name != 'named'"):
        accelerate(model, verbose=False)
    chosen = accelerate(model, layers="dense*", verbose=False)
    for other in (chosen, restore(model)):
        assert other.get_layer("named").activation == "relu"
        assert_same_outputs(model, other)


class Listing(LAYERS.Layer):
    """Has its activations in a list."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.functions = [keras.ops.relu, keras.activations.tanh]

    def call(self, x):
        return self.functions[0](x) + self.functions[1](x)


def test_activations_in_a_list():
    model = sequential(Listing(), LAYERS.Dense(3, activation="relu"), LAYERS.Dense(2))
    with pytest.raises(ValueError, match="that its configuration does not show"):
        accelerate(model, verbose=False)


def test_functions_of_the_same_name():
    def relu(x):
        return 3 * keras.ops.relu(x)

    model = sequential(
        LAYERS.Dense(3, activation="relu"), LAYERS.Dense(2, activation=relu)
    )
    accelerated = accelerate(model, verbose=False)
    assert_same_outputs(model, accelerated, restore(accelerated))


def own_activation(x):
    return x * keras.ops.sigmoid(2 * x)


def test_activation_functions_of_ones_own():
    model = sequential(LAYERS.Dense(3, activation=own_activation), LAYERS.Dense(2))
    with pytest.raises(ValueError, match=r"shapes=\{'own_activation': "):
        accelerate(model, verbose=False)
    accelerate(model, {"own_activation": Gaussian(2)}, verbose=False)
    accelerated = accelerate(model, {own_activation: Gaussian(2)}, verbose=False)
    assert_same_outputs(model, accelerated)
    assert architecture(restore(accelerated)) == architecture(model)
