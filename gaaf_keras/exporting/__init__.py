"""Export of trained models to formats that need nothing of this package."""

import importlib.util
import inspect
import itertools
import json
import logging
import os
import shutil
import tempfile
import warnings
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras

from gaaf_keras._core.forms import Form, written_as
from gaaf_keras._core.types import Tensor
from gaaf_keras._version import __version__
from gaaf_keras.exporting.plain import described, plain_model

_FORMATS = {
    "": "tf_saved_model",
    ".tflite": "litert",
    ".onnx": "onnx",
    ".keras": "keras",
}
_OTHER_NAMES = {"saved_model": "tf_saved_model", "tflite": "litert"}
_METADATA = "gaaf_keras.json"


def export(
    model: keras.Model,
    path: str | os.PathLike[str],
    format: str | None = None,  # noqa: A002
    trainable: bool = False,
    *,
    overwrite: bool = False,
    input_signature: keras.InputSpec | Sequence[Any] | Mapping[str, Any] | None = None,
) -> Path:
    """Writes a model in a format that can be served without this package.

    The export calls the model with `training=False` and has the plain activations in
    place of the accelerated ones, op for op, in whatever way the model applies them.

    | format | result | needs |
    |---|---|---|
    | `"tf_saved_model"` | a folder for TensorFlow and TensorFlow Serving | |
    | `"litert"` | a `.tflite` file for LiteRT (TensorFlow Lite) | Keras 3.12 or later |
    | `"onnx"` | a `.onnx` file for ONNX Runtime and others | `onnx`, `tf2onnx` |
    | `"keras"` | a `.keras` file of the model with plain activations | any backend |

    All but `"keras"` need Keras on TensorFlow. Recurrent layers run in LiteRT only with
    `unroll=True` or with its TensorFlow operators ("Flex"), as in Keras's own export.
    Each export stores, as JSON, the version of this package and the activations with
    the shapes they were trained with: a SavedModel in `assets.extra/gaaf_keras.json`,
    `.tflite` and `.keras` files in a file `gaaf_keras.json` that `unzip` finds, an ONNX
    file in the metadata property `gaaf_keras`.

    The export is written to a hidden folder next to `path` and moved when complete: if
    the process is killed, the previous export is still there, or none.

    For a model class of your own, Keras records only the shapes of its first call; the
    export leaves the number of examples open. It assumes that inputs are
    floating-point, or of the dtype that the model first casts them to: integers for an
    `Embedding`, strings for a `TextVectorization`. Where that is wrong, give
    `input_signature`.

    Args:
        model: A built Keras model; build one of your own class by a call or `fit`.
        path: The file or folder to create.
        format: One of the formats above. By default, the suffix of `path` decides; no
            suffix means a SavedModel.
        trainable: Whether a SavedModel gets a second endpoint, `train`, that calls the
            model with `training=True` and has the accelerated gradients (made of
            ordinary operations), so that it can be trained further in TensorFlow alone.
            The other formats do not support this. Defaults to False.
        overwrite: Whether to replace what is at `path`. Defaults to False.
        input_signature: The inputs, as for Keras's `model.export`: a list with, for
            each argument of the model's `call`, a `keras.InputSpec` with shape and
            dtype, or a list or dict of them. Defaults to the model's inputs.
            Format `"keras"` does not support this.

    Returns:
        The path written.

    Raises:
        TypeError: If `model`, `path` or `input_signature` is of another type.
        ValueError: If there is no such format, the suffix of `path` does not match it,
            the format does not support `trainable` or `input_signature`, the model's
            inputs are not known, or the model cannot be rebuilt with plain activations
            for a `.keras` file, which also cannot keep a lambda as an activation.
        FileExistsError: If something exists at `path` and `overwrite` is False.
        RuntimeError: If the Keras backend is not TensorFlow and the format needs it.
        ImportError: If a package is missing.

    Examples:
        ```python
        gaaf_keras.export(model, "model.onnx")
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
    if not (isinstance(model, keras.Model) and isinstance(path, (str, os.PathLike))):
        raise TypeError(
            "Arguments `model` and `path` must be a Keras model and the path to write "
            f"it to, in this order. Received: model={model!r}, path={path!r}"
        )
    if "://" in os.fspath(path):
        raise ValueError(
            "Argument `path` must be a local path. Export here, then copy the result. "
            f"Received: path={os.fspath(path)!r}"
        )
    path = Path(os.path.abspath(Path(path).expanduser()))  # noqa: PTH100, for ".."
    kind = _format_of(path, format)
    if input_signature is not None and kind == "keras":
        raise ValueError(
            "Argument `input_signature` must be left out for format 'keras', whose "
            "files keep the inputs of the model. "
            f"Received: input_signature={input_signature!r}"
        )
    _require_possible(path, kind, trainable, overwrite)
    inputs = [] if kind == "keras" else _inputs(model, input_signature)
    accelerated = list(described(model))
    if trainable and not accelerated:
        warnings.warn(
            f"Model {model.name!r} has no accelerated activation, so its endpoint "
            "`train` has plain gradients. A model that `accelerate` accelerates must "
            "be exported inside the `with` block.",
            stacklevel=2,
        )
    metadata = json.dumps(
        {
            "gaaf_keras": __version__,
            "keras": keras.__version__,
            "model": model.name,
            "format": kind,
            "trainable": trainable,
            "accelerated": accelerated,
        },
        indent=2,
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=f".{path.name}.unfinished-", dir=path.parent))
    unfinished, replaced = folder / "new" / path.name, folder / "replaced"
    unfinished.parent.mkdir()
    try:
        with written_as("plain"):  # and no strength of an AccelerationSchedule
            if kind == "tf_saved_model":
                _write_saved_model(model, inputs, unfinished, trainable, metadata)
            elif kind == "onnx":
                _write_onnx(_served(model, inputs), unfinished, metadata)
            elif kind == "keras":
                plain_model(model).save(unfinished)
            else:
                _served(model, inputs).export(str(unfinished), kind, verbose=False)
            if kind in ("keras", "litert"):
                with zipfile.ZipFile(unfinished, "a") as archive:  # or made one by it
                    archive.writestr(_METADATA, metadata)
        _move(unfinished, path, aside=replaced)
    finally:
        if os.path.lexists(path) or not os.path.lexists(replaced):
            shutil.rmtree(folder, ignore_errors=True)
    return path


def _write_saved_model(
    model: keras.Model, inputs: list[Any], path: Path, trainable: bool, metadata: str
) -> None:
    import tensorflow as tf

    signature = keras.tree.map_structure(
        lambda tensor: tf.TensorSpec(tensor.shape, tensor.dtype, tensor.name), inputs
    )
    archive = keras.export.ExportArchive()
    archive.track(model)
    archive.add_endpoint("serve", _call(model, "plain", training=False), signature)
    if trainable:
        train = _call(model, "operations", training=True)
        archive.add_endpoint("train", train, signature)
    # Keras lists its own variables here, and for the endpoints TensorFlow's variables
    # inside them, so that each would be written twice.
    for name in ("variables", "trainable_variables", "non_trainable_variables"):
        variables = [variable.value for variable in getattr(model, name)]
        archive.add_variable_collection(name, variables)
    archive.write_out(str(path), verbose=False)
    (path / "assets.extra").mkdir()
    (path / "assets.extra" / _METADATA).write_text(metadata, encoding="utf-8")


def _call(model: keras.Model, form: Form, *, training: bool) -> Callable[..., Any]:
    """Returns a function that calls a model in a graph, in a form of activations."""
    import tensorflow as tf

    def call(*inputs: Tensor) -> Any:
        # A layer's own `tf.function` is traced again: earlier traces have another form.
        before = tf.config.functions_run_eagerly()
        tf.config.run_functions_eagerly(True)
        try:
            with written_as(form):
                return model(*inputs, training=training)
        except tf.errors.OperatorNotAllowedInGraphError as error:
            raise ValueError(
                "Argument `model` must not have a `tf.function` in which an `if` or a "
                "loop depends on the values of a tensor: an export cannot follow it. "
                "Write it with `keras.ops.cond` or `keras.ops.while_loop`."
            ) from error
        finally:
            tf.config.run_functions_eagerly(before)

    return call


def _served(model: keras.Model, inputs: list[Any]) -> keras.Model:
    """Returns a model that calls another with `training=False`, for Keras to export."""
    outputs = model(*inputs, training=False)
    taken = inputs[0] if len(inputs) == 1 else inputs
    served = keras.Model(taken, outputs, name=model.name)
    served(served.input)  # Keras exports only models that were called
    return served


def _write_onnx(model: keras.Model, path: Path, metadata: str) -> None:
    import onnx

    logger = logging.getLogger("tf2onnx")
    level = logger.level
    logger.setLevel(logging.CRITICAL)  # failed conversions are checked below
    try:
        model.export(str(path), format="onnx", verbose=False)
    finally:
        logger.setLevel(level)
    written = onnx.load(path)
    _replace_erfc(written.graph)
    try:
        onnx.checker.check_model(written, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise ValueError(
            "Argument `model` has operations that cannot be exported to ONNX. "
            f"Export it as a SavedModel instead. Error from ONNX: {error}"
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


def _format_of(path: Path, given: str | None) -> str:
    """Returns the format given by its name or by a path."""
    if given is not None and given not in _FORMATS.values():
        other = _OTHER_NAMES.get(given)
        raise ValueError(
            f"Argument `format` must be one of {[*_FORMATS.values()]}. "
            + f"This one is called {other!r}, as in Keras. " * (other is not None)
            + f"Received: format={given!r}"
        )
    kind = _FORMATS.get(path.suffix, given if given == "tf_saved_model" else None)
    if kind is None or given not in (None, kind):
        raise ValueError(
            "Argument `path` must have the suffix of the format: '.tflite' for "
            "'litert', '.onnx' for 'onnx', '.keras' for 'keras', and none for "
            "'tf_saved_model' (another suffix only if `format` is given). "
            f"Received: path={str(path)!r}, format={given!r}"
        )
    return kind


def _require_possible(path: Path, kind: str, trainable: bool, overwrite: bool) -> None:
    if trainable and kind != "tf_saved_model":
        raise ValueError(
            "Argument `trainable` must be False for all but 'tf_saved_model'. (To "
            f"resume training in Keras, use `model.save`.) Received: format={kind!r}"
        )
    if os.path.lexists(path) and not overwrite:
        raise FileExistsError(
            "Argument `path` must not exist yet, unless `overwrite=True`. "
            f"Received: path={str(path)!r}"
        )
    backend = keras.backend.backend()
    if kind != "keras" and backend != "tensorflow":
        raise RuntimeError(
            f"Format {kind!r} can only be written with the TensorFlow backend. Save "
            "the model with `model.save`, load it with KERAS_BACKEND=tensorflow, and "
            f"export it there. Received: backend {backend!r}"
        )
    needed = ("onnx", "tf2onnx") * (kind == "onnx")
    missing = [name for name in needed if importlib.util.find_spec(name) is None]
    if missing:
        raise ImportError(
            f"Format 'onnx' needs {' and '.join(missing)}: "
            f"pip install {' '.join(missing)}"
        )


def _inputs(model: keras.Model, signature: Any) -> list[Any]:
    """Returns symbolic inputs of a model, a structure for each argument of its call."""
    if not model.built:
        raise ValueError(
            "Argument `model` must be built. Call it on data first. "
            f"Received: model={model}"
        )
    if signature is None and isinstance(model, keras.Sequential) and model.inputs:
        return [model.inputs[0]]
    if signature is None and hasattr(model, "operations"):  # a Functional model
        return [model.input]
    signature = _recorded_signature(model) if signature is None else signature
    if not isinstance(signature, (list, tuple)):
        signature = [signature]
    parameters = inspect.signature(model.call).parameters
    names = itertools.chain(parameters, map(str, itertools.count()))
    return [_symbolic(spec, name) for spec, name in zip(signature, names, strict=False)]


def _symbolic(spec: Any, name: str) -> Any:
    """Returns symbolic tensors for specifications, each with a name."""
    if isinstance(spec, dict):
        return {key: _symbolic(part, str(key)) for key, part in spec.items()}
    if isinstance(spec, (list, tuple)):
        return [_symbolic(part, f"{name}_{i}") for i, part in enumerate(spec)]
    if getattr(spec, "shape", None) is None or getattr(spec, "dtype", None) is None:
        raise TypeError(
            "Argument `input_signature` must be a list of `keras.InputSpec`s with "
            f"`shape` and `dtype`, or of lists or dicts of them. Received: {spec!r}"
        )
    dtype = keras.backend.standardize_dtype(spec.dtype)
    name = getattr(spec, "name", None) or name
    return keras.Input(batch_shape=tuple(spec.shape), dtype=dtype, name=name)


def _recorded_signature(model: keras.Model) -> list[Any]:
    """Returns a signature for calls like the one that built a model."""
    import tensorflow as tf

    config = model.get_build_config() or {}
    shapes = list(config.get("shapes_dict", config).values())
    call, errors = _call(model, "plain", training=False), []
    for dtype in (model.variable_dtype, "int32"):
        try:
            signature = keras.tree.map_shape_structure(
                lambda shape, dtype=dtype: tf.TensorSpec((None, *shape[1:]), dtype),
                shapes,
            )
            traced = tf.function(call, signature, autograph=False)
            tensors = traced.get_concrete_function().inputs
        except Exception as error:  # of any kind, in the model
            errors.append(error)
            continue
        specs = [
            tf.TensorSpec(spec.shape, _used_as(tensor))
            for spec, tensor in zip(tf.nest.flatten(signature), tensors, strict=False)
        ]
        return tf.nest.pack_sequence_as(signature, specs)
    raise ValueError(
        "Argument `input_signature` is required for this model: a `keras.InputSpec` "
        "with `shape` and `dtype` for each argument of its `call`. The shapes that "
        f"Keras knows are not enough: {shapes}. Error: {errors[0]}"
    ) from errors[0]


def _used_as(tensor: Tensor) -> Any:
    """Returns the dtype other than floating-point that a tensor is cast to, or its own.

    A mask may be computed from it by a comparison before the cast.
    """
    others = ("Equal", "NotEqual", "Shape")
    uses = [use for use in tensor.consumers() if use.type not in others]
    dtypes = {_used_as(use.outputs[0]) for use in uses if use.type == "Cast"}
    if len(dtypes) != 1 or any(use.type != "Cast" for use in uses):
        return tensor.dtype
    dtype = dtypes.pop()
    return tensor.dtype if dtype.is_floating else dtype
