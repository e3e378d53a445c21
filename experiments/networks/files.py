"""Models from files: loaded, held against the data, accelerated."""

import zipfile
from pathlib import Path

import keras
import numpy as np

from experiments.config import TrainingConfig, UsageError
from experiments.data.datasets import ImageData
from experiments.networks.activation import shape_function
from gaaf_keras._core.kinds import (
    is_activation_operation,
    is_functional,
    is_graph,
    name_of,
)
from gaaf_keras.acceleration import Acceleration, accelerate
from gaaf_keras.acceleration.outputs import last_operations

_PROBES = 8  # images on which a model from a file is tried


def gives_probabilities(model: keras.Model, data: ImageData) -> bool:
    """Whether a model's outputs are probabilities; otherwise they are logits.

    Raises:
        UsageError: If they are neither.
    """
    outputs = keras.ops.convert_to_numpy(
        model(data.train.images[:_PROBES].astype("float32"), training=False)
    ).astype("float64")
    sums = outputs.sum(axis=1)
    if np.all(outputs >= 0) and np.allclose(sums, 1, atol=1e-2):
        return True
    for last in last_operations(model):
        activation = getattr(last, "activation", None)
        name = name_of(last if is_activation_operation(last) else activation)
        if name != "linear":
            raise UsageError(
                f"Model '{model.name}' must return logits or a softmax. It ends in: "
                f"{name}."
            )
    return False


def load(
    config: TrainingConfig, data: ImageData
) -> tuple[keras.Model, Acceleration | None]:
    """Returns the model in `config.init_from`, accelerated if that is asked for."""
    path = Path(str(config.init_from)).expanduser()
    try:
        model = keras.saving.load_model(path, compile=False)
    except Exception as error:  # what can be wrong with a file is without number
        reason = str(error).strip().partition("\n")[0]
        if path.is_file() and not zipfile.is_zipfile(path):
            reason = "it is not a zip file, as `model.save` writes it."
        raise UsageError(f"init_from '{path}' cannot be loaded: {reason}") from error
    if not is_graph(model) or not model.built:
        raise UsageError(
            f"init_from '{path}' must hold a Functional or Sequential model with a "
            f"known input. It holds: {model}"
        )
    _require_shapes(model, data, path)
    return model, accelerated(model, config) if config.accelerate else None


def accelerated(model: keras.Model, config: TrainingConfig) -> Acceleration:
    """Accelerates a model from a file as a run does.

    Raises:
        UsageError: If there is nothing to accelerate, or the shape function does not
            fit.
    """
    try:
        return accelerate(
            model,
            shape_function(config),
            config.strength,
            unit_gain=bool(config.unit_gain),
        )
    except (TypeError, ValueError) as error:
        in_python = (
            " train.py has no flag for `layers`; in Python, call "
            "`gaaf_keras.accelerate(model, layers=...)`."
        ) * ("`layers`" in str(error))
        raise UsageError(
            f"init_from '{config.init_from}' cannot be accelerated: {error}{in_python}"
        ) from error


def _require_shapes(model: keras.Model, data: ImageData, path: Path) -> None:
    """Raises if a model is not one for the images and classes of a data set."""
    structured = is_functional(model) and not isinstance(
        model.output, keras.KerasTensor
    )
    if len(model.inputs) != 1 or len(model.outputs) != 1 or structured:
        raise UsageError(
            f"init_from '{path}' must have one input and one output, a tensor. It has "
            f"{len(model.inputs)} and {len(model.outputs)}"
            + (f", in a structure: {model.output}." if structured else ".")
        )
    if not model.trainable_weights:
        raise UsageError(f"init_from '{path}' has no weights that can be trained.")
    wanted = tuple(data.train.images.shape[1:])
    takes, gives = tuple(model.inputs[0].shape[1:]), tuple(model.outputs[0].shape[1:])
    fits = len(takes) == len(wanted) and all(
        size in (None, image) for size, image in zip(takes, wanted, strict=True)
    )
    if not fits or gives != (data.classes,):
        raise UsageError(
            f"init_from '{path}' maps {takes} to {gives}; data set '{data.name}' has "
            f"images of shape {wanted} and {data.classes} classes."
        )
