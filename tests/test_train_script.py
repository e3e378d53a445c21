"""train.py as a user runs it: one process per command."""

import dataclasses
import itertools
import json
import re
import subprocess
import sys

import numpy as np
import pytest
from absl.testing import flagsaver

from tests.processes import SCRIPT, history, train
from tests.small_suite import PRINTED, SEEDS, VARIANTS


def test_a_backend_that_keras_has_not(tmp_path):
    done = train(folder=tmp_path, KERAS_BACKEND="pytorch")
    assert done.returncode == 1
    assert done.stderr.rstrip().endswith(
        "train.py: KERAS_BACKEND must be one of tensorflow, jax, torch. "
        "Received: pytorch. Did you mean torch?"
    )
    assert "Traceback" not in done.stderr


def test_help_is_quick_and_complete(tmp_path):
    # TensorFlow is not even found, so it cannot have been loaded.
    program = (
        "import runpy, sys; sys.modules['tensorflow'] = sys.modules['keras'] = None;"
        "sys.argv = ['train.py', '--help'];"
        f"runpy.run_path({str(SCRIPT)!r}, None, '__main__')"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], check=False, capture_output=True, text=True
    )
    assert "Traceback" not in done.stderr
    flags = "--dataset", "--suite", "--[no]batch_norm", "--learning_rate", "--runs"
    for flag in flags:
        assert flag in done.stdout


def test_flags_are_those_of_the_configuration():
    import train as script
    from experiments import TrainingConfig

    fields = {field.name: field for field in dataclasses.fields(TrainingConfig)}
    flags = {flag.name: flag for flag in script.SETTINGS}
    assert set(flags) == set(fields) - {"output_dir", "variant"}
    assert flags.pop("hidden_units").default == ["512", "256", "256"]
    assert flags.pop("learning_rate").default == ["0.1"]
    for name, flag in flags.items():
        assert flag.default == fields[name].default, name


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--model=rnn"], "--model=rnn"),
        (["--batch_size=0"], "batch_size must be 1 or greater. Received: 0"),
        pytest.param(
            ["--dataset=mnits"],
            "train.py: There is no data set 'mnits'",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_mistakes_end_in_one_sentence(flags, message, tmp_path):
    (tmp_path / "file").touch()
    done = train(*flags, folder=tmp_path)
    assert done.returncode != 0
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert "epoch" not in done.stdout
    assert {path.name for path in tmp_path.iterdir()} == {"file"}


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (
            ["--shape_function=gausian"],
            "shape_function must be one of gaussian, shifted_sigmoid",
        ),
        (
            ["--shape_function=gaussian(with=3)"],
            "Argument `shape_function` must give parameters as in",
        ),
        (
            ["--shape_function=helu", "--activation=gaaf_mish"],
            "A shape made from a total deriv",
        ),
        (["--strength=2", "--activation=tanh"], "strength would have no effect"),
        (["--unit_gain", "--frequency=100"], "Arguments `frequency` and `unit_gain`"),
        (["--learning_rate="], "learning_rate must have at least one value"),
        (["--learning_rate=0.1,x"], "learning_rate must be numbers separated by"),
        (["--learning_rate=0.1,0.1"], "learning_rate must be different values"),
        (
            ["--warm_up_epochs=100"],
            "warm_up_epochs must be at least 0 and below epochs",
        ),
        (["--label_smoothing=1"], "label_smoothing must be from 0 to below 1"),
        (
            ["--frequency=100", "--precision=mixed_float16"],
            "precision must be float32 with a frequency",
        ),
        (
            ["--jit_compile=true", "--strategy=mirrored"],
            "jit_compile must be auto or false with several devices",
        ),
        (["--frequency=0"], "frequency must be finite and greater than 0"),
        (["--frequency=1e30"], "Argument `frequency` must be at most 1.67772e+07"),
        (["--output_dir=~/full"], "output_dir '{home}/full' is not empty"),
        (["--hidden_units=5,x"], "hidden_units must be whole numbers"),
        (["--output_dir=full"], "output_dir 'full' is not empty"),
        (
            ["--output_dir=full/something/below"],
            "output_dir 'full/something/below' can",
        ),
        (["digits"], "unexpected argument 'digits'"),
        (["--suite=cifar100", "--data_dir=."], "Data set 'cifar100' is not"),
        (["--accelerate"], "accelerate needs a model in init_from"),
        (["--init_from=no.keras"], "init_from must be a .keras file"),
        (["--init_from=a.keras", "--model=cnn"], "model would describe a new model"),
        (
            ["--suite=digits", "--init_from=a.keras"],
            "The suite 'digits' trains new models",
        ),
    ],
)
def test_more_mistakes(flags, message, tmp_path, monkeypatch):
    """As above, without processes: `sys.exit(message)` ends one this way."""
    import train as script

    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "something").touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    message = re.escape(message.replace("{home}", str(tmp_path)))
    with flagsaver.flagsaver():
        arguments = script.flags.FLAGS(["train.py", *flags])
        with pytest.raises(SystemExit, match=f"^train.py: {message}"):
            script.main(arguments)
    assert {path.name for path in tmp_path.iterdir()} == {"full"}


def test_suite_from_the_command_line(suite):
    printed = (suite.parent / PRINTED).read_text()
    assert "UCI digits" in printed
    assert f"Results: {suite}" in printed
    assert "SavedModel: saved_model/ in the folder of each run" in printed
    assert printed.splitlines()[-1] == f"Report: {suite / 'report.html'}"
    for variant, seed in itertools.product(VARIANTS, range(SEEDS)):
        assert f"{variant}, seed {seed}: test accuracy" in printed
    summary = json.loads((suite / "summary.json").read_text())
    assert summary["command"].endswith(f"--gradient_flow=2 --output_dir={suite}")

    import tensorflow as tf

    from experiments.data import datasets

    served = tf.saved_model.load(str(suite / "GAAF" / "seed_1" / "saved_model"))
    test = datasets.load("digits").test
    logits = served.serve(test.images.astype("float32")).numpy()
    accuracy = np.mean(logits.argmax(axis=1) == test.labels)
    assert summary["variants"][2]["test_accuracy"]["values"][1] == accuracy


@pytest.mark.slow
def test_cnn_with_batch_norm_on_tfds_data(tmp_path, data_dir):
    done = train(
        *("--dataset=mnist", f"--data_dir={data_dir}", "--model=cnn", "--width=2"),
        *("--batch_norm", "--activation=gaaf_relu", "--dropout=0.1", "--augment"),
        *("--optimizer=adam", "--learning_rate=0.01", "--batch_size=36"),
        *("--epochs=1", "--noexport", "--output_dir=new", "--strategy=mirrored"),
        folder=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    files = {path.name for path in (tmp_path / "new").iterdir()}
    assert "result.json" in files
    assert "saved_model" not in files
    assert (
        json.loads((tmp_path / "new" / "result.json").read_text())["test_examples"]
        == 37
    )


def test_two_logical_devices_train_like_one(tmp_path):
    from experiments import TrainingConfig, train_and_evaluate

    given = {"epochs": 2, "hidden_units": (16,), "batch_size": 62, "batch_norm": True}
    given |= {"export": False, "output_dir": str(tmp_path / "one")}
    train_and_evaluate(TrainingConfig(**given))
    done = train(
        *("--epochs=2", "--hidden_units=16", "--batch_size=62", "--batch_norm"),
        *("--strategy=mirrored", "--logical_devices=2", "--noexport"),
        "--output_dir=two",
        folder=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    for name, replicas in (("one", 1), ("two", 2)):
        config = json.loads((tmp_path / name / "config.json").read_text())
        assert config["resolved"]["replicas"] == replicas
    expected = history(tmp_path / "one")
    np.testing.assert_allclose(history(tmp_path / "two"), expected, rtol=1e-5)


def test_from_a_model_to_its_accelerated_export(tmp_path):
    import keras
    import tensorflow as tf

    layers = [
        keras.Input((8, 8, 1)),
        keras.layers.Flatten(),
        keras.layers.Dense(16, activation="relu", name="hidden"),
        keras.layers.Dense(10, activation="softmax"),
    ]
    keras.Sequential(layers, name="own").save(tmp_path / "own.keras")
    done = train(
        *("--init_from=own.keras", "--accelerate", "--learning_rate=0.01"),
        "--epochs=4",
        folder=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    (folder,) = (tmp_path / "runs").iterdir()
    assert f"Results: runs/{folder.name}" in done.stdout
    assert "own: 1 of 2 activations accelerated" in done.stdout
    result = json.loads((folder / "result.json").read_text())
    assert result["test_accuracy"] > 0.5
    trained = keras.saving.load_model(folder / "model.keras")
    assert trained.get_layer("hidden").activation is keras.activations.relu
    assert b"gaaf" not in (folder / "model.keras").read_bytes()
    loaded = tf.saved_model.load(str(folder / "saved_model"))
    x = np.random.default_rng(0).uniform(0, 16, (5, 8, 8, 1)).astype("float32")
    np.testing.assert_allclose(
        loaded.serve(x), trained.predict(x, verbose=0), atol=1e-5
    )
