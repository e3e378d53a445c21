"""What a run needs to resume after an epoch as if it had never stopped."""

import dataclasses
import io
import json
import zipfile

import keras
import ml_dtypes
import numpy as np

from experiments.config import UsageError
from experiments.records.history import Row
from gaaf_keras._core.forms import written_as


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """The state of a run after an epoch.

    Attributes:
        history: A row for each epoch so far.
        variables: Of the model, the states of random generators included, and of the
            optimizer.
        best_weights: The weights after the best epoch, or at the start.
    """

    history: list[Row]
    variables: list[np.ndarray]
    best_weights: list[np.ndarray]

    @classmethod
    def of(
        cls, model: keras.Model, history: list[Row], best_weights: list[np.ndarray]
    ) -> "Checkpoint":
        """Returns the present state of a model and its optimizer."""
        values = [np.array(keras.ops.convert_to_numpy(v)) for v in _variables(model)]
        return cls(list(history), values, best_weights)

    def restore(self, model: keras.Model) -> None:
        """Gives a model and its optimizer this state.

        Raises:
            UsageError: If they are not those that it is of.
        """
        variables = _variables(model)
        expected = [tuple(variable.shape) for variable in variables]
        found = [value.shape for value in self.variables]
        if expected != found:
            raise UsageError(
                "The checkpoint is of another model, perhaps from another version of "
                "Keras. Give a new output_dir."
            )
        for variable, value in zip(variables, self.variables, strict=True):
            variable.assign(value)

    def to_bytes(self) -> bytes:
        """Returns the contents of a file that `from_bytes` reads."""
        file = io.BytesIO()
        arrays = [*self.variables, *self.best_weights]
        description = {
            "history": self.history,
            "variables": len(self.variables),
            # NumPy forgets the name of bfloat16.
            "dtypes": [value.dtype.name for value in arrays],
        }
        np.savez(file, *arrays, description=np.array(json.dumps(description)))
        return file.getvalue()

    @classmethod
    def from_bytes(cls, content: bytes) -> "Checkpoint":
        """Returns the state that `to_bytes` has written.

        Raises:
            UsageError: If it has not.
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
    # In another form the strengths of an AccelerationSchedule, which is a function of
    # the epoch, are among them once it has begun.
    with written_as("plain"):
        return [*model.variables, *model.optimizer.variables]


def _dtype(name: str) -> np.dtype:
    return np.dtype(ml_dtypes.bfloat16 if name == "bfloat16" else name)
