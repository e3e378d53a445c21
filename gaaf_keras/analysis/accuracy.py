"""The number of correct predictions of a classifier."""

import functools
from collections.abc import Callable
from typing import Any

import keras
from keras import ops

from gaaf_keras._core.types import Tensor
from gaaf_keras.analysis.data import Data, Loss

_HALF = 0.5


def classification(
    loss: Loss | None,
) -> Callable[[Data, Tensor], list[Tensor]] | None:
    """Returns a function that counts the correct predictions in targets and outputs.

    The function returns the number of correct predictions and the number counted; an
    empty list for several outputs. It leaves out predictions that the Keras mask of the
    outputs or the loss's `ignore_class` leaves out.

    None for a loss that is not a cross-entropy, and for several losses.
    """
    try:
        found: Any = keras.losses.get(loss)
    except (TypeError, ValueError):
        return None
    name = str(getattr(found, "name", getattr(found, "__name__", "")))
    if name.startswith(("categorical", "sparse_categorical")):
        ignored = getattr(found, "ignore_class", None)
        judge = functools.partial(_same_class, ignored=ignored)
    elif name.startswith("binary"):
        is_object = hasattr(found, "get_config")
        from_logits = is_object and found.get_config().get("from_logits", False)
        judge = functools.partial(_same_side, border=0.0 if from_logits else _HALF)
    else:
        return None
    mask_of = _Mask(name="mask")

    def tally(y: Data, outputs: Tensor) -> list[Tensor]:
        outputs = keras.tree.flatten(outputs)
        if len(outputs) > 1:
            return []
        right, counted = judge(keras.tree.flatten(y)[0], outputs[0])
        mask = mask_of(outputs[0])
        if mask is not None:
            missing = len(counted.shape) - len(mask.shape)
            mask = ops.reshape(mask, (*ops.shape(mask), *[1] * missing))
            counted = ops.logical_and(counted, mask)
        right = ops.logical_and(right, counted)
        return [ops.sum(ops.cast(each, "float32")) for each in (right, counted)]

    return tally


class _Mask(keras.layers.Layer):
    """Returns the Keras mask of a tensor; None if it has none.

    (While JAX compiles, the mask is not an attribute of the tensor.)
    """

    def call(self, outputs: Tensor, mask: Tensor = None) -> Tensor:
        return mask

    def compute_mask(self, *_: Any) -> None:
        """Declares that the layer supports masks, and that its output has none."""


def _same_class(
    y: Tensor, outputs: Tensor, ignored: int | None
) -> tuple[Tensor, Tensor]:
    """Returns which predictions are correct, and which count."""
    classes = _classes(y, outputs)
    right = ops.equal(ops.argmax(outputs, axis=-1), classes)
    if ignored is None:
        return right, ops.ones_like(right)
    return right, ops.not_equal(classes, ignored)


def _same_side(y: Tensor, outputs: Tensor, border: float) -> tuple[Tensor, Tensor]:
    """Returns the same for targets that are each 0 or 1."""
    is_one = ops.cast(ops.reshape(y, ops.shape(outputs)), "float32") > _HALF
    right = ops.equal(outputs > border, is_one)
    return right, ops.ones_like(right)


def _classes(y: Tensor, outputs: Tensor) -> Tensor:
    """Returns the classes in targets, which are class numbers or one-hot.

    The name of a loss does not tell which: some "categorical" ones take numbers.
    """
    if len(y.shape) < len(outputs.shape) or y.shape[-1] == 1:
        return ops.cast(ops.reshape(y, ops.shape(outputs)[:-1]), "int32")
    return ops.argmax(y, axis=-1)
