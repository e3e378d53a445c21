"""The dropout-matched shape against Monte Carlo noise, and the matching."""

import keras
import numpy as np
import pytest

import gaaf_keras
from gaaf_keras import GAAF, GAAFReLU, GAAFTanh
from gaaf_keras.shapes import DropoutMatched
from tests import reference
from tests.gradients import value_and_gradient

X = np.array([-6.0, -3.0, -1.5, -0.5, -0.05, 0.0, 0.05, 0.3, 1.0, 2.0, 4.0])
STATED_ERROR = {"tanh": 7e-7, "sigmoid": 2e-7, "relu": 0.0}


def total_derivative(activation, noise_std, x):
    shape = DropoutMatched(activation, noise_std)
    added = keras.ops.convert_to_numpy(shape(keras.ops.convert_to_tensor(x)))
    return reference.DERIVATIVES[activation](x) + added


@pytest.mark.once
@pytest.mark.parametrize("noise_std", [0.1, 0.7, 2.0, 5.0])
@pytest.mark.parametrize("activation", STATED_ERROR)
def test_against_a_million_samples(activation, noise_std):
    noise = np.random.default_rng(7).normal(size=1_000_000) * noise_std
    expected = total_derivative(activation, noise_std, X)
    for x, ours in zip(X, expected, strict=True):
        samples = reference.DERIVATIVES[activation](x + noise)
        # At least that of one sample in a million falling elsewhere.
        standard_error = np.sqrt(samples.var() + 1e-6) / 1000
        # Keras computes tanh in float32 on JAX.
        tolerance = 3.5 * standard_error + STATED_ERROR[activation] + 4e-7
        assert abs(samples.mean() - ours) <= tolerance, (x, samples.mean(), ours)


@pytest.mark.parametrize("activation", ["tanh", "sigmoid"])
def test_stated_error_without_noise(activation):
    x = np.linspace(-15, 15, 20_001)
    error = total_derivative(activation, 1e-9, x) - reference.DERIVATIVES[activation](x)
    single = 4e-7 if keras.backend.backend() == "jax" else 0  # tanh in float32
    assert np.abs(error).max() <= STATED_ERROR[activation] + single


def test_gradient_of_the_layer():
    x = X.astype("float32")
    layer = GAAFReLU(shape_function=DropoutMatched("relu", 0.8))
    _, gradient = value_and_gradient(layer, x)
    expected = total_derivative("relu", 0.8, X)
    np.testing.assert_allclose(gradient, expected, atol=2e-6)


def inputs(count=200, width=30):
    return np.random.default_rng(0).normal(size=(count, width)).astype("float32")


def measured_noise_std(linear, activities, rate, draws=400):
    """The standard deviation under real dropout masks, drawn one by one."""
    random = np.random.default_rng(3)
    nets = []
    for _ in range(draws):
        mask = random.random(activities.shape) >= rate
        nets.append(
            keras.ops.convert_to_numpy(
                linear((activities * mask / (1 - rate)).astype("float32"))
            )
        )
    return float(np.sqrt(np.var(nets, axis=0).mean()))


@pytest.mark.once
def test_matching_measures_real_dropout():
    hidden = keras.layers.Dense(20)
    model = keras.Sequential(
        [
            keras.Input((30,)),
            hidden,
            GAAFTanh(name="first"),
            keras.layers.Dense(15, use_bias=False, name="below"),
            keras.layers.BatchNormalization(name="norm"),
            GAAF("relu", name="second"),
            keras.layers.Dense(5, activation=GAAFTanh(name="third"), name="last"),
        ]
    )
    norm = model.get_layer("norm")
    norm.gamma.assign(np.linspace(-1, 2, 15))
    x = inputs()
    noise_stds = gaaf_keras.match_dropout(model, x, rate=0.4)
    assert list(noise_stds) == ["first", "second", "third"]
    assert noise_stds["first"] == pytest.approx(
        measured_noise_std(hidden, x, 0.4), rel=0.05
    )

    def output(name):
        return keras.Model(model.inputs, model.get_layer(name).output)

    first = output("first").predict(x, verbose=0)
    second = output("second").predict(x, verbose=0)  # before the moving averages move
    below = keras.Sequential([model.get_layer("below"), norm])
    assert noise_stds["second"] == pytest.approx(
        measured_noise_std(lambda a: below(a, training=True), first, 0.4), rel=0.05
    )
    kernel, bias = model.get_layer("last").get_weights()
    assert noise_stds["third"] == pytest.approx(
        measured_noise_std(lambda a: a @ kernel + bias, second, 0.4), rel=0.05
    )
    for name, activation in [("first", "tanh"), ("second", "relu")]:
        assert model.get_layer(name).shape_function == DropoutMatched(
            activation, noise_stds[name]
        )


if keras.backend.backend() == "jax":  # the tensors of others warn

    @pytest.mark.filterwarnings("error")
    def test_matching_where_warnings_are_errors():
        layers = [keras.layers.Dense(3), keras.layers.BatchNormalization(), GAAFTanh()]
        model = keras.Sequential([keras.Input((30,)), *layers])
        assert gaaf_keras.match_dropout(model, inputs(), rate=0.5)


def test_matching_of_a_convolution_and_of_chosen_layers():
    model = keras.Sequential(
        [
            keras.Input((6, 6, 2)),
            keras.layers.Conv2D(4, 3, padding="same", strides=2, name="conv"),
            GAAFReLU(name="relu"),
            keras.layers.Flatten(),
            GAAFTanh(name="elsewhere"),
        ]
    )
    x = np.random.default_rng(0).normal(size=(50, 6, 6, 2)).astype("float32")
    noise_stds = gaaf_keras.match_dropout(model, x, rate={"relu": 0.5})
    conv = model.get_layer("conv")
    expected = measured_noise_std(conv, x, 0.5)
    assert noise_stds == {"relu": pytest.approx(expected, rel=0.05)}
    with pytest.raises(ValueError, match="'elsewhere' cannot be matched to dropout"):
        gaaf_keras.match_dropout(model, x, rate=0.5)


def test_matching_of_a_layer_with_lora():
    def made():
        linear = [keras.layers.Conv1D(3, 2, name="one"), keras.layers.Dense(5)]
        normed = [keras.layers.BatchNormalization(), GAAFTanh(name="b")]
        return keras.Sequential(
            [keras.Input((4, 3)), linear[0], GAAFTanh(name="a"), linear[1], *normed]
        )

    adapted, merged = made(), made()
    for theirs, ours in zip(adapted.layers, merged.layers, strict=True):
        ours.set_weights(theirs.get_weights())
        if hasattr(theirs, "enable_lora"):
            theirs.enable_lora(2)
            theirs.lora_kernel_b.assign(np.ones(theirs.lora_kernel_b.shape))
            ours.kernel.assign(theirs.kernel)
    x = inputs(50, 12).reshape(50, 4, 3)
    expected = gaaf_keras.match_dropout(merged, x, 0.5)
    assert gaaf_keras.match_dropout(adapted, x, 0.5) == pytest.approx(
        expected, rel=1e-5
    )


@pytest.mark.parametrize("axis", [1, 2])
def test_matching_of_what_is_normalised_along_another_axis(axis):
    rng = np.random.default_rng(0)
    norm = keras.layers.BatchNormalization(axis=axis, momentum=0)
    model = keras.Sequential(
        [keras.Input((4, 3)), keras.layers.Dense(5), norm, GAAFTanh(name="act")]
    )
    norm.gamma.assign(rng.uniform(0.5, 2, norm.gamma.shape).astype("float32"))
    x = rng.normal(size=(400, 4, 3)).astype("float32")
    dense = model.layers[0]
    below = keras.Sequential([dense, norm])
    expected = measured_noise_std(lambda a: below(a, training=True), x, 0.4)
    (noise_std,) = gaaf_keras.match_dropout(model, x, 0.4).values()
    assert noise_std == pytest.approx(expected, rel=0.05)


def test_real_dropout_of_a_finite_layer_is_near():
    """The expected derivative under real masks, and the Gaussian one."""
    random = np.random.default_rng(0)
    activities = np.tanh(random.normal(size=(1, 100)))
    weights = random.normal(size=(100, 40)) / 10
    net = activities @ weights
    masks = random.random((4000, 100)) >= 0.5
    noisy = (activities * masks / 0.5) @ weights
    real = reference.tanh_derivative(noisy).mean(axis=0)
    noise_std = float(np.sqrt(np.mean(activities**2 @ weights**2)))
    ours = total_derivative("tanh", noise_std, net[0])
    assert np.abs(real - ours).max() < 0.14
    without = np.abs(real - reference.tanh_derivative(net[0])).mean()
    assert np.abs(real - ours).mean() < without / 3


@pytest.mark.parametrize(
    ("rate", "message"),
    [
        (0.0, "`rate` must be above 0 and below 1. Received: 0.0"),
        (1.0, "`rate` must be above 0 and below 1. Received: 1.0"),
        ({"nowhere": 0.5}, "`rate` must name acc.*'nowhere'. The model has: gaaf_tanh"),
        (float("nan"), "`rate` must be finite. Received: rate=nan"),
    ],
)
def test_bad_rates(rate, message):
    model = keras.Sequential(
        [keras.Input((3,)), keras.layers.Dense(2), GAAFTanh(name="gaaf_tanh")]
    )
    with pytest.raises(ValueError, match=message):
        gaaf_keras.match_dropout(model, inputs(5, 3), rate)


def test_matching_of_sequential_models_however_made():
    def layers():
        keras.utils.set_random_seed(3)
        return [
            keras.Input((8,)),
            keras.layers.Dense(5),
            GAAFTanh(name="a"),
            keras.layers.Dense(3),
            GAAFTanh(name="b"),
        ]

    added = keras.Sequential()
    for layer in layers():
        added.add(layer)
    keras.utils.set_random_seed(3)
    x = inputs(50, 8)
    expected = gaaf_keras.match_dropout(keras.Sequential(layers()), x, 0.5)
    assert gaaf_keras.match_dropout(added, x, 0.5) == pytest.approx(expected)

    tensor = start = keras.Input((8,), name="not_the_key")
    for layer in layers()[1:]:
        tensor = layer(tensor)
    model = keras.Model({"key": start}, tensor)
    assert gaaf_keras.match_dropout(model, {"key": x}, 0.5) == pytest.approx(expected)


def test_matching_in_half_precision_computes_in_full():
    model = keras.Sequential(
        [keras.Input((784,)), keras.layers.Dense(50, dtype="mixed_float16"), GAAFTanh()]
    )
    (noise_std,) = gaaf_keras.match_dropout(
        model, np.full((4, 784), 255.0), 0.5
    ).values()
    kernel = model.layers[0].get_weights()[0]
    expected = 255 * np.sqrt((kernel.astype("float64") ** 2).sum(axis=0).mean())
    assert noise_std == pytest.approx(expected, rel=1e-4)


def in_sequence(*layers):
    return keras.Sequential([keras.Input((4,)), *layers])


def dense(activation=None):
    return keras.layers.Dense(4, activation=activation)


def called_twice(make):
    """A model in which `make` calls one activation twice on an input."""
    inputs, act = keras.Input((4,)), GAAFTanh(name="act")
    return keras.Model(inputs, make(inputs, act))


SEVERAL = "'act' cannot be matched to dropout: it has several pre-activations"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: in_sequence(
                dense(GAAFTanh(name="act")), dense(GAAFTanh(name="act"))
            ),
            "'act' cannot be matched to dropout: several activations",
        ),
        (lambda: called_twice(lambda x, act: dense(act)(dense(act)(x))), SEVERAL),
        (lambda: called_twice(lambda x, act: act(dense()(dense(act)(x)))), SEVERAL),
        (
            lambda: called_twice(
                lambda x, act: keras.layers.Add()([act(dense()(x)) for _ in range(2)])
            ),
            SEVERAL,
        ),
        (
            lambda: in_sequence(dense(GAAF("elu", name="e"))),
            "'e' cannot be matched to dropout: its activation is not one of tanh, "
            "sigmoid, relu",
        ),
        (
            lambda: in_sequence(
                keras.layers.Dense(3, kernel_initializer="zeros"), GAAFTanh(name="z")
            ),
            "'z' cannot be matched to dropout: dropout gives its "
            "pre-activation no variance",
        ),
        (
            lambda: in_sequence(dense("relu"), GAAFTanh(name="r")),
            "'r' cannot be matched to dropout: it does not take",
        ),
        (lambda: in_sequence(dense()), "has no accelerated activations"),
    ],
)
def test_what_cannot_be_matched_is_named(make, message):
    with pytest.raises(ValueError, match=message):
        gaaf_keras.match_dropout(make(), inputs(5, 4), 0.5)
