"""The state from which a run resumes as if it had never stopped."""

import dataclasses
import functools
import io
import json
import zipfile
from collections.abc import Callable
from typing import Any

import keras
import ml_dtypes
import numpy as np

from experiments.config import UsageError
from experiments.records.history import Row
from gaaf_keras._core.forms import written_as

# The values of the variables of a model, including the states of random generators, and
# of its optimizer.
State = list[Any]


def state_of(model: keras.Model) -> State:
    """Returns a copy of the current state of a model and its optimizer."""
    if keras.backend.backend() == "jax":  # where the copies can stay on the device
        return _copies()([variable.value for variable in _variables(model)])
    return [np.array(keras.ops.convert_to_numpy(v)) for v in _variables(model)]


def restore(model: keras.Model, state: State) -> None:
    """Restores the state of a model and its optimizer.

    Raises:
        UsageError: If it is the state of another model.
    """
    variables = _variables(model)
    expected = [tuple(variable.shape) for variable in variables]
    if expected != [value.shape for value in state]:
        raise UsageError(
            "The checkpoint is of another model, or from another version of Keras. "
            "Give a new output_dir."
        )
    for variable, value in zip(variables, state, strict=True):
        variable.assign(np.asarray(value))  # from any device


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """The state of a run after an epoch.

    Attributes:
        history: One row for each epoch so far.
        last: The state after the last of them.
        best: The state after the best epoch, or at the start.
    """

    history: list[Row]
    last: State
    best: State

    def to_bytes(self) -> bytes:
        """Returns the contents of a checkpoint file, for `from_bytes`."""
        file = io.BytesIO()
        arrays = [np.asarray(value) for value in (*self.last, *self.best)]
        description = {
            "history": self.history,
            "variables": len(self.last),
            # NumPy forgets the name of bfloat16.
            "dtypes": [value.dtype.name for value in arrays],
        }
        np.savez(file, *arrays, description=np.array(json.dumps(description)))
        return file.getvalue()

    @classmethod
    def from_bytes(cls, content: bytes) -> "Checkpoint":
        """Returns the checkpoint from the result of `to_bytes`.

        Raises:
            UsageError: If the contents are damaged.
        """
        try:
            with np.load(io.BytesIO(content), allow_pickle=False) as file:
                description = json.loads(str(file["description"]))
                arrays = [
                    file[f"arr_{number}"].view(_dtype(name))
                    for number, name in enumerate(description["dtypes"])
                ]
        except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
            raise UsageError(
                f"The checkpoint is damaged ({error}). Give a new output_dir."
            ) from error
        count = description["variables"]
        return cls(description["history"], arrays[:count], arrays[count:])


def _variables(model: keras.Model) -> list[keras.Variable]:
    # In another form they would include the strengths of an AccelerationSchedule once
    # it has started; those follow from the epoch.
    with written_as("plain"):
        return [*model.variables, *model.optimizer.variables]


@functools.cache
def _copies() -> Callable[[State], State]:
    """Returns a function that copies JAX arrays, all in one program."""
    import jax

    return jax.jit(lambda values: [keras.ops.copy(value) for value in values])


def _dtype(name: str) -> np.dtype:
    return np.dtype(ml_dtypes.bfloat16 if name == "bfloat16" else name)
