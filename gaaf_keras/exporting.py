"""Export of trained models to formats that are served without this package."""

import contextlib
import importlib.util
import json
import logging
import os
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import keras

from gaaf_keras._version import __version__
from gaaf_keras.accelerated import AcceleratedActivation
from gaaf_keras.activations import FUNCTION_FORMS, gaaf
from gaaf_keras.convert import restore
from gaaf_keras.forms import written_as
from gaaf_keras.kinds import name_of
from gaaf_keras.layers import GAAF

_METADATA = "gaaf_keras.json"
_DESCRIBED = ("strength", "unit_gain", "frequency")


def export(
    model: Any,
    path: str | os.PathLike[str],
    format: str = "saved_model",  # noqa: A002
    trainable: bool = False,
    *,
    overwrite: bool = False,
) -> Path:
    """Writes a model in a format that is served without this package.

    What is written calls the model with `training=False` and has the plain activations
    in place of the accelerated ones, op for op, whichever way those are written.
    (Keras's own `model.export` says nothing about training and keeps the accelerated
    gradients in SavedModels.)

    | format | what is written | needs |
    |---|---|---|
    | `"saved_model"` | a folder for TensorFlow and TensorFlow Serving | |
    | `"litert"` | a `.tflite` file for LiteRT (TensorFlow Lite) | Keras 3.12 or later |
    | `"onnx"` | a `.onnx` file for ONNX Runtime and others | `gaaf-keras[export]` |
    | `"keras"` | a `.keras` file of `gaaf_keras.restore(model)` | any backend |

    All but `"keras"` need Keras on TensorFlow. Recurrent layers run in LiteRT only with
    `unroll=True`, or with its TensorFlow operators ("Flex"), as when Keras exports
    them. Each holds, as JSON, the version of this
    package and the activations with the shapes they were trained with: a SavedModel as
    `assets.extra/gaaf_keras.json`, `.tflite` and `.keras` files as the file
    `gaaf_keras.json` that `unzip` finds in them, an ONNX file as the metadata property
    `gaaf_keras`.

    The export is made in a hidden folder beside `path` and moved when complete: if the
    process is killed, there is either the export that was there before, or none.

    Args:
        model: A built Functional or Sequential Keras model.
        path: The file or folder to make. A file's name must end as the format says.
        format: One of the formats above.
        trainable: Whether a SavedModel gets a second endpoint, `train`, that calls the
            model with `training=True` and has the accelerated gradients (made of
            ordinary operations), so that it can be trained further in TensorFlow alone.
            The other formats cannot. Defaults to False.
        overwrite: Whether to replace what is at `path`. Defaults to False.

    Returns:
        The path written.

    Raises:
        ValueError: If there is no such format, `path` does not end as it should,
            `trainable` is asked of a format that cannot, or the model has no defined
            inputs.
        FileExistsError: If there is something at `path` and `overwrite` is False.
        RuntimeError: If the Keras backend is not TensorFlow and the format needs it.
        ImportError: If a package is missing.

    Examples:
        ```python
        gaaf_keras.export(model, "served", trainable=True)

        # Elsewhere, without gaaf_keras and without Keras:
        import tensorflow as tf

        loaded = tf.saved_model.load("served")
        outputs = loaded.serve(x)
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.square(loaded.train(x)))
        gradients = tape.gradient(loss, loaded.trainable_variables)
        ```
    """
    if "://" in os.fspath(path):
        raise ValueError(
            "Argument `path` must be on this machine. Export to a folder here and copy "
            f"it. Received: path={os.fspath(path)!r}"
        )
    path = Path(os.path.abspath(Path(path).expanduser()))  # noqa: PTH100, for ".."
    _require_possible(path, format, trainable, overwrite)
    inputs = None if format == "keras" else _inputs(model)
    metadata = json.dumps(
        {
            "gaaf_keras": __version__,
            "keras": keras.__version__,
            "model": model.name,
            "format": format,
            "trainable": trainable,
            "accelerated": list(_describe(model)),
        },
        indent=2,
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=f".{path.name}.unfinished-", dir=path.parent))
    unfinished, replaced = folder / "new" / path.name, folder / "replaced"
    unfinished.parent.mkdir()
    try:
        if format == "saved_model":
            _write_saved_model(model, inputs, unfinished, trainable, metadata)
        else:
            _WRITERS[format](model, inputs, unfinished, metadata)
        _move(unfinished, path, aside=replaced)
    finally:
        if os.path.lexists(path) or not os.path.lexists(replaced):
            shutil.rmtree(folder, ignore_errors=True)
    return path


def _write_saved_model(
    model: Any, inputs: Any, path: Path, trainable: bool, metadata: str
) -> None:
    import tensorflow as tf

    signature = [
        keras.tree.map_structure(
            lambda tensor: tf.TensorSpec(tensor.shape, tensor.dtype, tensor.name),
            inputs,
        )
    ]

    def serve(inputs: Any) -> Any:
        with written_as("plain"), _inlined():
            return model(inputs, training=False)

    def train(inputs: Any) -> Any:
        with written_as("operations"), _inlined():
            return model(inputs, training=True)

    with written_as("plain"):  # without the variables of an AccelerationSchedule
        archive = keras.export.ExportArchive()
        archive.track(model)
        archive.add_endpoint("serve", serve, signature)
        if trainable:
            archive.add_endpoint("train", train, signature)
        archive.write_out(str(path), verbose=False)
    (path / "assets.extra").mkdir()
    (path / "assets.extra" / _METADATA).write_text(metadata, encoding="utf-8")


@contextlib.contextmanager
def _inlined() -> Iterator[None]:
    """Has layers that are a `tf.function` traced anew, not as they were traced before.

    Their traces do not depend on the form of the activations.
    """
    import tensorflow as tf

    before = tf.config.functions_run_eagerly()
    tf.config.run_functions_eagerly(True)
    try:
        yield
    except tf.errors.OperatorNotAllowedInGraphError as error:
        raise ValueError(
            "Argument `model` must not have a `tf.function` in which an `if` or a loop "
            "depends on the values of a tensor, which an export cannot follow. Write "
            "that with `keras.ops.cond` or `keras.ops.while_loop`."
        ) from error
    finally:
        tf.config.run_functions_eagerly(before)


def _write_litert(model: Any, inputs: Any, path: Path, metadata: str) -> None:
    _export_by_keras(model, inputs, path, "litert")
    _append(path, metadata)


def _write_onnx(model: Any, inputs: Any, path: Path, metadata: str) -> None:
    import onnx

    logger = logging.getLogger("tf2onnx")
    level = logger.level
    logger.setLevel(logging.CRITICAL)  # what it cannot convert is checked below
    try:
        _export_by_keras(model, inputs, path, "onnx")
    finally:
        logger.setLevel(level)
    written = onnx.load(path)
    _replace_erfc(written.graph)
    try:
        onnx.checker.check_model(written, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise ValueError(
            "Argument `model` has operations that cannot be exported to ONNX. "
            f"Export it as a SavedModel. ONNX says: {error}"
        ) from error
    onnx.helper.set_model_props(written, {"gaaf_keras": metadata})
    onnx.save(written, path)


def _replace_erfc(graph: Any) -> None:
    """Writes TensorFlow's erfc(x), a part of GELU, as 1 - erf(x), which ONNX has."""
    from onnx import TensorProto, helper

    nodes = []
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("g"):
                _replace_erfc(attribute.g)
        if node.op_type != "Erfc":
            nodes.append(node)
            continue
        one, cast, erf = (f"{node.name}/{part}" for part in ("one", "cast", "erf"))
        value = helper.make_tensor(one, TensorProto.FLOAT, [], [1.0])
        nodes += [
            helper.make_node("Constant", [], [one], value=value),
            helper.make_node("CastLike", [one, node.input[0]], [cast]),
            helper.make_node("Erf", node.input, [erf]),
            helper.make_node("Sub", [cast, erf], node.output),
        ]
    del graph.node[:]
    graph.node.extend(nodes)


def _write_keras(model: Any, inputs: Any, path: Path, metadata: str) -> None:
    del inputs
    restore(model).save(path)
    _append(path, metadata)


_WRITERS: dict[str, Callable[[Any, Any, Path, str], None]] = {
    "litert": _write_litert,
    "onnx": _write_onnx,
    "keras": _write_keras,
}
_SUFFIXES = {"saved_model": "", "litert": ".tflite", "onnx": ".onnx", "keras": ".keras"}


def _export_by_keras(model: Any, inputs: Any, path: Path, kind: str) -> None:
    """Exports by Keras what calls the model with `training=False`."""
    served = keras.Model(inputs, model(inputs, training=False), name=model.name)
    served(served.input)  # Keras exports only what was called
    with written_as("plain"):
        served.export(str(path), format=kind, verbose=False)


def _append(path: Path, metadata: str) -> None:
    """Adds the metadata to a zip archive, or as one to the end of a LiteRT file."""
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(_METADATA, metadata)


def _move(unfinished: Path, path: Path, aside: Path) -> None:
    """Puts a complete export in its place."""
    if not path.is_dir() and not unfinished.is_dir():
        unfinished.replace(path)
        return
    if os.path.lexists(path):
        path.rename(aside)
    try:
        unfinished.rename(path)
    except BaseException:
        if os.path.lexists(aside):
            aside.rename(path)
        raise


def _require_possible(path: Path, kind: str, trainable: bool, overwrite: bool) -> None:
    if kind not in _SUFFIXES:
        raise ValueError(
            f"Argument `format` must be one of {', '.join(map(repr, _SUFFIXES))}. "
            f"Received: format={kind!r}"
        )
    if not path.name.endswith(_SUFFIXES[kind]):
        raise ValueError(
            f"Argument `path` must end in {_SUFFIXES[kind]!r} for format {kind!r}. "
            f"Received: path={str(path)!r}"
        )
    if trainable and kind != "saved_model":
        raise ValueError(
            "Argument `trainable` must be False for all formats but 'saved_model'. (To "
            "keep a model with its accelerated gradients for Keras, use `model.save`.) "
            f"Received: format={kind!r}, trainable={trainable}"
        )
    if os.path.lexists(path) and not overwrite:
        raise FileExistsError(
            "Argument `path` must name something that does not exist yet, unless "
            f"`overwrite=True`. Received: path={str(path)!r}"
        )
    backend = keras.backend.backend()
    if kind != "keras" and backend != "tensorflow":
        raise RuntimeError(
            f"Format {kind!r} can be written with the TensorFlow backend only. Save "
            "the model with `model.save`, load it where KERAS_BACKEND=tensorflow is "
            f"set, and export it there. Received: backend {backend!r}"
        )
    needed = ("onnx", "tf2onnx") if kind == "onnx" else ()
    missing = [name for name in needed if importlib.util.find_spec(name) is None]
    if missing:
        raise ImportError(
            f"Format 'onnx' needs {' and '.join(missing)}: "
            "pip install 'gaaf-keras[export]'"
        )


def _describe(model: Any) -> Iterator[dict[str, Any]]:
    """Yields what is to be said of each accelerated activation of a model."""
    functions = [(function, gaaf(name)) for function, name in FUNCTION_FORMS.items()]
    for layer in model._flatten_layers():
        parts = [*vars(layer).values(), *getattr(layer, "operations", [])]
        for part in [layer] if isinstance(layer, GAAF) else parts:
            called = [function for name, function in functions if part is name]
            activation = called[0] if called else part
            if activation is layer or isinstance(activation, AcceleratedActivation):
                config = activation.get_config()
                yield {
                    "layer": layer.name,
                    "activation": name_of(activation.activation),
                    "shape": str(activation.shape),
                    **{name: config[name] for name in _DESCRIBED},
                }


def _inputs(model: Any) -> Any:
    """Returns a model's symbolic inputs, in the structure in which it takes them."""
    try:
        return model.inputs[0] if isinstance(model, keras.Sequential) else model.input
    except (AttributeError, TypeError, ValueError) as error:
        raise ValueError(
            "Argument `model` must be a built Functional or Sequential model, whose "
            f"inputs are known. Received: model={model}"
        ) from error
