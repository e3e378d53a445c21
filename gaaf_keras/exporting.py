"""Export of trained models to formats that are served without this package."""

import os
import shutil
from pathlib import Path
from typing import Any

import keras


def export(model: Any, path: str | os.PathLike[str], overwrite: bool = False) -> Path:
    """Writes a model's inference graph as a TensorFlow SavedModel.

    The graph is traced with `training=False`, so GAAF layers appear in it as their
    base activations, op for op, and whoever loads it needs TensorFlow and nothing
    else. (Keras's own `model.export` says nothing about training and keeps the
    accelerated gradient in the graph. So does this function for `gaaf_tanh` and the
    other function forms, which always accelerate; their outputs are the same.)

    The folder is written under a temporary name and renamed when complete: a crash
    never leaves half an export behind.

    Args:
        model: A built Functional or Sequential Keras model.
        path: The folder to make.
        overwrite: Whether to replace what is at `path`. Defaults to False.

    Returns:
        The path written.

    Raises:
        RuntimeError: If the Keras backend is not TensorFlow.
        FileExistsError: If there is something at `path` and `overwrite` is False.
        ValueError: If the model has no defined inputs.

    Example:
    ```python
    gaaf_keras.export(model, "saved_model")

    # Elsewhere, without gaaf_keras and without Keras:
    serve = tf.saved_model.load("saved_model").serve
    outputs = serve(images)
    ```
    """
    if keras.backend.backend() != "tensorflow":
        raise RuntimeError(
            "A SavedModel can be written with the TensorFlow backend only. Set "
            "KERAS_BACKEND=tensorflow before importing Keras. "
            f"Received: backend {keras.backend.backend()!r}"
        )
    import tensorflow as tf

    path = Path(path).expanduser()
    if path.exists() and not overwrite:
        raise FileExistsError(
            "Argument `path` must name a folder that does not exist yet, unless "
            f"`overwrite=True`. Received: path={str(path)!r}"
        )
    inputs = _inputs(model)
    archive = keras.export.ExportArchive()
    archive.track(model)
    archive.add_endpoint(
        name="serve",
        fn=lambda inputs: model(inputs, training=False),
        input_signature=[
            keras.tree.map_structure(
                lambda tensor: tf.TensorSpec(tensor.shape, tensor.dtype, tensor.name),
                inputs,
            )
        ],
    )
    unfinished = path.with_name(f"{path.name}.unfinished-{os.getpid()}")
    try:
        archive.write_out(str(unfinished), verbose=False)
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
        unfinished.rename(path)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return path


def _inputs(model: Any) -> Any:
    """Returns a model's symbolic inputs, in the structure in which it takes them."""
    try:
        return model.inputs[0] if isinstance(model, keras.Sequential) else model.input
    except (AttributeError, TypeError, ValueError) as error:
        raise ValueError(
            "Argument `model` must be a built Functional or Sequential model, whose "
            f"inputs are known. Received: model={model}"
        ) from error
