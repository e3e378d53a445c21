"""The paper's networks: their layers, sizes and outputs."""

import itertools
import re

import keras
import numpy as np
import pytest

import gaaf_keras
from experiments import (
    TrainingConfig,
    UsageError,
    names,
    networks,
    train_and_evaluate,
)
from experiments.config import MODELS
from experiments.data import datasets
from experiments.networks import Network
from gaaf_keras import GAAF, GAAFReLU, GAAFTanh, Gaussian
from gaaf_keras._core.known_activations import ACTIVATIONS
from gaaf_keras.layers import accelerated_layers
from gaaf_keras.shapes.base import DEFINED

LAYERS = keras.layers
SOFTMAX = LAYERS.Softmax()


def kinds(model):
    return [type(layer).__name__ for layer in model.layers]


def test_paper_mlp():
    model = networks.mlp((28, 28, 1), 10)
    assert [layer.units for layer in model.layers if hasattr(layer, "units")] == [
        *(512, 256, 256),
        10,
    ]
    sizes = [784, 512, 256, 256, 10]
    weights = sum((a + 1) * b for a, b in itertools.pairwise(sizes))
    assert model.count_params() == weights
    limit = np.sqrt(6 / (784 + 512))  # the edge of the paper's first histogram: 0.068
    kernel = keras.ops.convert_to_numpy(model.get_layer("dense_1").kernel)
    assert np.abs(kernel).max() == pytest.approx(limit, rel=1e-3)


def test_mlp_with_everything():
    model = networks.mlp(
        (8, 8, 1), 10, (5, 4), activation="gaaf_tanh", dropout=0.3, batch_norm=True
    )
    hidden = ["Dense", "BatchNormalization", "GAAFTanh", "Dropout"]
    assert kinds(model) == ["InputLayer", "Rescaling", "Flatten", *hidden * 2, "Dense"]
    assert {layer.rate for layer in model.layers if hasattr(layer, "rate")} == {0.3}


def test_cnn():
    model = networks.cnn((32, 32, 3), 7, width=8, activation="gaaf_relu", dropout=0.2)
    convolution = ["Conv2D", "GAAFReLU"]
    stage = [*convolution * 2, "MaxPooling2D", "Dropout"]
    dense = ["Flatten", "Dense", "GAAFReLU", "Dropout", "Dense"]
    assert kinds(model) == ["InputLayer", "Rescaling", *stage * 3, *dense]
    filters = [layer.filters for layer in model.layers if hasattr(layer, "filters")]
    assert filters == [8, 8, 16, 16, 32, 32]
    assert model.output_shape == (None, 7)
    assert model.get_layer("flatten").output.shape == (None, 4 * 4 * 32)


def test_cnn_normalises_before_each_hidden_activation():
    layers = kinds(networks.cnn((32, 32, 3), 10, width=4, batch_norm=True))
    before = [layers[i - 1] for i, layer in enumerate(layers) if layer == "Activation"]
    assert before == ["BatchNormalization"] * 7
    assert "Dropout" not in layers


def test_residual_mlp():
    model = networks.resmlp(
        (8, 8, 1), 10, (5, 4), 6, activation="gaaf_relu", dropout=0.2, batch_norm=True
    )
    block = ["LayerNormalization", "Dense", "BatchNormalization", "GAAFReLU"]
    block += ["Dropout", "Dense", "Add"]
    start, end = ["InputLayer", "Rescaling", "Flatten", "Dense"], ["LayerNormalization"]
    assert kinds(model) == [*start, *block * 2, *end, "Dense"]
    units = [layer.units for layer in model.layers if hasattr(layer, "units")]
    assert units == [6, 5, 6, 4, 6, 10]
    skip, branch = model.get_layer("add_2").input
    assert skip is model.get_layer("add_1").output
    assert branch is model.get_layer("projection_2").output


@pytest.mark.parametrize(
    ("given", "state", "gates"),
    [
        ({"activation": "tanh"}, None, None),
        ({"activation": "gaaf_tanh", "strength": 0.3}, (0.3, False), (0.3, False)),
        ({"activation": "gaaf_tanh", "unit_gain": True}, (1.0, True), (1.0, True)),
        ({"activation": "gaaf_elu", "gates_alone": True}, None, (1.0, False)),
    ],
)
def test_what_is_accelerated_in_the_lstm(given, state, gates):
    config = TrainingConfig(model="lstm", width=6, dropout=0.1, **given)
    model = Network(config, datasets.load("digits")).model()
    layers = [*("InputLayer", "Rescaling", "Reshape"), *("LSTM", "Dropout", "Dense")]
    assert kinds(model) == layers
    assert model.get_layer("rows").output.shape == (None, 8, 8)
    lstm = model.get_layer("lstm")
    base = config.activation.removeprefix("gaaf_")
    for found, expected, name in (
        (lstm.activation, state, base),
        (lstm.recurrent_activation, gates, "sigmoid"),
    ):
        if expected is None:
            assert found is keras.activations.get(name)
        else:
            assert found.activation is keras.activations.get(name)
            settings = found.get_config()
            assert (settings["strength"], settings["unit_gain"]) == expected


def test_the_lstm_is_accelerated_as_accelerate_does_if_it_is_named(tmp_path):
    gradients = []
    x = np.random.default_rng(0).uniform(0, 16, (4, 8, 8, 1)).astype("float32")
    for activation in ("tanh", "gaaf_tanh"):
        keras.utils.set_random_seed(1)
        settings = {"activation": activation, "unit_gain": activation != "tanh"}
        config = TrainingConfig(model="lstm", width=5, **settings)
        model = Network(config, datasets.load("digits")).model()
        if activation == "tanh":
            gaaf_keras.accelerate(model, layers="lstm")
        model.compile("sgd", "mse")
        model.train_on_batch(x, np.ones((4, 10)))
        gradients.append(model.get_weights())
    for ours, theirs in zip(*gradients, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-6, atol=1e-7)


def test_names_are_those_of_the_package():
    known = {row.name for row in ACTIVATIONS if row.default_shape} - {"linear"}
    assert set(names.BASE_ACTIVATIONS) == known
    assert tuple(DEFINED) == names.SHAPES


@pytest.mark.parametrize("name", names.ACTIVATIONS)
def test_every_activation_of_the_flag(name):
    model = networks.mlp((2, 2, 1), 3, (4,), activation=name)
    layer = model.get_layer("activation_1")
    plain_or_gaaf = GAAF if name.startswith("gaaf_") else LAYERS.Activation
    kinds_of_their_own = {"gaaf_tanh": GAAFTanh, "gaaf_relu": GAAFReLU}
    assert type(layer) is kinds_of_their_own.get(name, plain_or_gaaf)
    assert layer.activation.__name__ == name.removeprefix("gaaf_")


def test_a_layer_is_copied_for_each_hidden_layer():
    template = GAAF("elu", Gaussian(3.0), strength=0.5)
    model = networks.mlp((2, 2, 1), 3, (4, 4), activation=template)
    first, second = (model.get_layer(f"activation_{i}") for i in (1, 2))
    assert len({id(template), id(first), id(second)}) == 3
    assert first.shape_function == second.shape_function == Gaussian(3.0)
    assert first.strength == 0.5


def test_the_method_as_configured():
    data = datasets.load("digits")
    given = {"shape_function": "gaussian(width=3)", "strength": 0.5, "unit_gain": True}
    model = Network(TrainingConfig(activation="gaaf_tanh", **given), data).model()
    (layer, *_) = accelerated_layers(model)
    assert (layer.shape_function, layer.strength) == (Gaussian(3.0), 0.5)
    assert layer.get_config()["unit_gain"]
    model = Network(TrainingConfig(frequency=100.0), data).model()
    assert accelerated_layers(model)[0].get_config()["frequency"] == 100.0


def test_gaaf_and_plain_networks_compute_the_same():
    x = np.random.default_rng(0).uniform(0, 255, (4, 8, 8, 3)).astype("float32")
    for make in (networks.mlp, networks.cnn, networks.resmlp):
        outputs = []
        for activation in ("tanh", "gaaf_tanh"):
            keras.utils.set_random_seed(1)
            model = make((8, 8, 3), 10, activation=activation, batch_norm=True)
            outputs.append(model.predict(x, verbose=0))
        np.testing.assert_array_equal(*outputs)


def test_pixels_are_standardised_in_the_model():
    model = networks.mlp((2, 1, 2), 3, mean=(10, 200), standard_deviation=(2, 50))
    standardise = keras.Model(model.input, model.get_layer("standardise").output)
    x = np.array([[[[10, 200]], [[14, 150]]]], "float32")
    expected = [[[[0, 0]], [[2, -1]]]]
    np.testing.assert_allclose(standardise.predict(x, verbose=0), expected, atol=1e-5)


def test_images_too_small_for_the_cnn_are_refused():
    split = datasets.Split(np.zeros((3, 4, 9, 1)), np.zeros(3))
    data = datasets.ImageData("tiny", 2, split, split, split)
    with pytest.raises(UsageError, match=r"8x8.*'tiny' has 4x9"):
        Network(TrainingConfig(model="cnn"), data)
    Network(TrainingConfig(model="mlp"), data)


def saved(model, folder):
    path = folder / "start.keras"
    model.save(path)
    return str(path)


def own_model(input_shape=(8, 8, 1), classes=10, activation="softmax"):
    return keras.Sequential(
        [
            keras.Input(input_shape),
            keras.layers.Rescaling(1 / 16),
            keras.layers.Flatten(),
            keras.layers.Dense(12, activation="tanh", name="hidden"),
            keras.layers.Dense(classes, activation=activation, name="last"),
        ],
        name="own",
    )


@pytest.mark.parametrize("accelerate", [False, True])
def test_starting_from_a_file(accelerate, tmp_path):
    model = own_model()
    model.compile(loss=lambda true, predicted: 0 * predicted)  # is not needed again
    path = saved(model, tmp_path)
    given = TrainingConfig(init_from=path, accelerate=accelerate)
    data = datasets.load("digits")
    network = Network(given, data)
    assert (network.acceleration is not None) == accelerate
    first, second = network.model(), network.model()
    assert first is not second
    for built in (first, second):
        assert bool(accelerated_layers(built)) == accelerate
        for ours, theirs in zip(built.get_weights(), model.get_weights(), strict=True):
            np.testing.assert_array_equal(ours, theirs)


def test_a_file_is_loaded_once_for_a_run(tmp_path, monkeypatch):
    path = saved(own_model(), tmp_path)
    loaded = []
    load = keras.saving.load_model
    monkeypatch.setattr(
        keras.saving, "load_model", lambda *a, **k: loaded.append(a) or load(*a, **k)
    )
    train_and_evaluate(TrainingConfig(init_from=path, accelerate=True, epochs=1))
    assert len(loaded) == 1


def frozen(model):
    model.trainable = False
    return model


def after(function):
    """A model that ends in a function of its logits."""
    inputs = keras.Input((8, 8, 1))
    return keras.Model(inputs, function(own_model(activation=None)(inputs)))


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (own_model, True),
        (lambda: own_model(activation=None), False),
        (lambda: after(LAYERS.Softmax()), True),
        (lambda: after(keras.ops.softmax), True),
        (lambda: after(lambda x: (x + x) / 2), False),
        (lambda: after(lambda x: LAYERS.Average()([SOFTMAX(x), SOFTMAX(2 * x)])), True),
        (lambda: after(LAYERS.Activation("linear", dtype="float32")), False),
    ],
)
def test_logits_or_probabilities(make, expected, tmp_path):
    given = TrainingConfig(init_from=saved(make(), tmp_path))
    network = Network(given, datasets.load("digits"))
    assert network.from_logits == (not expected)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: own_model((28, 28, 1)),
            "maps (28, 28, 1) to (10,); data set",
        ),
        (lambda: own_model(classes=3), "maps (8, 8, 1) to (3,)"),
        (
            lambda: own_model(activation="sigmoid"),
            "It ends in: sigmoid",
        ),
        (lambda: keras.Sequential([LAYERS.Dense(10)]), "with a known input"),
        (
            lambda: keras.Sequential(
                [keras.Input((8, 8, 1)), LAYERS.Flatten(), LAYERS.Dense(10)]
            ),
            "in Python, call `gaaf_keras.accelerate(model, layers=...)`",
        ),
        (
            lambda: keras.Model(
                inputs := [keras.Input((8, 8, 1)), keras.Input((8, 8, 1))],
                LAYERS.Dense(10)(LAYERS.Flatten()(LAYERS.Add()(inputs))),
            ),
            "must have one input and one output, a tensor. It has 2 and 1",
        ),
        (
            lambda: keras.Model(
                inputs := keras.Input((8, 8, 1)), {"p": own_model()(inputs)}
            ),
            "It has 1 and 1, in a structure: {'p'",
        ),
        (lambda: frozen(own_model()), "has no weights that can be trained"),
    ],
)
def test_files_that_cannot_be_used(make, message, tmp_path):
    given = TrainingConfig(init_from=saved(make(), tmp_path), accelerate=True)
    with pytest.raises(UsageError, match=re.escape(message)):
        Network(given, datasets.load("digits"))


def test_files_that_cannot_be_read(tmp_path):
    (tmp_path / "broken.keras").write_bytes(b"no zip archive")
    data = datasets.load("digits")
    for name, message in (
        ("none.keras", "cannot be loaded: File not found"),
        ("broken.keras", "cannot be loaded: it is not a zip file"),
    ):
        given = TrainingConfig(init_from=str(tmp_path / name))
        with pytest.raises(UsageError, match=message):
            Network(given, data)


def test_vectors_are_no_images():
    split = datasets.Split(np.zeros((3, 4)), np.zeros(3))
    data = datasets.ImageData("vectors", 2, split, split, split)
    with pytest.raises(UsageError, match="choose the mlp or the resmlp"):
        Network(TrainingConfig(model="lstm"), data)
    Network(TrainingConfig(model="resmlp"), data)


@pytest.mark.parametrize("model", MODELS)
def test_dropout_starts_with_the_weights_of_the_plain_network(model):
    data = datasets.load("digits")

    def started(**settings):
        keras.utils.set_random_seed(3)
        settings = {"hidden_units": (6, 5), "width": 2, "seed": 3, **settings}
        return Network(TrainingConfig(model=model, **settings), data).model()

    plain, dropped = started(), started(dropout=0.5)
    assert len(dropped.layers) > len(plain.layers)
    for one, other in zip(plain.weights, dropped.weights, strict=True):
        np.testing.assert_array_equal(*map(keras.ops.convert_to_numpy, (one, other)))

    def seeds(model):
        return [layer.seed for layer in model.layers if hasattr(layer, "rate")]

    again, other = started(dropout=0.5), started(dropout=0.5, seed=4)
    assert seeds(dropped) == seeds(again)
    assert len({*seeds(dropped), *seeds(other)}) == 2 * len(seeds(dropped))
