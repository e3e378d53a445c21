"""A small network, its exports, and their contents."""

import json
import zipfile

import keras
import numpy as np
import tensorflow as tf

import gaaf_keras
from gaaf_keras import GAAF, gaaf
from tests.processes import python

LAYERS = keras.layers
SUFFIXES = {
    "tf_saved_model": "",
    "litert": ".tflite",
    "onnx": ".onnx",
    "keras": ".keras",
}

# Computes outputs from the export, in a process without this package.
SERVE = """
import sys
import numpy as np
sys.modules["gaaf_keras"] = None
kind, path, folder = sys.argv[1:]
if kind != "keras":
    sys.modules["keras"] = None
x = np.load(folder + "/x.npy")
if kind == "tf_saved_model":
    import tensorflow as tf
    model = tf.saved_model.load(path)
    y = model.serve(x).numpy()
    serve = model.signatures["serving_default"]
    (name,) = serve.structured_input_signature[1]
    (named,) = serve(**{name: tf.constant(x)}).values()
    np.testing.assert_allclose(named, y, rtol=1e-5, atol=1e-5)
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
    """`activation` maps the name of an activation to the one to use."""
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
}


def images(count=5):
    random = np.random.default_rng(0)
    return random.normal(size=(count, 8, 8, 3)).astype("float32")


def served(kind, path, x):
    np.save(path.parent / "x.npy", x)
    python("-c", SERVE, kind, path, path.parent)
    return np.load(path.parent / "y.npy")


def exported(model, path, **arguments):
    """The SavedModel of a model, loaded."""
    return tf.saved_model.load(str(gaaf_keras.export(model, path, **arguments)))


def operations(kind, path):
    """The kinds of operations in an export, with their numbers."""
    if kind == "tf_saved_model":
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
    if kind == "tf_saved_model":
        return json.loads((path / "assets.extra" / "gaaf_keras.json").read_text())
    if kind == "onnx":
        import onnx

        (entry,) = onnx.load(path).metadata_props
        assert entry.key == "gaaf_keras"
        return json.loads(entry.value)
    with zipfile.ZipFile(path) as archive:
        return json.loads(archive.read("gaaf_keras.json"))
