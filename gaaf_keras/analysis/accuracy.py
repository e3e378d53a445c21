"""Which predictions of a model that classifies are right."""

from collections.abc import Callable
from typing import Any

import keras
from keras import ops

_HALF = 0.5


def classification(loss: Any) -> Callable[[Any, Any], Any] | None:
    """Returns what says of targets and outputs whether they agree on the class.

    None for a loss that is no cross-entropy, and for several losses.
    """
    try:
        found: Any = keras.losses.get(loss)
    except (TypeError, ValueError):
        return None
    name = str(getattr(found, "name", getattr(found, "__name__", "")))
    if name.startswith(("categorical", "sparse_categorical")):
        return lambda y, outputs: ops.equal(
            ops.argmax(outputs, axis=-1), _classes(y, outputs)
        )
    if name.startswith("binary"):
        is_object = hasattr(found, "get_config")
        from_logits = is_object and found.get_config().get("from_logits", False)
        border = 0.0 if from_logits else _HALF
        return lambda y, outputs: ops.equal(
            outputs > border,
            ops.cast(ops.reshape(y, ops.shape(outputs)), "float32") > _HALF,
        )
    return None


def _classes(y: Any, outputs: Any) -> Any:
    """Returns the classes in targets, which are numbers of classes or one-hot.

    The name of a loss does not tell: some "categorical" ones take numbers.
    """
    if len(y.shape) < len(outputs.shape) or y.shape[-1] == 1:
        return ops.cast(ops.reshape(y, ops.shape(outputs)[:-1]), "int32")
    return ops.argmax(y, axis=-1)
