"""Existing models accelerated in place: exact, and reversible without a trace."""

import copy
import pickle

import keras
import numpy as np
import pytest

import gaaf_keras
from gaaf_keras import GAAFReLU, GAAFTanh, accelerate, restore, summary
from gaaf_keras._core import exchange
from tests.acceleration.zoo import (
    LAYERS,
    MODELS,
    architecture,
    assert_known_as,
    assert_only_training_changes,
    assert_same,
    attributes,
    data_for,
    outputs,
    sequential,
    unchanged,
)
from tests.gradients import value_and_gradient

# All kinds on TensorFlow; where JAX and PyTorch could differ on those.
ON_OTHER_BACKENDS = ("mixed precision", "prelu", "wide", "operations", "wrapped")
NAMES = MODELS if keras.backend.backend() == "tensorflow" else ON_OTHER_BACKENDS
models = pytest.mark.parametrize("name", NAMES)


@models
def test_nothing_but_the_gradient_changes(name):
    make, count = MODELS[name]
    model = make()
    values = [outputs(model, training) for training in (False, True)]
    config, before = architecture(model), attributes(model)
    with accelerate(model) as acceleration:
        assert len(acceleration.accelerated) == count
        assert len(summary(model).accelerated) == count
        for training in (False, True):
            assert_same(outputs(model, training), values[training])
        assert architecture(model) == config
    assert attributes(model) == before
    assert not summary(model).accelerated
    for training in (False, True):
        assert_same(outputs(model, training), values[training])


@pytest.mark.once
@pytest.mark.parametrize("name", sorted(set(NAMES) - {"masked"}))  # has no gradient
def test_gradients_differ_in_training_only(name):
    model = MODELS[name][0]()
    x = data_for(model)
    if name == "wide":
        inputs = keras.Input((8,))
        parts = keras.ops.split(inputs, 2, axis=1)
        model, x = keras.Model(inputs, model(parts)["a"]), np.concatenate(x, 1)

    def gradients(training):
        function = lambda x: keras.ops.sum(  # noqa: E731
            keras.ops.cast(model(x, training=training), "float32")
        )
        with unchanged(model):
            return [value_and_gradient(function, x, np.float32(1))[1]]

    assert_only_training_changes(model, gradients)


def small(tanh="tanh", relu=None):
    keras.utils.set_random_seed(3)
    return sequential(
        LAYERS.Dense(5, activation=tanh, name="hidden"),
        relu or LAYERS.ReLU(),
        LAYERS.Dropout(0.2, seed=1),
        LAYERS.BatchNormalization(),
        LAYERS.Dense(2),
    )


def fit(model, epochs=2):
    random = np.random.default_rng(0)
    x, y = random.normal(size=(24, 4)), random.normal(size=(24, 2))
    if not model.compiled:
        model.compile(keras.optimizers.Adam(0.01), "mse", jit_compile=False)
    history = model.fit(
        *(x.astype("float32"), y.astype("float32")),
        batch_size=8,
        epochs=epochs,
        shuffle=False,
        validation_split=0.25,
        verbose=0,
    )
    return [*model.get_weights(), *history.history.values()]


def test_trains_like_a_model_written_with_gaaf_layers():
    written = small(GAAFTanh(), GAAFReLU())
    model = small()
    with accelerate(model, unit_gain=False):
        assert_same(fit(model), fit(written))


CHANGES = {
    "accelerate": lambda model, x: accelerate(model),
    "restore": lambda model, x: restore(model),
    "match_dropout": lambda model, x: gaaf_keras.match_dropout(
        model, x, {"hidden_activation": 0.5}
    ),
}
once = pytest.mark.once


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=once if name != "restore" else ()) for name in CHANGES],
)
def test_changes_by_a_callback(name):
    """`fit` goes on like a second `fit`."""

    def trained(at_once):
        model = small()
        model.compile(keras.optimizers.SGD(0.1), "mse")
        if name != "accelerate":
            accelerate(model)
        x = np.random.default_rng(0).normal(size=(24, 4)).astype("float32")

        def change(epoch, logs=None):
            if epoch == 0:
                CHANGES[name](model, x)

        callback = keras.callbacks.LambdaCallback(on_epoch_end=change)
        for start, end in [(0, 2)] if at_once else [(0, 1), (1, 2)]:
            model.fit(
                *(x, x[:, :2]),
                initial_epoch=start,
                epochs=end,
                callbacks=[callback],
                shuffle=False,
                verbose=0,
            )
        return model.get_weights()

    assert_same(trained(at_once=True), trained(at_once=False))


def test_trains_on_as_if_it_had_never_been_accelerated():
    never, model = small(), small()
    assert_same(fit(never), fit(model))
    acceleration = accelerate(model)
    accelerated = fit(model)
    acceleration.remove()
    plain = fit(never)
    assert any(np.any(a != b) for a, b in zip(accelerated, plain, strict=True))
    model.set_weights(never.get_weights())
    for ours, theirs in zip(
        model.optimizer.variables, never.optimizer.variables, strict=True
    ):
        ours.assign(theirs)
    assert_same(fit(model), fit(never))


def test_twenty_steps_by_hand():
    """Plain SGD on half the summed squares, against a float64 derivation in NumPy."""
    random = np.random.default_rng(0)
    x = random.normal(size=(6, 4)).astype("float32")
    y = random.normal(size=(6, 2)).astype("float32")
    model = sequential(
        LAYERS.Dense(5, activation="tanh"), LAYERS.ReLU(), LAYERS.Dense(2)
    )
    model.set_weights(
        [random.normal(size=w.shape).astype("float32") for w in model.get_weights()]
    )
    weights = [w.astype("float64") for w in model.get_weights()]
    step = lambda z: 1 / (1 + np.exp(-5 * (z + 0.5)))  # noqa: E731
    for _ in range(20):
        w1, b1, w2, b2 = weights
        net = x @ w1 + b1
        tanh = np.tanh(net)
        relu = np.maximum(tanh, 0)
        error = (relu @ w2 + b2) - y
        # Both derivatives are at most 1, and with half the shape 1.5.
        at_tanh = (error @ w2.T) * ((tanh > 0) + 0.5 * step(tanh)) / 1.5
        at_net = at_tanh * (1 / np.cosh(net) ** 2 + 0.5 * np.exp(-(net**2) / 4)) / 1.5
        gradients = [x.T @ at_net, at_net.sum(0), relu.T @ error, error.sum(0)]
        weights = [w - 0.02 * g for w, g in zip(weights, gradients, strict=True)]

    model.compile(
        keras.optimizers.SGD(0.02),
        loss=lambda true, predicted: keras.ops.sum(
            0.5 * keras.ops.square(true - predicted)
        ),
    )
    start = model.get_weights()
    for _ in range(20):
        model.train_on_batch(x, y)
    assert np.abs(model.get_weights()[0] - weights[0]).max() > 1e-2
    model.set_weights(start)
    with accelerate(model, strength=0.5):
        for _ in range(20):
            model.train_on_batch(x, y)
    for ours, theirs in zip(model.get_weights(), weights, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_whatever_ends_the_block(error):
    model = small()
    fit(model)
    before = attributes(model)

    def stop(epoch, logs):
        raise error

    stopping = keras.callbacks.LambdaCallback(on_epoch_end=stop)
    with pytest.raises(error), accelerate(model):
        model.fit(np.zeros((3, 4)), np.zeros((3, 2)), callbacks=[stopping], verbose=0)
    assert attributes(model) == before


@pytest.mark.once
@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_all_or_nothing(error, monkeypatch):
    model = small()
    before = attributes(model)
    put, count = exchange.Exchanges.put, 0

    def failing(*arguments):
        nonlocal count
        count += 1
        put(*arguments)
        if count == 4:
            raise error

    monkeypatch.setattr(exchange.Exchanges, "put", failing)
    with pytest.raises(error):
        accelerate(model)
    assert attributes(model) == before


def test_remove_and_restore():
    model = small()
    before = attributes(model)
    acceleration = accelerate(model)
    acceleration.remove()
    acceleration.remove()
    assert attributes(model) == before
    with pytest.raises(RuntimeError, match="was removed"):
        acceleration.__enter__()
    accelerate(model)
    restore(model)
    assert attributes(model) == before
    with pytest.raises(ValueError, match="nothing to restore"):
        restore(model)


def test_what_is_written_meanwhile_is_plain(tmp_path):
    model, plain = small(), small()
    with accelerate(model):
        for each in (model, plain):
            each.build((None, 4))
            each.save(tmp_path / f"{each is model}.keras")
            each.save_weights(tmp_path / f"{each is model}.weights.h5")
        twins = [
            keras.models.clone_model(model),
            copy.deepcopy(model),
            pickle.loads(pickle.dumps(model)),
            keras.saving.load_model(tmp_path / "True.keras"),
            type(model).from_config(model.get_config()),
        ]
        assert len(summary(model).accelerated) == 2
    for twin in twins:
        assert not summary(twin).accelerated
        assert [row.activation for row in summary(twin).rows] == ["tanh", "relu"]
    plain.load_weights(tmp_path / "True.weights.h5")
    assert_same(outputs(plain), outputs(model))
    assert b"gaaf" not in (tmp_path / "True.keras").read_bytes()


def test_schedule_in_place():
    """The strength changes in the compiled step, and is not a weight."""
    written, model = small(GAAFTanh(name="hidden_activation"), GAAFReLU()), small()
    weights = len(model.weights)

    def trained(model):
        schedule = {"hidden_activation": lambda epoch: 0.5 if epoch else 2.0}
        callback = gaaf_keras.AccelerationSchedule(schedule)
        x = np.random.default_rng(0).normal(size=(24, 4)).astype("float32")
        model.fit(x, x[:, :2], epochs=3, verbose=0, shuffle=False, callbacks=[callback])
        return model.get_weights()

    for each in (written, model):
        each.compile(keras.optimizers.SGD(0.1), "mse")
        each.optimizer.build(each.trainable_variables)
    before = attributes(model)
    with accelerate(model, unit_gain=False):
        assert_same(trained(model), trained(written))
        assert len(model.weights) == weights
        (tanh, _) = gaaf_keras.layers.accelerated_layers(model)
        assert tanh.strength == 0.5
    assert attributes(model) == before


class Block(LAYERS.Layer):
    """A user's layer that cannot be rebuilt from its configuration."""

    def __init__(self, units, act):
        super().__init__()
        self.act = keras.activations.get(act)
        self.parts = {
            "first": [LAYERS.Dense(units, act)],
            "second": LAYERS.Dense(units),
        }
        self.functions = [keras.ops.tanh, "text"]

    def call(self, x):
        for part in self.parts["first"]:
            x = part(x)
        return self.functions[0](self.act(self.parts["second"](x)))


class Network(keras.Model):
    """A model of the user's own class."""

    def __init__(self):
        super().__init__(name="network")
        self.first = LAYERS.Dense(4, activation="elu", name="first")
        self.blocks = [Block(4, "relu"), Block(4, "gelu")]
        self.head = LAYERS.Dense(2, activation="sigmoid", name="head")

    def call(self, x):
        x = self.first(x)
        for block in self.blocks:
            x = x + block(x)
        return self.head(x)


def test_a_model_of_ones_own_class():
    model = Network()
    model.compile(keras.optimizers.SGD(0.1), "mse")
    x = np.random.default_rng(0).normal(size=(8, 4)).astype("float32")
    model.fit(x, x[:, :2], verbose=0)
    before, value = attributes(model), outputs_of(model, x)
    with accelerate(model) as acceleration:
        rows = {
            (row.layer.partition("/")[0][:5], row.argument, row.activation)
            for row in acceleration.accelerated
        }
        assert rows == {
            ("first", "activation", "elu"),
            ("block", "act", "relu"),
            ("block", "act", "gelu"),
            ("block", "activation", "relu"),
            ("block", "activation", "gelu"),
            ("block", "functions/0", "tanh"),
        }
        assert [(row.layer, row.left_alone) for row in acceleration.left_alone] == [
            ("head", "output")
        ]
        assert not acceleration.notes
        assert_same(outputs_of(model, x), value)
        model.fit(x, x[:, :2], verbose=0)
    assert attributes(model) == before


def outputs_of(model, x):
    return [
        keras.ops.convert_to_numpy(model(x, training=training))
        for training in (False, True)
    ]


def functions_of_the_backend():
    """Functions that users of a backend give as `activation=`, and their meaning."""
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        return {tf.nn.relu: "relu", tf.tanh: "tanh", tf.nn.silu: "silu"}
    if keras.backend.backend() == "jax":
        import jax

        names = ("relu", "relu6", "elu", "selu", "silu", "mish", "softplus")
        names += ("gelu", "leaky_relu", "log_sigmoid", "hard_tanh", "squareplus")
        names += ("tanh", "sigmoid")
        return {getattr(jax.nn, name): name for name in names}
    import torch
    from torch.nn import functional

    names = ("relu", "relu6", "elu", "selu", "silu", "mish", "softplus")
    names += ("gelu", "leaky_relu", "hardtanh", "hardswish", "softsign")
    others = {"hardtanh": "hard_tanh", "hardswish": "hard_silu"}
    return {
        torch.tanh: "tanh",
        torch.sigmoid: "sigmoid",
        **{getattr(functional, name): others.get(name, name) for name in names},
    }


def test_functions_of_the_backend():
    for function, known in functions_of_the_backend().items():
        assert_known_as(known, function)


if keras.backend.backend() == "torch":

    def test_modules_of_pytorch():
        import torch

        class Held(LAYERS.Layer):
            def __init__(self):
                super().__init__()
                self.dense = LAYERS.Dense(4, torch.nn.functional.relu)
                self.act = torch.nn.LeakyReLU(inplace=True)

            def call(self, x):
                return self.act(self.dense(x))

        model = sequential(Held(), LAYERS.Dense(3, torch.nn.GELU()), LAYERS.Dense(2))
        acceleration = accelerate(model)
        assert [row.activation for row in acceleration.accelerated] == ["relu"]
        reason = "a `torch.nn` module: give a function"
        assert [
            (row.activation, row.left_alone) for row in acceleration.left_alone
        ] == [
            ("LeakyReLU", reason),
            ("GELU", reason),
        ]


if keras.backend.backend() == "jax":  # Keras distributes on no other

    def test_distribution():
        """Keeps the layouts of variables."""
        devices = keras.distribution.list_devices()
        keras.distribution.set_distribution(
            keras.distribution.DataParallel(devices=devices)
        )
        try:
            written, model = small(GAAFTanh(), GAAFReLU()), small()
            with accelerate(model, unit_gain=False):
                assert_same(fit(model), fit(written))
            layouts = [[w.value.sharding for w in m.weights] for m in (model, written)]
            assert layouts[0] == layouts[1]
        finally:
            keras.distribution.set_distribution(None)

    def test_stateless_call():
        """Keras calls only the method, and tells the layers inside nothing."""
        import jax

        inputs = keras.Input((4,))
        x = keras.ops.relu(LAYERS.Dense(5)(inputs))
        model = keras.Model(inputs, LAYERS.Dense(2)(x))
        values = np.random.default_rng(0).normal(size=(8, 4)).astype("float32")

        def gradients(training):
            def total(variables):
                rest = model.non_trainable_variables
                found, _ = model.stateless_call(
                    variables, rest, values, training=training
                )
                return (found**2).sum()

            return jax.grad(total)([v.value for v in model.trainable_variables])

        assert_only_training_changes(model, gradients)
