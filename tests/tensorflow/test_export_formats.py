"""Exports in all formats, opened where this package and Keras are not."""

import json
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

import gaaf_keras
from gaaf_keras import GAAF, GAAFReLU, accelerate, gaaf

LAYERS = keras.layers
SUFFIXES = {"saved_model": "", "litert": ".tflite", "onnx": ".onnx", "keras": ".keras"}

# Computes outputs from the export, in a process without this package.
SERVE = """
import sys
import numpy as np
sys.modules["gaaf_keras"] = None
kind, path, folder = sys.argv[1:]
if kind != "keras":
    sys.modules["keras"] = None
x = np.load(folder + "/x.npy")
if kind == "saved_model":
    import tensorflow as tf
    model = tf.saved_model.load(path)
    y = model.serve(x).numpy()
elif kind == "litert":
    from ai_edge_litert.interpreter import Interpreter
    interpreter = Interpreter(path)
    (signature,) = interpreter.get_signature_list()
    serve = interpreter.get_signature_runner(signature)
    (name,) = serve.get_input_details()
    (y,) = serve(**{name: x}).values()
elif kind == "onnx":
    import onnxruntime
    session = onnxruntime.InferenceSession(path)
    (y,) = session.run(None, {session.get_inputs()[0].name: x})
else:
    import keras
    y = keras.saving.load_model(path).predict(x, verbose=0)
np.save(folder + "/y.npy", y)
"""


def network(activation):
    """`activation` maps the name of an activation to what is used."""
    inputs = keras.Input((8, 8, 3), name="image")
    x = LAYERS.Conv2D(4, 3, activation=activation("relu"))(inputs)
    x = LAYERS.BatchNormalization()(x)
    x = LAYERS.Activation(activation("tanh"))(x)
    x = LAYERS.Dropout(0.5)(LAYERS.Flatten()(x))
    x = LAYERS.Dense(6, activation=activation("gelu"))(x)
    return keras.Model(inputs, LAYERS.Dense(3, activation="softmax")(x), name="small")


WAYS = {
    "GAAF layers": lambda: network(GAAF),
    "functions": lambda: network(gaaf),
    "literal functions": lambda: network(lambda name: gaaf(name, frequency=1e4)),
    "accelerated": lambda: accelerate(network(lambda name: name), verbose=False),
}


def images(count=5):
    random = np.random.default_rng(0)
    return random.normal(size=(count, 8, 8, 3)).astype("float32")


def served(kind, path, x):
    np.save(path.parent / "x.npy", x)
    program = [sys.executable, "-c", SERVE, kind, str(path), str(path.parent)]
    done = subprocess.run(program, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return np.load(path.parent / "y.npy")


def operations(kind, path):
    """The kinds of operations in an export, with how many there are of each."""
    if kind == "saved_model":
        graph = tf.saved_model.load(str(path)).signatures["serving_default"].graph
        nodes = list(graph.as_graph_def().node)
        for function in graph.as_graph_def().library.function:
            nodes += function.node_def
        kinds = [node.op for node in nodes]
    elif kind == "litert":
        from ai_edge_litert.interpreter import Interpreter

        kinds = [op["op_name"] for op in Interpreter(str(path))._get_ops_details()]
    else:
        import onnx

        kinds = [node.op_type for node in onnx.load(path).graph.node]
    return sorted(kinds)


def metadata(kind, path):
    if kind == "saved_model":
        return json.loads((path / "assets.extra" / "gaaf_keras.json").read_text())
    if kind == "onnx":
        import onnx

        (entry,) = onnx.load(path).metadata_props
        assert entry.key == "gaaf_keras"
        return json.loads(entry.value)
    with zipfile.ZipFile(path) as archive:
        return json.loads(archive.read("gaaf_keras.json"))


@pytest.mark.parametrize("kind", SUFFIXES)
def test_served_elsewhere(kind, tmp_path):
    model = network(GAAF)
    for weight in model.weights:  # moving averages among them
        weight.assign(
            weight + 0.1 * np.random.default_rng(1).uniform(size=weight.shape)
        )
    path = tmp_path / f"model{SUFFIXES[kind]}"
    assert gaaf_keras.export(model, path, kind) == path
    assert [file.name for file in tmp_path.iterdir()] == [path.name]
    x = images()
    expected = model.predict(x, verbose=0)
    np.testing.assert_allclose(served(kind, path, x), expected, atol=1e-5)


@pytest.mark.parametrize("kind", ["saved_model", "litert", "onnx"])
def test_the_plain_models_operations(kind, tmp_path):
    name = f"plain{SUFFIXES[kind]}"
    gaaf_keras.export(network(lambda name: name), tmp_path / name, kind)
    plain = operations(kind, tmp_path / name)
    assert len(plain) > 5
    for way, make in WAYS.items():
        path = tmp_path / f"{way}{SUFFIXES[kind]}"
        gaaf_keras.export(make(), path, kind)
        assert operations(kind, path) == plain, way


@pytest.mark.parametrize("kind", SUFFIXES)
def test_metadata(kind, tmp_path):
    model = network(lambda name: gaaf(name, strength=0.5))
    path = tmp_path / f"model{SUFFIXES[kind]}"
    gaaf_keras.export(model, path, kind)
    said = metadata(kind, path)
    assert said["gaaf_keras"] == gaaf_keras.__version__
    assert (said["model"], said["format"], said["trainable"]) == ("small", kind, False)
    assert [
        (entry["activation"], entry["shape"], entry["strength"])
        for entry in said["accelerated"]
    ] == [
        ("relu", "ShiftedSigmoid(slope=5.0, shift=0.5)", 0.5),
        ("tanh", "Gaussian(width=2.0)", 0.5),
        ("gelu", "ShiftedSigmoid(slope=5.0, shift=1.1)", 0.5),
    ]


def test_keras_file_is_the_plain_model(tmp_path):
    plain = network(lambda name: name)
    plain.compile("sgd", "mse")
    model = accelerate(plain, verbose=False)
    gaaf_keras.export(model, tmp_path / "model.keras", "keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert loaded.to_json() == plain.to_json()
    assert loaded.compiled


# Trains a SavedModel where neither Keras nor this package can be imported.
FINE_TUNE = """
import sys
import numpy as np
sys.modules["gaaf_keras"] = sys.modules["keras"] = None
import tensorflow as tf
folder = sys.argv[1]
model = tf.saved_model.load(folder + "/model")
data = np.load(folder + "/data.npz")
for _ in range(10):
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(tf.square(model.train(data["x"]) - data["y"]))
    variables = list(model.trainable_variables)
    for variable, gradient in zip(variables, tape.gradient(loss, variables)):
        variable.assign_sub(0.1 * gradient)
values = {v.name.removesuffix(":0"): v.numpy() for v in model.variables}
np.savez(folder + "/trained.npz", **values)
"""


def convolutional():
    return network(lambda name: GAAF(name, unit_gain=name == "tanh")), (8, 8, 3), 3


def recurrent():
    inputs = keras.Input((6, 4))
    x = LAYERS.LSTM(5, activation=GAAF("tanh"), recurrent_activation=GAAF("sigmoid"))(
        inputs
    )
    x = LAYERS.BatchNormalization()(LAYERS.Dense(4, activation=GAAFReLU())(x))
    return keras.Model(inputs, LAYERS.Dense(2)(x)), (6, 4), 2


@pytest.mark.parametrize("make", [convolutional, recurrent])
def test_fine_tuned_in_tensorflow_alone(make, tmp_path):
    model, input_shape, outputs = make()
    for layer in model.layers:
        if isinstance(layer, LAYERS.Dropout):
            layer.rate = 0.0  # its noise is not the same in a loaded function
    random = np.random.default_rng(0)
    x = random.normal(size=(12, *input_shape)).astype("float32")
    y = random.normal(size=(12, outputs)).astype("float32")
    np.savez(tmp_path / "data.npz", x=x, y=y)
    gaaf_keras.export(model, tmp_path / "model", trainable=True)
    plain = gaaf_keras.restore(model)
    program = [sys.executable, "-c", FINE_TUNE, str(tmp_path)]
    done = subprocess.run(program, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for trained in (model, plain):
        trained.compile(keras.optimizers.SGD(0.1), loss="mse", jit_compile=False)
        before = trained.get_weights()
        for _ in range(10):
            with tf.GradientTape() as tape:
                predicted = trained(x, training=True)
                loss = tf.reduce_mean(tf.square(predicted - y))
            trained.optimizer.apply(
                tape.gradient(loss, [v.value for v in trained.trainable_variables]),
                trained.trainable_variables,
            )
    with np.load(tmp_path / "trained.npz") as file:
        elsewhere = sorted(
            [file[name] for name in file], key=lambda a: (a.shape, a.sum())
        )
    here = sorted(
        [v.numpy() for v in model.variables if v.dtype == "float32"],
        key=lambda a: (a.shape, a.sum()),
    )
    elsewhere = [a for a in elsewhere if a.dtype == np.float32]
    assert len(here) == len(elsewhere)
    for ours, theirs in zip(here, elsewhere, strict=True):
        np.testing.assert_allclose(theirs, ours, atol=1e-5)
    # The accelerated gradient made a difference.
    assert np.abs(model.get_weights()[0] - plain.get_weights()[0]).max() > 1e-3
    assert np.abs(model.get_weights()[0] - before[0]).max() > 1e-3
    outputs = served("saved_model", tmp_path / "model", x)
    assert outputs.shape == (12, y.shape[1])


def test_a_changing_strength_is_exported_as_it_is(tmp_path):
    model = network(GAAF)
    model.compile("sgd", "mse")
    schedule = gaaf_keras.AccelerationSchedule(lambda epoch: 0.25)
    x = images()
    model.fit(x, np.zeros((5, 3), "float32"), callbacks=[schedule], verbose=0)
    gaaf_keras.export(model, tmp_path / "model", trainable=True)
    said = metadata("saved_model", tmp_path / "model")
    assert {entry["strength"] for entry in said["accelerated"]} == {0.25}
    loaded = tf.saved_model.load(str(tmp_path / "model"))
    assert len(loaded.variables) == len(model.weights) + 1  # dropout's random state


class Compiled(LAYERS.Layer):
    """Has a `call` that is a graph of its own."""

    def __init__(self, **arguments):
        super().__init__(**arguments)
        self.dense = LAYERS.Dense(1, kernel_initializer="ones")
        self.activation = gaaf("tanh")

    def build(self, input_shape):
        self.dense.build(input_shape)

    @tf.function
    def call(self, x):
        return self.activation(self.dense(x))


@pytest.mark.parametrize(
    "layer",
    [
        Compiled,
        lambda: LAYERS.Dense(1, activation=GAAF("hard_tanh", unit_gain=True)),
        lambda: LAYERS.Dense(1, activation=gaaf("tanh", frequency=1e4)),
        lambda: LAYERS.Dense(1, activation=GAAF(LAYERS.LeakyReLU(0.1))),
    ],
)
def test_train_has_the_layers_own_gradients(layer, tmp_path):
    inputs = keras.Input((2,))
    model = keras.Model(inputs, layer()(inputs))
    gaaf_keras.export(model, tmp_path / "model", trainable=True)
    loaded = tf.saved_model.load(str(tmp_path / "model"))
    x = tf.random.normal((9, 2), stddev=2.0)

    def gradients(call, variables):
        with tf.GradientTape() as tape:
            total = tf.reduce_sum(call(x))
        return tape.gradient(total, variables)

    ours = gradients(
        lambda x: model(x, training=True), [v.value for v in model.trainable_variables]
    )
    theirs = gradients(loaded.train, list(loaded.trainable_variables))
    plain = gradients(loaded.serve, list(loaded.trainable_variables))
    for gradient, expected, other in zip(theirs, ours, plain, strict=True):
        np.testing.assert_allclose(gradient, expected, rtol=1e-4, atol=1e-4)
        assert np.abs(gradient - other).max() > 1e-2


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_gelu_in_onnx(dtype, tmp_path):
    import onnxruntime

    inputs = keras.Input((4,), dtype=dtype)
    dense = LAYERS.Dense(5, activation=GAAF("gelu"), dtype=dtype)
    model = keras.Model(inputs, dense(inputs))
    gaaf_keras.export(model, tmp_path / "model.onnx", "onnx")
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    x = np.random.default_rng(0).normal(size=(3, 4)).astype(dtype)
    (y,) = session.run(None, {session.get_inputs()[0].name: x})
    np.testing.assert_allclose(y, model.predict(x, verbose=0), atol=2e-3)


def test_the_old_export_comes_back_if_the_new_cannot_be_moved(tmp_path, monkeypatch):
    path = tmp_path / "model"
    path.mkdir()
    (path / "old").touch()
    rename = Path.rename

    def fail(self, target):
        if Path(target) == path and "unfinished" in str(self) and self.name == "model":
            raise KeyboardInterrupt
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", fail)
    with pytest.raises(KeyboardInterrupt):
        gaaf_keras.export(network(GAAF), path, overwrite=True)
    assert [file.name for file in tmp_path.iterdir()] == ["model"]
    assert [file.name for file in path.iterdir()] == ["old"]


def test_paths(tmp_path, monkeypatch):
    model = keras.Sequential([keras.Input((2,)), LAYERS.Dense(1, activation="tanh")])
    with pytest.raises(ValueError, match="on this machine"):
        gaaf_keras.export(model, "gs://bucket/model")
    (tmp_path / "a" / "b").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "a")
    written = gaaf_keras.export(model, "b/../c d/", overwrite=True)
    assert written == tmp_path / "a" / "c d"
    assert (written / "saved_model.pb").exists()
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    with pytest.raises(FileExistsError):
        gaaf_keras.export(model, tmp_path / "link")


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("model", {"format": "tflite"}, "`format` must be one of 'saved_model', 'lit"),
        ("model", {"format": "onnx"}, "must end in '.onnx' for format 'onnx'"),
        ("model", {"format": "litert"}, "must end in '.tflite'"),
        ("m.onnx", {"format": "onnx", "trainable": True}, "`trainable` must be False"),
        ("m.keras", {"format": "keras", "trainable": True}, "use `model.save`"),
    ],
)
def test_mistakes(name, arguments, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        gaaf_keras.export(network(GAAF), tmp_path / name, **arguments)
    assert list(tmp_path.iterdir()) == []


def test_operations_that_onnx_has_not(tmp_path):
    inputs = keras.Input((4,))
    model = keras.Model(inputs, keras.ops.erfinv(LAYERS.Dense(2)(inputs)))
    with pytest.raises(ValueError, match=r"cannot be exported to ONNX.*SavedModel"):
        gaaf_keras.export(model, tmp_path / "model.onnx", "onnx")
    assert list(tmp_path.iterdir()) == []


def test_missing_packages_are_named(tmp_path, monkeypatch):
    found = lambda name: None if name == "tf2onnx" else object()  # noqa: E731
    monkeypatch.setattr("importlib.util.find_spec", found)
    with pytest.raises(ImportError, match=r"needs tf2onnx: pip install 'gaaf-keras\["):
        gaaf_keras.export(network(GAAF), tmp_path / "model.onnx", "onnx")


# Exports again and again over the same path, and kills itself at a step of the last.
EXPORT = """
import os, signal, sys
import keras
import gaaf_keras
path, event, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1, activation="tanh")])
model.set_weights([keras.ops.ones((2, 1)), keras.ops.zeros(1)])
format = "keras" if path.endswith(".keras") else "saved_model"
gaaf_keras.export(model, path, format)
model.set_weights([2 * keras.ops.ones((2, 1)), keras.ops.zeros(1)])
seen = 0
def kill(name, arguments):
    global seen
    if name == event:
        seen += 1
        if seen != count:
            return
        os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(kill)
print("started", flush=True)
while True:
    gaaf_keras.export(model, path, format, overwrite=True)
    if event == "never":
        print("done", flush=True)
"""


@pytest.mark.parametrize(
    ("name", "event", "count", "left"),
    [
        ("model", "os.rename", 1, "old"),  # before the old one is put aside
        ("model", "os.rename", 2, "none"),  # before the new one takes its place
        ("model", "shutil.rmtree", 1, "new"),
        ("model.keras", "os.rename", 1, "old"),
        ("model", "never", 0, "any"),
        pytest.param("model", "os.mkdir", 1, "old", marks=pytest.mark.slow),
        pytest.param("model.keras", "never", 0, "any", marks=pytest.mark.slow),
    ],
)
def test_killed_while_exporting(name, event, count, left, tmp_path):
    path = tmp_path / name
    program = [sys.executable, "-c", EXPORT, str(path), event, str(count)]
    with subprocess.Popen(program, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "started\n"
        if event == "never":
            time.sleep(0.1 + 0.4 * np.random.default_rng().random())
            process.send_signal(signal.SIGKILL)
        assert process.wait(timeout=120) == -signal.SIGKILL
    if left == "none":
        assert not path.exists()
        return
    if left == "any" and not path.exists():
        assert name == "model"  # a file is replaced in one step
        return
    x = np.float32([[0.5, 0.5]])
    if name.endswith(".keras"):
        (value,) = np.ravel(keras.saving.load_model(path)(x))
    else:
        loaded = tf.saved_model.load(str(path))
        (value,) = np.ravel(loaded.serve(x))
    outcomes = {"old": [np.tanh(1.0)], "new": [np.tanh(2.0)]}
    outcomes["any"] = outcomes["old"] + outcomes["new"]
    assert np.min(np.abs(np.subtract(outcomes[left], value))) < 1e-6
