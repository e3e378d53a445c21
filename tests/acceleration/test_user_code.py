"""What user code may do, and what must not happen as a result."""

import collections

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops

import gaaf_keras
from gaaf_keras import accelerate, summary
from gaaf_keras.layers import accelerated_layers
from tests.acceleration.zoo import (
    LAYERS,
    assert_only_training_changes,
    assert_same,
    attributes,
    sequential,
)

X = np.random.default_rng(0).normal(size=(6, 4)).astype("float32")


class Holds(LAYERS.Layer):
    """A layer with an attribute that it applies."""

    def __init__(self, apply, **own):
        super().__init__(name="holds")
        self.dense = LAYERS.Dense(4, name="dense")
        self._applies = apply
        for name, value in own.items():
            setattr(self, name, value)

    def build(self, shape):
        self.dense.build(shape)
        self.beta = self.add_weight(shape=(), initializer="ones", name="beta")

    def call(self, x):
        return self._applies(self, self.dense(x) * self.beta)


def holding(apply, **own):
    return sequential(Holds(apply, **own), LAYERS.Dense(2))


def gradients(model, training=True):
    with tf.GradientTape() as tape:
        value = tf.reduce_sum(model(X, training=training) ** 2)
    found = tape.gradient(value, model.trainable_variables)
    return [each.numpy() for each in found]


def test_weights_in_a_function_are_trained():
    """It has the values of SiLU now, but not forever."""
    model = holding(lambda self, x: self.activation(x), activation=ops.relu)
    layer = model.layers[0]
    layer.activation = lambda x: x * ops.sigmoid(layer.beta * x)
    model.compile("sgd", "mse", jit_compile=False)
    with accelerate(model) as acceleration:
        assert acceleration.accelerated[0].activation == "silu"
        model.fit(X, X[:, :2], verbose=0)
    assert layer.beta.numpy() != 1


def test_the_gradient_of_a_function_is_its_own():
    model = holding(
        lambda self, x: self.act(x),
        act=lambda x: x + ops.stop_gradient(ops.relu(x) - x),
    )
    plain = gradients(model)
    with accelerate(model, strength=0.0, unit_gain=False):
        assert_same(gradients(model), plain)


def test_a_schedule_where_the_model_itself_keeps_the_activation(tmp_path):
    class Own(keras.Model):
        def __init__(self):
            super().__init__(name="own")
            self.hidden, self.head = LAYERS.Dense(4), LAYERS.Dense(2)
            self.act = keras.activations.tanh

        def call(self, x):
            return self.head(self.act(self.hidden(x)))

    model = Own()
    model.compile("sgd", "mse")
    model(X)
    model.save_weights(tmp_path / "plain.weights.h5")
    schedule = gaaf_keras.AccelerationSchedule(lambda epoch: 0.5)
    with accelerate(model):
        model.fit(X, X[:, :2], verbose=0, callbacks=[schedule])
        assert len(summary(model).rows) == 1
        assert len(model.layers) == 2
        model.load_weights(tmp_path / "plain.weights.h5")
        model.save_weights(tmp_path / "inside.weights.h5")
    before, inside = (
        (tmp_path / f"{name}.weights.h5").read_bytes() for name in ("plain", "inside")
    )
    assert before == inside


def test_models_that_share_a_layer():
    shared = LAYERS.Dense(4, name="shared")
    models = [
        sequential(shared, LAYERS.Dense(3, "relu"), LAYERS.Dense(1)) for _ in "ab"
    ]
    config = [model.get_config() for model in models]
    before = [attributes(model) for model in models]
    accelerations = [accelerate(model) for model in models]
    assert [model.get_config() for model in models] == config
    for acceleration in accelerations:
        acceleration.remove()
        assert [model.get_config() for model in models] == config
    assert [attributes(model) for model in models] == before


Settings = collections.namedtuple("Settings", ["act", "size"])


class Curve:
    """A callable object with state."""

    scale = 2.0

    def __call__(self, x):
        return ops.tanh(x)


WAYS = {
    "by keyword": (lambda self, x: self.act(features=x), {"act": tf.nn.relu}),
    "with arguments": (
        lambda self, x: self.act(x, approximate=True),
        {"act": keras.activations.gelu},
    ),
    "object": (lambda self, x: self.act.scale * self.act(x), {"act": Curve()}),
    "named tuple": (
        lambda self, x: self.settings.act(x),
        {"settings": Settings(keras.activations.relu, 3)},
    ),
    "nested": (lambda self, x: self.parts["a"][0](x), {"parts": {"a": [ops.relu]}}),
    "a name of its own": (
        lambda self, x: self.gelu(x),
        {"gelu": lambda x: 1 * ops.gelu(x)},
    ),
    "a switch": (
        lambda self, x: ops.softmax(x) if self.export else ops.tanh(self.act(x)),
        {"act": ops.relu, "export": False},
    ),
    "operations": (
        lambda self, x: self.act(x),
        {"act": ops.relu, "operations": ["conv", "pool"]},
    ),
}


@pytest.mark.parametrize("name", WAYS)
def test_ways_to_call(name):
    apply, own = WAYS[name]
    model = holding(apply, **own)
    value, before = model(X, training=True), attributes(model)
    with accelerate(model) as acceleration:
        assert len(acceleration.accelerated) == 1
        np.testing.assert_array_equal(model(X, training=True), value)
    assert_only_training_changes(model, lambda training: gradients(model, training))
    assert attributes(model) == before


def test_half_precision_in_a_layer_and_full_in_its_function():
    in_full = lambda x: ops.gelu(ops.cast(x, "float32"))  # noqa: E731
    layer = LAYERS.Dense(4, in_full, dtype="mixed_float16")
    model = sequential(layer, LAYERS.Dense(2))
    value = model(X, training=True)
    with accelerate(model):
        np.testing.assert_array_equal(model(X, training=True), value)
        assert all(np.all(np.isfinite(each)) for each in gradients(model))


def test_what_is_no_activation():
    model = holding(
        lambda self, x: self.act(x),
        act=ops.relu,
        activation_constraint=keras.constraints.NonNeg(),
        activation_quantizer=lambda x: ops.clip(x, 0, 6),
    )
    assert [row.argument for row in accelerate(model).rows] == ["act"]


def test_lists_that_change_meanwhile():
    model = holding(lambda self, x: self.acts[0](x), acts=[ops.relu, ops.tanh])
    with accelerate(model):
        model.layers[0].acts.pop()
    assert model.layers[0].acts == [ops.relu]
    assert not summary(model).accelerated


def test_looking_leaves_nothing_behind():
    def remembering(self, x):
        self.last, self.calls = x, self.calls + 1
        return self.act(ops.relu(x))

    generator = keras.random.SeedGenerator(0)
    noisy = lambda x: x + keras.random.normal(ops.shape(x), seed=generator)  # noqa: E731

    class Own(keras.Model):
        def __init__(self):
            super().__init__(name="own")
            self.first, self.holds = LAYERS.Dense(4, "relu"), None
            self.holds = Holds(remembering, act=noisy, calls=0, last=None)

        def call(self, x):
            return self.holds(self.first(x))

    model = Own()
    model(X)
    calls, state = model.holds.calls, generator.state.numpy()
    accelerate(model).remove()
    assert model.holds.calls == calls
    assert isinstance(model.holds.last, tf.Tensor)
    np.testing.assert_array_equal(generator.state, state)


def block(residual):
    def apply(self, x):
        x = self.second(self.first(x))
        return x + 1 if residual else self.act(x)

    parts = {"first": LAYERS.Dense(4, "relu"), "second": LAYERS.Dense(4)}
    return Holds(apply, **parts, act=ops.sigmoid)


@pytest.mark.parametrize("residual", [False, True])
def test_outputs_of_a_block(residual):
    """The layer that returns the output is left alone, not the whole block."""
    acceleration = accelerate(sequential(block(residual)))
    found = {row.activation: row.left_alone for row in acceleration.rows}
    assert found == {"relu": None, "sigmoid": None if residual else "output"}
    assert bool(acceleration.notes) == residual


def test_a_model_that_is_not_built(recwarn):
    model = keras.Sequential([LAYERS.Dense(3, "relu"), LAYERS.Dense(2, "tanh")])
    acceleration = accelerate(model)
    assert f"{model.name!r} is not built" in str(acceleration)
    assert [row.activation for row in acceleration.left_alone] == ["tanh"]
    assert not [each for each in recwarn if each.category is UserWarning]


class Classifier(keras.Model):
    """Its last activation is known only after it has been called."""

    def __init__(self):
        super().__init__(name="classifier")
        self.hidden = LAYERS.Dense(4, "relu", name="hidden")
        self.head = LAYERS.Dense(1, "sigmoid", name="head")

    def call(self, x):
        return self.head(self.hidden(x))


def test_an_output_that_may_be_accelerated(recwarn):
    model = Classifier()
    with pytest.warns(UserWarning, match="of 'classifier' are not known") as caught:
        accelerate(model).remove()
    assert "Call it once before `accelerate`" in str(caught[0].message)
    assert {each.filename for each in caught} == {__file__}
    recwarn.clear()
    with accelerate(model, layers="hidden") as acceleration:
        assert "not known" in str(acceleration)
    model(X)
    with accelerate(model) as acceleration:
        assert [row.layer for row in acceleration.accelerated] == ["hidden"]
    assert not [each for each in recwarn if each.category is UserWarning]


def test_outputs_of_a_model_without_a_call(recwarn):
    class GAN(keras.Model):
        def __init__(self):
            super().__init__(name="gan")
            self.generator = sequential(
                LAYERS.Dense(4, "relu"), LAYERS.Dense(4, "tanh")
            )
            self.discriminator = sequential(
                LAYERS.Dense(4, "relu"), LAYERS.Dense(1, "sigmoid")
            )

    acceleration = accelerate(GAN())
    assert {row.activation for row in acceleration.accelerated} == {"relu"}
    assert {row.left_alone for row in acceleration.left_alone} == {"output"}
    assert not acceleration.notes
    assert not [each for each in recwarn if each.category is UserWarning]


def test_the_table_is_that_of_now():
    model = sequential(LAYERS.Dense(4, "relu"), LAYERS.Dense(2))
    acceleration = accelerate(model)
    gaaf_keras.match_dropout(model, X, rate=0.5)
    assert "DropoutMatched" in str(acceleration)
    acceleration.remove()
    assert "(removed)" in str(acceleration)


class Traced(LAYERS.Layer):
    """Its `call` has a condition that only a `tf.function` can compile."""

    def __init__(self):
        super().__init__()
        self.dense, self.act = LAYERS.Dense(4, "tanh"), keras.activations.relu

    def build(self, shape):
        self.dense.build(shape)

    @tf.function
    def call(self, x):
        x = self.act(self.dense(x))
        if tf.reduce_sum(x) < 0:
            x = -x
        return x


@pytest.mark.parametrize("layer", [Traced, lambda: LAYERS.Dense(4, "tanh")])
def test_a_call_that_is_a_tf_function(layer):
    model = sequential(layer(), LAYERS.Dense(2))
    if layer is not Traced:
        model.call = tf.function(model.call)
    plain, before = gradients(model), attributes(model)
    assert_only_training_changes(model, lambda training: gradients(model, training))
    assert attributes(model) == before
    model.compile("sgd", "mse", jit_compile=False)
    with accelerate(model):
        accelerated = gradients(model)
        model.fit(X, X[:, :2], verbose=0)
    assert any(np.any(a != b) for a, b in zip(accelerated, plain, strict=True))


def after_training(in_place):
    hidden = "tanh" if in_place else gaaf_keras.GAAFTanh()
    model = sequential(LAYERS.Dense(4, hidden), LAYERS.Dense(2))
    if in_place:
        accelerate(model)
    model.compile("sgd", "mse", jit_compile=False)
    model.fit(X, X[:, :2], verbose=0)
    return model, accelerated_layers(model)[0]


def test_what_a_compiled_step_does_not_read():
    _, accelerated = after_training(in_place=True)
    with pytest.warns(UserWarning, match="keep strength 1 in 'dense"):
        accelerated.strength = 5.0
    with pytest.warns(UserWarning, match="keep shape function Gaussian"):
        accelerated.shape_function = "constant"


@pytest.mark.parametrize("in_place", [False, True])
def test_matching_after_training_compiles_again(in_place, recwarn):
    model, accelerated = after_training(in_place)
    gaaf_keras.match_dropout(model, X, rate=0.5)
    assert not [each for each in recwarn if each.category is UserWarning]
    model.fit(X, X[:, :2], verbose=0)
    with pytest.warns(UserWarning, match="keep shape function DropoutMatched"):
        accelerated.shape_function = "constant"


def test_a_dictionary_with_a_key_named_call():
    model = holding(lambda self, x: self.acts["call"](x), acts={"call": tf.nn.relu})
    value = model(X, training=True)
    with accelerate(model) as acceleration:
        (row,) = acceleration.accelerated
        assert (row.activation, row.argument) == ("relu", "acts/call")
        np.testing.assert_array_equal(model(X, training=True), value)
