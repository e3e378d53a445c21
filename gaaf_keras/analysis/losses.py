"""The loss of a model on data, and its accuracy."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import ops

from gaaf_keras.analysis.accuracy import classification
from gaaf_keras.analysis.data import count, in_batches
from gaaf_keras.analysis.stateless import isolated, replicas


def loss_function(model: Any, loss: Any, training: bool) -> Callable[..., Any]:
    """Returns what computes the loss of a batch from inputs, targets and outputs.

    Args:
        model: A built Keras model.
        loss: A Keras loss, its name, or a function of targets and outputs; for a model
            with several outputs a function of all of them. Defaults to what the model
            was compiled with, regularisation included.
        training: Whether the loss is that of training.

    Raises:
        ValueError: If there is no loss, or several are given; when it is called, if a
            loss of Keras is given to a model with several outputs.
    """
    if loss is not None:
        return _given_loss(model, loss)
    overridden = type(model).compute_loss is not keras.Model.compute_loss
    if model.loss is None and not overridden:
        raise ValueError(
            "Argument `loss` must be given for a model that is not compiled with one. "
            f"Received: loss=None, model={model.name!r}"
        )

    def compiled(x: Any, y: Any, outputs: Any) -> Any:
        return replicas() * model.compute_loss(x, y, outputs, training=training)

    return compiled


def _given_loss(model: Any, loss: Any) -> Callable[..., Any]:
    message = (
        "Argument `loss` must be one loss, for a model with one output. If it has "
        "several, compile it with its losses and leave `loss` out, or give a function "
        f"of all targets and outputs. Received: loss={loss!r}, model={model.name!r}"
    )
    if keras.tree.is_nested(loss) and "class_name" not in loss:
        raise ValueError(message)
    given = keras.losses.get(loss)
    shared = replicas() if isinstance(given, keras.Loss) else 1
    is_from_keras = getattr(given, "__module__", "").startswith("keras.")

    def mean(_: Any, y: Any, outputs: Any) -> Any:
        if is_from_keras and len(keras.tree.flatten(outputs)) > 1:
            raise ValueError(message)
        return shared * ops.mean(given(y, outputs))

    return mean


def prepare_loss(model: Any, loss: Any, x: Any, y: Any) -> None:
    """Lets a compiled model make what it needs to compute its loss.

    Args:
        model: A built Keras model.
        loss: As for `loss_function`.
        x: Inputs, as many as will be computed at once: a model may take no others.
        y: Their targets.
    """
    compiled = getattr(model, "_compile_loss", None)
    if loss is None and compiled is not None and not compiled.built:
        outputs = isolated(model, lambda x: model(x, training=False))(x)
        compiled.build(y, outputs)


def evaluation(
    model: Any, forward: Callable[..., Any], x: Any, y: Any, loss: Any
) -> Callable[..., np.ndarray]:
    """Returns what computes the loss of a model on data, and its accuracy.

    Args:
        model: A built Keras model.
        forward: Maps inputs, and perhaps more tensors, to the model's outputs.
        x: Inputs to be expected.
        y: Targets to be expected.
        loss: As for `loss_function`.

    Returns:
        A function of inputs, targets and the other arrays that `forward` takes. It
        returns the loss, mean over all examples, and, if the model classifies, the
        share of predictions that are right.
    """
    prepare_loss(model, loss, *next(in_batches((x, y))))
    loss_of = loss_function(model, loss, training=False)
    tally = classification(model.loss if loss is None else loss)

    def measure(x: Any, y: Any, *others: Any) -> list[Any]:
        outputs = forward(x, *others)
        counts = [] if tally is None else tally(y, outputs)
        return [loss_of(x, y, outputs), *counts]

    compiled = isolated(model, measure, often=True)

    def evaluate(x: Any, y: Any, *others: Any) -> np.ndarray:
        batches = list(in_batches((x, y)))
        rows = np.array([compiled(*batch, *others) for batch in batches], "float64")
        sizes = [count(batch) for batch in batches]
        loss, *counts = rows.T
        results = [np.average(loss, weights=sizes)]
        if counts:
            right, counted = np.sum(counts, axis=1)
            results.append(right / max(counted, 1))
        return np.array(results)

    return evaluate
