"""What a run asks of its devices, on any backend."""

import contextlib
import json
import platform
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import keras
import numpy as np

from experiments.config import TrainingConfig, UsageError
from experiments.data import batches
from experiments.data.datasets import ImageData, Split
from gaaf_keras._version import __version__

_SHARE_OF_MEMORY = 0.5  # the part of a device's memory that images may take


class Training(NamedTuple):
    """A model in training.

    Attributes:
        model: A compiled and built model.
        config: The run, with its batches and augmentation.
        initial_epoch: Number of epochs already trained.
        epochs: Maximum number of epochs, including those.
        callbacks: Keras callbacks.
    """

    model: keras.Model
    config: TrainingConfig
    initial_epoch: int
    epochs: int
    callbacks: list[keras.callbacks.Callback]


class Strategy:
    """One device that takes its batches as NumPy arrays.

    Attributes:
        name: Its name in `config.json`.
        devices: Names of the devices, including other machines': one replica each.
        is_chief: Whether this process is the one that reads and writes files.
        synchronizes_batch_norm: Whether batch normalisation must be told to use the
            global batch.
        has_other_processes: Whether other processes take part in the training.
    """

    name = "one device"
    is_chief = True
    synchronizes_batch_norm = False
    has_other_processes = False

    def __init__(self, devices: list[str]) -> None:
        self.devices = devices

    @property
    def replicas(self) -> int:
        """Number of devices that share each global batch."""
        return len(self.devices)

    def describe(self) -> dict[str, Any]:
        """Returns its description for `config.json`."""
        return {
            "strategy": self.name,
            "replicas": self.replicas,
            "devices": self.devices,
            "versions": {
                "gaaf_keras": __version__,
                "keras": keras.__version__,
                "python": platform.python_version(),
                **self.versions(),
            },
        }

    def versions(self) -> dict[str, str]:
        """Returns the versions of the backend's packages, by name."""
        return {}

    def scope(self) -> contextlib.AbstractContextManager[Any]:
        """Returns the context in which models are created and trained."""
        return contextlib.nullcontext()

    def jit_compile(self, choice: str) -> bool | str:
        """Returns the argument of `compile` for `auto`, `true` or `false`."""
        return "auto" if choice == "auto" else choice == "true"

    def kind(self, config: TrainingConfig) -> Hashable:
        """Returns what runs must share to train at once."""
        return config

    def memory(self) -> int | None:
        """Returns the bytes of the device's memory; None if images need not fit in."""
        return None

    def streams(self, data: ImageData) -> bool:
        """Whether there are too many images to keep on the device next to a model."""
        memory = self.memory()
        splits = data.train, data.validation, data.test
        size = sum(split.images.nbytes for split in splits)
        return memory is not None and size > _SHARE_OF_MEMORY * memory

    def runs_at_once(
        self, wanted: int | str, config: TrainingConfig, data: ImageData
    ) -> int:
        """Returns the number of runs of one kind to train at once.

        Args:
            wanted: A number, or `"auto"`: as many as are certain to be faster.
            config: One of the runs.
            data: Their data.

        Raises:
            UsageError: If several cannot train at once here.
        """
        if wanted != "auto" and int(wanted) > 1:
            raise UsageError(
                "runs_at_once needs Keras on JAX, and one device per run. Set "
                "KERAS_BACKEND=jax with --strategy=one_device, or leave it out. "
                "(parallel_runs trains in several processes.) "
                f"Received: {wanted}, on {keras.backend.backend()} with {self.name}"
            )
        return 1

    def compiling_ahead(
        self, trainings: Iterable[tuple[Training, int]], data: ImageData
    ) -> contextlib.AbstractContextManager[None]:
        """Compiles programs for later training in the background, where that pays.

        Args:
            trainings: One of each kind, with the number that will train at once;
                created only where they are used.
            data: Their training and validation data.
        """
        return contextlib.nullcontext()

    def fit(self, data: ImageData, trainings: Sequence[Training]) -> None:
        """Trains compiled models, as `keras.Model.fit` does.

        Args:
            data: Their training and validation data.
            trainings: The models. Several must be of one kind; they train at once.
        """
        for model, config, initial_epoch, epochs, callbacks in trainings:
            model.fit(
                **self.fit_arguments(data, config, initial_epoch),
                steps_per_epoch=len(data.train) // config.batch_size,
                initial_epoch=initial_epoch,
                epochs=epochs,
                shuffle=False,  # the batches have their own order
                callbacks=callbacks,
                verbose=0,
            )

    def fit_arguments(
        self, data: ImageData, config: TrainingConfig, first_epoch: int
    ) -> dict[str, Any]:
        """Returns the data, as arguments of `fit`."""
        indices, weights = batches.evaluation_order(len(data.validation), self.replicas)
        return {
            "x": batches.training_batches(
                data.train,
                config.batch_size,
                config.seed,
                config.augments,
                first_epoch,
            ),
            "validation_data": (
                data.validation.images[indices.ravel()].astype("float32"),
                data.validation.labels[indices.ravel()],
                weights.ravel(),
            ),
            "validation_batch_size": indices.shape[1],
        }

    def accuracy(
        self, model: keras.Model, config: TrainingConfig, data: ImageData, split: str
    ) -> float:
        """Returns the accuracy on all examples of a split.

        Args:
            model: A model that was trained here.
            config: The run.
            data: Its data.
            split: `"validation"` or `"test"`.
        """
        examples: Split = getattr(data, split)
        images = examples.images.astype("float32")
        logits = model.predict(images, batch_size=256, verbose=0)
        return float(np.mean(np.argmax(logits, axis=-1) == examples.labels))

    def share(self, content: Callable[[], bytes]) -> bytes:
        """Returns the chief's `content` in all processes."""
        return content()

    def decide(self, question: Callable[[], Any]) -> Any:
        """Returns the chief's answer to `question` in all processes.

        An answer must be valid JSON data. A `UsageError` is raised in all processes.
        """

        def answer() -> bytes:
            try:
                reply = {"answer": question()}
            except UsageError as error:
                reply = {"error": str(error)}
            return json.dumps(reply).encode()

        reply = json.loads(self.share(answer))
        if "error" in reply:
            raise UsageError(reply["error"])
        return reply["answer"]

    @contextlib.contextmanager
    def guarded(self) -> Iterator[None]:
        """Turns the loss of another process into a `WorkerLostError`."""
        yield
