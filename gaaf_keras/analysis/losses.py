"""The loss of a model on data, and its accuracy."""

from collections.abc import Callable, Sequence

import keras
import numpy as np
from keras import ops

from gaaf_keras._core.types import Tensor
from gaaf_keras.analysis.accuracy import classification
from gaaf_keras.analysis.data import Data, Loss, count, in_batches
from gaaf_keras.analysis.stateless import replicas, stateless


def loss_function(
    model: keras.Model, loss: Loss | None, x: Data, y: Data, *, training: bool
) -> Callable[..., Tensor]:
    """Returns a function that computes a batch's loss from inputs, targets and outputs.

    It optionally takes weights of the examples as a last argument.

    Args:
        model: A built Keras model.
        loss: The loss. Defaults to what the model was compiled with, including
            regularisation.
        x: Inputs, as many as will be computed at once: the model may accept no other
            number.
        y: Their targets. Keras builds a compiled loss from both.
        training: Whether the loss is that of training.

    Raises:
        ValueError: If there is no loss, or several are given; when the function is
            called, if a Keras loss is given for a model with several outputs.
    """
    if loss is not None:
        return _given_loss(model, loss)
    overridden = type(model).compute_loss is not keras.Model.compute_loss
    if model.loss is None and not overridden:
        raise ValueError(
            "Argument `loss` must be given for a model compiled without a loss. "
            f"Received: loss=None, model={model.name!r}"
        )

    own = getattr(model, "_compile_loss", None)
    if own is not None and not own.built:
        own.build(y, stateless(model, lambda x: model(x, training=False))(x))

    def compiled(x: Data, y: Data, outputs: Tensor, *weights: Data) -> Tensor:
        loss = model.compute_loss(x, y, outputs, *weights, training=training)
        return replicas() * loss

    return compiled


def _given_loss(model: keras.Model, loss: Loss) -> Callable[..., Tensor]:
    message = (
        "Argument `loss` must be one loss, for a model with one output. For several "
        "outputs, compile the model with its losses and leave `loss` out, or give a "
        "function of all targets and outputs. "
        f"Received: loss={loss!r}, model={model.name!r}"
    )
    if keras.tree.is_nested(loss) and "class_name" not in loss:
        raise ValueError(message)
    given = keras.losses.get(loss)
    shared = replicas() if isinstance(given, keras.Loss) else 1
    is_from_keras = getattr(given, "__module__", "").startswith("keras.")

    def mean(_: Data, y: Data, outputs: Tensor, *weights: Data) -> Tensor:
        if is_from_keras and len(keras.tree.flatten(outputs)) > 1:
            raise ValueError(message)
        if isinstance(given, keras.Loss):
            return shared * ops.mean(given(y, outputs, *weights))
        losses = given(y, outputs)
        for weight in weights:
            losses = _weighted(losses, ops.convert_to_tensor(weight))
        return ops.mean(losses)

    return mean


def _weighted(losses: Tensor, weights: Tensor) -> Tensor:
    """Returns the losses of examples, or of parts of them, times the weights."""
    missing = len(losses.shape) - len(weights.shape)
    if missing < 0:
        raise ValueError(
            "Argument `loss` must return one loss per example if these have weights. "
            f"Received losses of shape {tuple(losses.shape)} and weights of shape "
            f"{tuple(weights.shape)}"
        )
    weights = ops.reshape(weights, (*ops.shape(weights), *[1] * missing))
    return losses * ops.cast(weights, losses.dtype)


def evaluation(
    model: keras.Model,
    forward: Callable[..., Tensor],
    x: Data,
    y: Data,
    loss: Loss | None,
) -> Callable[..., np.ndarray]:
    """Returns a function that computes a model's loss and accuracy on data.

    Args:
        model: A built Keras model.
        forward: Maps inputs, and optionally more tensors, to the model's outputs.
        x: Inputs to expect.
        y: Targets to expect.
        loss: As for `loss_function`.

    Returns:
        A function of inputs, targets and the other arguments of `forward`. It returns
        the mean loss over all examples and, if the model classifies, its accuracy.
    """
    loss_of = loss_function(model, loss, *next(in_batches((x, y))), training=False)
    tally = classification(model.loss if loss is None else loss)

    def measure(x: Data, y: Data, *others: Tensor) -> list[Tensor]:
        outputs = forward(x, *others)
        counts = [] if tally is None else tally(y, outputs)
        return [loss_of(x, y, outputs), *counts]

    compiled = stateless(model, measure, often=True)

    def evaluate(x: Data, y: Data, *others: Data) -> np.ndarray:
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


def at_each(
    sizes: Sequence[float], times: int, evaluate: Callable[[float, int], np.ndarray]
) -> tuple[list[float], list[float], list[float]]:
    """Returns losses, their standard deviations and accuracies, at size 0 and others.

    They are means over the repeats of `evaluate` at each size.
    """
    rows = [np.array([evaluate(0.0, 0)])]
    rows += [np.array([evaluate(size, i) for i in range(times)]) for size in sizes]
    losses, *accuracies = np.transpose([row.mean(axis=0) for row in rows]).tolist()
    deviations = [float(row[:, 0].std(ddof=1)) if len(row) > 1 else 0.0 for row in rows]
    return losses, deviations, accuracies[0] if accuracies else []
