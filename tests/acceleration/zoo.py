"""Small models of every kind, with the number of accelerated activations."""

import contextlib
import json

import keras
import numpy as np

from gaaf_keras import accelerate
from gaaf_keras._core.calls import operations_in

LAYERS = keras.layers


def sequential(*layers, shape=(4,), **arguments):
    return keras.Sequential([keras.Input(shape), *layers], **arguments)


def wide_functional():
    """Two inputs, two outputs, a layer used twice, a nested model used twice."""
    first, second = keras.Input((4,), name="first"), keras.Input((4,), name="second")
    shared = LAYERS.Dense(5, activation="tanh", name="shared")
    inner = sequential(
        LAYERS.Dense(5, activation="relu", name="inner_dense"),
        LAYERS.LeakyReLU(name="inner_leaky"),
        shape=(5,),
        name="inner",
    )
    x, y = inner(shared(first)), inner(shared(second))
    joined = LAYERS.Concatenate()([x, y])
    probability = LAYERS.Dense(1, activation="sigmoid", name="probability")(joined)
    classes = LAYERS.Dense(3, activation="softmax", name="classes")(joined)
    return keras.Model([first, second], {"a": probability, "b": classes}, name="wide")


def tied():
    """Two nested models that share a layer with each other and with the outer one."""
    dense = LAYERS.Dense(4, activation="tanh", name="tied")
    make = lambda name: keras.Model(  # noqa: E731
        inputs := keras.Input((4,)), dense(inputs), name=name
    )
    inputs = keras.Input((4,))
    x = make("right")(make("left")(dense(inputs)))
    return keras.Model(inputs, LAYERS.Dense(2)(x))


def operations():
    inputs = keras.Input((4,))
    x = keras.ops.relu(LAYERS.Dense(4)(inputs))
    x = keras.ops.leaky_relu(x, 0.1) * keras.ops.sigmoid(x)
    return keras.Model(inputs, LAYERS.Dense(2)(x))


def recurrent():
    inputs = keras.Input((5, 4))
    x = LAYERS.Bidirectional(LAYERS.LSTM(3, return_sequences=True))(inputs)
    x = LAYERS.TimeDistributed(LAYERS.Dense(4, activation="relu"))(x)
    x = LAYERS.RNN([LAYERS.GRUCell(3), LAYERS.SimpleRNNCell(2)])(x)
    return keras.Model(inputs, LAYERS.Dense(2)(x))


def self_attention():
    inputs = keras.Input((5, 4))
    x = LAYERS.MultiHeadAttention(2, 3)(inputs, inputs)
    x = LAYERS.Dense(6, activation="gelu")(LAYERS.LayerNormalization()(x))
    return keras.Model(inputs, LAYERS.Dense(2)(x))


def output_of_a_nested_model():
    inputs = keras.Input((4,))
    body = sequential(
        LAYERS.Dense(4, activation="relu"), LAYERS.Dense(3, activation="sigmoid")
    )
    return keras.Model(inputs, LAYERS.Reshape((3, 1))(body(inputs)))


def masked():
    """The operation passes no mask on, the layer does."""
    inputs = keras.Input((5,), dtype="int32")
    x = keras.ops.relu(LAYERS.Embedding(5, 4, mask_zero=True)(inputs))
    x = LAYERS.GlobalAveragePooling1D()(x)
    y = LAYERS.ReLU()(LAYERS.Embedding(5, 4, mask_zero=True)(inputs))
    y = LAYERS.GlobalAveragePooling1D()(y)
    return keras.Model(inputs, LAYERS.Dense(2)(LAYERS.Concatenate()([x, y])))


# What to build, and how many activations are accelerated.
MODELS = {
    "dense": (
        lambda: sequential(LAYERS.Dense(3, activation="relu"), LAYERS.Dense(2)),
        1,
    ),
    "activation": (
        lambda: sequential(LAYERS.Activation("relu", name="act"), LAYERS.Dense(2)),
        1,
    ),
    "relu6": (lambda: sequential(LAYERS.ReLU(max_value=6), LAYERS.Dense(2)), 1),
    "leaky": (lambda: sequential(LAYERS.LeakyReLU(), LAYERS.Dense(2)), 1),
    "elu": (lambda: sequential(LAYERS.ELU(0.5), LAYERS.Dense(2)), 1),
    "prelu": (lambda: sequential(LAYERS.Dense(3), LAYERS.PReLU(), LAYERS.Dense(2)), 1),
    "layer as activation": (
        lambda: sequential(
            LAYERS.Dense(3, activation=LAYERS.LeakyReLU(0.1)), LAYERS.Dense(2)
        ),
        1,
    ),
    "regularised": (
        lambda: sequential(
            LAYERS.ReLU(activity_regularizer=keras.regularizers.L2(0.1)),
            LAYERS.Activation("tanh", activity_regularizer="l1"),
            LAYERS.Dense(2),
        ),
        2,
    ),
    "mixed precision": (
        lambda: sequential(
            LAYERS.Dense(3, activation="tanh", dtype="mixed_bfloat16"),
            LAYERS.Activation("relu", dtype="mixed_bfloat16"),
            LAYERS.Dense(2, dtype="float32"),
        ),
        2,
    ),
    "wide": (wide_functional, 3),
    "tied": (tied, 1),
    "operations": (operations, 3),
    "recurrent": (recurrent, 1),
    "before an lstm": (
        lambda: sequential(
            LAYERS.Dense(3, "relu"), LAYERS.LSTM(3), LAYERS.Dense(2), shape=(5, 4)
        ),
        1,
    ),
    "attention": (self_attention, 1),
    "output of a nested model": (output_of_a_nested_model, 1),
    "masked": (masked, 2),
    "not trainable": (
        lambda: sequential(
            LAYERS.PReLU(trainable=False),
            LAYERS.Activation("tanh", trainable=False),
            LAYERS.Dense(2),
        ),
        2,
    ),
    "lambda": (
        lambda: sequential(
            LAYERS.Dense(3, activation="relu"),
            LAYERS.Lambda(lambda x: 2 * x),
            LAYERS.Dense(2, activation=lambda x: 3 * x),
        ),
        1,
    ),
    "separable": (
        lambda: sequential(
            LAYERS.SeparableConv2D(3, 3, activation="silu"),
            LAYERS.Conv2DTranspose(3, 3, activation="elu"),
            LAYERS.GlobalAveragePooling2D(),
            LAYERS.Dropout(0.5),
            LAYERS.Dense(2),
            shape=(6, 6, 3),
        ),
        2,
    ),
    "wrapped": (
        lambda: sequential(
            LAYERS.SpectralNormalization(LAYERS.Dense(3, activation="relu")),
            LAYERS.Dense(2),
        ),
        1,
    ),
}


def data_for(model, seed=0, batch=3):
    random = np.random.default_rng(seed)

    def values(tensor):
        shape = (batch, *tensor.shape[1:])
        if tensor.dtype == "int32":
            return random.integers(0, 5, shape).astype("int32")
        return random.normal(size=shape, scale=2).astype(tensor.dtype)

    return keras.tree.map_structure(
        values,
        model.inputs[0] if len(model.inputs) == 1 else model.inputs,
    )


@contextlib.contextmanager
def unchanged(model):
    """Restores moving averages and random states afterwards."""
    values = [keras.ops.copy(variable) for variable in model.variables]
    yield
    for variable, value in zip(model.variables, values, strict=True):
        variable.assign(value)


def outputs(model, training=False):
    with unchanged(model):
        values = keras.tree.flatten(model(data_for(model), training=training))
    return [keras.ops.convert_to_numpy(keras.ops.cast(v, "float32")) for v in values]


def assert_same(first, second):
    for ours, theirs in zip(first, second, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def assert_only_training_changes(model, gradients):
    """Accelerates a model; `gradients(training)` returns its list of gradients."""
    at_inference, plain = gradients(False), gradients(True)
    with accelerate(model, unit_gain=False):
        assert_same(gradients(False), at_inference)
        changed = gradients(True)
    assert all(np.all(np.isfinite(each)) for each in changed)
    difference = [np.abs(a - b).max() for a, b in zip(changed, plain, strict=True)]
    assert max(difference) > 1e-3
    assert_same(gradients(True), plain)


def architecture(model):
    return json.loads(model.to_json())["config"]


# What Keras itself changes as it calls and trains a model.
_OF_KERAS = (
    *("_called", "_losses", "_eval_epoch_iterator"),
    *("history", "train_function", "stop_training"),
    *("_jax_state", "_torch_params", "training"),
)


def attributes(model):
    """The attributes of every layer and operation, for comparison."""

    def value(item):
        if isinstance(item, (list, tuple)):
            return [value(each) for each in item]
        if isinstance(item, dict):
            return {
                key: value(each) for key, each in item.items() if key not in _OF_KERAS
            }
        return id(item)

    return {
        f"{operation.name}.{key}": value(item)
        for operation in operations_in(model)
        for key, item in vars(operation).items()
        if key not in _OF_KERAS
    }


def assert_known_as(known, function):
    """Accelerates a function as an activation by name, and puts it back."""
    model = sequential(LAYERS.Dense(3, function, name="act"), LAYERS.Dense(2))
    value, before = outputs(model), attributes(model)
    with accelerate(model) as acceleration:
        (row,) = acceleration.accelerated
        assert row.activation == known
        assert_same(outputs(model, training=True), value)
    assert attributes(model) == before
