"""Common slips: the message says what was probably meant, and that works."""

import os
import subprocess
import sys
import warnings

import keras
import numpy as np
import pytest

import gaaf_keras
from gaaf_keras import GAAF, AccelerationSchedule, GAAFReLU, GAAFTanh, Gaussian, gaaf
from tests.processes import SCRIPT, WITHOUT

LAYERS = keras.layers
X = np.linspace(-1, 1, 12, dtype="float32").reshape(4, 3)


def call(activation):
    return LAYERS.Dense(3, activation=activation)(X)


def without_return(x):
    1 / (1 + keras.ops.square(x))


def network(activation="relu"):
    hidden = LAYERS.Dense(3, activation=activation)
    return keras.Sequential([keras.Input((3,)), hidden, LAYERS.Dense(2)])


@pytest.mark.parametrize(
    ("slip", "error", "message", "advised"),
    [
        (
            lambda: call(GAAFTanh),
            TypeError,
            r"Add the brackets: `activation=GAAFTanh\(\)`.*tensor of shape \(4, 3\)",
            lambda: call(GAAFTanh()),
        ),
        (
            lambda: call(GAAF),
            TypeError,
            r"`activation=GAAF\('relu'\)`.*tensor of shape \(4, 3\) as `activation`",
            lambda: call(GAAF("relu")),
        ),
        (
            lambda: GAAFReLU(keras.Input((3,))),
            TypeError,
            r"brackets.*tensor of shape \(None, 3\) as `shape_function`",
            lambda: GAAFReLU()(keras.Input((3,))),
        ),
        (
            lambda: GAAF(LAYERS.ReLU),
            TypeError,
            r"Add the brackets: `ReLU\(\)`",
            lambda: GAAF(LAYERS.ReLU()),
        ),
        (
            lambda: GAAF("softmax", "gaussian"),
            ValueError,
            "elementwise.*softmax mixes values.*activation='softmax'",
            lambda: LAYERS.Activation("softmax"),
        ),
        (
            lambda: gaaf_keras.accelerate(network),
            TypeError,
            "Call it first",
            lambda: gaaf_keras.accelerate(network()),
        ),
        (
            lambda: gaaf_keras.accelerate(network(GAAFReLU())),
            ValueError,
            "already accelerated.*Give the plain model",
            lambda: gaaf_keras.accelerate(network()),
        ),
        (
            lambda: GAAF("rleu"),
            ValueError,
            "tanh, sigmoid.*activation='rleu'. Did you mean 'relu'",
            lambda: GAAF("relu"),
        ),
        (
            lambda: gaaf("LeakyReLU"),
            ValueError,
            "activation='LeakyReLU'. Did you mean 'leaky_relu'",
            lambda: gaaf("leaky_relu"),
        ),
        (
            lambda: GAAF("gaaf_tanh"),
            ValueError,
            "activation='gaaf_tanh'. Give the plain activation, 'tanh'",
            lambda: GAAF("tanh"),
        ),
        (
            lambda: gaaf_keras.activations.get("gaaf_tnah"),
            ValueError,
            "identifier='gaaf_tnah'. Did you mean 'gaaf_tanh'",
            lambda: gaaf_keras.activations.get("gaaf_tanh"),
        ),
        (
            lambda: GAAF("b_silu", "relu"),
            ValueError,
            r"shape function is the second argument: `GAAF\('relu', 'b_silu'\)`",
            lambda: GAAF("relu", "b_silu"),
        ),
        (
            lambda: GAAF(Gaussian(3.0), "tanh"),
            ValueError,
            r"is the second argument: `GAAF\('relu', Gaussian\(width=3.0\)\)`",
            lambda: GAAF("relu", Gaussian(width=3.0)),
        ),
        (
            lambda: GAAF("relu", 0.3),
            ValueError,
            "shape_function=0.3. If that is the factor.*write strength=0.3",
            lambda: GAAF("relu", strength=0.3),
        ),
        (
            lambda: gaaf_keras.accelerate(network(), 0.3),
            ValueError,
            "write strength=0.3",
            lambda: gaaf_keras.accelerate(network(), strength=0.3),
        ),
        (
            lambda: GAAF("tanh", "gausian(width=3)"),
            ValueError,
            "Did you mean 'gaussian'",
            lambda: GAAF("tanh", "gaussian(width=3)"),
        ),
        (
            lambda: GAAF("tanh", Gaussian),
            ValueError,
            r"Add the brackets: Gaussian\(...\)",
            lambda: GAAF("tanh", Gaussian()),
        ),
        (
            lambda: GAAF("tanh", without_return),
            ValueError,
            "`shape_function` must be an elementwise.*without_return.* returns None",
            lambda: GAAF("tanh", lambda x: 1 / (1 + keras.ops.square(x))),
        ),
        (
            lambda: gaaf_keras.accelerate(network(), keras.ops.sum),
            ValueError,
            r"must be an elementwise.* a tensor of shape \(\) for one of",
            lambda: gaaf_keras.accelerate(network(), lambda x: 0.3),
        ),
        (
            lambda: gaaf("tanh", lambda x: x[:, :1]),
            ValueError,
            r"must be an elementwise.* a tensor of shape \(2, 1\)",
            lambda: gaaf("tanh", lambda x: x[:, :, 0, 0]),  # of four axes only
        ),
    ],
)
def test_what_was_meant(slip, error, message, advised):
    with pytest.raises(error, match=message):
        slip()
    advised()


@pytest.mark.once
def test_a_path_in_place_of_the_model(tmp_path):
    path = str(tmp_path / "model.keras")
    network().save(path)
    with pytest.raises(TypeError) as error:
        gaaf_keras.accelerate(path)
    advised = f"keras.saving.load_model({path!r})"
    assert str(error.value).endswith(f"(of type str). Load it: {advised}")
    gaaf_keras.accelerate(keras.saving.load_model(path))


def trained(change, callbacks=()):
    keras.utils.set_random_seed(0)
    model = network(GAAFTanh(name="inner"))
    model.compile(keras.optimizers.SGD(0.1), "mse")
    model.fit(X, X[:, :2], batch_size=4, verbose=0)
    change(model)
    model.fit(X, X[:, :2], batch_size=4, verbose=0, callbacks=list(callbacks))
    return model.get_weights()


def test_a_strength_that_a_compiled_step_does_not_read():
    def weaken(model):
        model.layers[0].activation.strength = 0.0

    def advised(model):
        weaken(model)
        model.make_train_function(force=True)

    if keras.backend.backend() == "torch":  # which reads it at each step
        with warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)
            weakened = trained(weaken)
    else:
        message = r"keep strength 1 in 'inner'.*with 0, call `model.make_train_function"
        with pytest.warns(UserWarning, match=message) as caught:
            assert_same(trained(weaken), trained(lambda model: None))
        assert caught[0].filename == __file__
        with pytest.warns(UserWarning, match=message):
            weakened = trained(advised)
    with pytest.raises(AssertionError):
        assert_same(weakened, trained(lambda model: None))
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        weaken(network(GAAFTanh()))  # not trained yet
        schedule = AccelerationSchedule(lambda epoch: 0.0)
        assert_same(weakened, trained(lambda model: None, [schedule]))


def test_a_shape_function_that_a_compiled_step_does_not_read():
    def change(model):
        model.layers[0].activation.shape_function = "constant"

    if keras.backend.backend() == "torch":  # which reads it at each step
        with warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)
            changed = trained(change)
        with pytest.raises(AssertionError):
            assert_same(changed, trained(lambda model: None))
        return
    with pytest.warns(UserWarning, match="keep shape function Gaussian") as caught:
        assert_same(trained(change), trained(lambda model: None))
    assert caught[0].filename == __file__


def assert_same(ours, theirs):
    for our, their in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(our, their, rtol=1e-5, atol=1e-6)


@pytest.mark.once
@pytest.mark.parametrize(
    ("hidden", "backend", "message"),
    [
        ("tensorflow,torch", "tensorflow", "or set KERAS_BACKEND to jax."),
        (
            "tensorflow,jax,torch",
            "jax",
            r"Install it (pip install jax), or install another and set "
            "KERAS_BACKEND to tensorflow or torch.",
        ),
        ("", "pytorch", "Received: pytorch. Did you mean torch?"),
    ],
)
def test_importing_without_a_backend(hidden, backend, message, tmp_path):
    script = tmp_path / "own.py"
    script.write_text("import gaaf_keras")
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT, str(script), hidden],
        check=False,
        capture_output=True,
        text=True,
        env={**os.environ, "KERAS_BACKEND": backend},
        cwd=SCRIPT.parent,
    )
    assert done.stderr.rstrip().endswith(message)
    assert "site-packages/keras" not in done.stderr


@pytest.mark.once
def test_missing_scipy(monkeypatch):
    monkeypatch.setattr("gaaf_keras.comparison.find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"intervals: pip install scipy$"):
        gaaf_keras.compare(network(), X, X)


def test_the_strength_of_a_function_is_checked():
    function = gaaf("relu", unit_gain=True)
    with pytest.raises(ValueError, match=r"`strength` must be.*-3"):
        function.strength = -3
    function.strength = 1
    assert function.strength == 1.0
    function(X)
