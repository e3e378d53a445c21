"""Epochs on JAX as compiled programs, on images that stay on the device.

An epoch is a loop over Keras's own `train_step`, for which each batch is gathered and
augmented on the device. Weights and history are those of `fit`: on a CPU to the last
bit for dense networks; convolutions are compiled otherwise, and round otherwise. An
epoch in which the loss is not a number ends all the same.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import keras
import numpy as np

from experiments.data.batches import SHIFT, EpochOrder, epoch_order, evaluation_order
from experiments.data.datasets import ImageData

_SHARE_OF_MEMORY = 0.5  # of the device, that images may take
_State = tuple[list[Any], ...]  # the values of a model's variables


def fits_on_device(data: ImageData) -> bool:
    """Whether the images leave enough of the device's memory to a model."""
    memory = (jax.local_devices()[0].memory_stats() or {}).get("bytes_limit")
    size = data.train.images.nbytes + data.validation.images.nbytes
    return memory is None or size < _SHARE_OF_MEMORY * memory


class Resident(NamedTuple):
    """A data set on the device: images with labels, and batches with weights."""

    train: tuple[Any, Any]
    validation: tuple[Any, Any, Any]

    @classmethod
    def of(cls, data: ImageData, *, augment: bool) -> "Resident":
        """Returns a data set on the device, padded for what moves its images."""
        indices, weights = evaluation_order(len(data.validation))
        validation = data.validation
        return cls(
            jax.device_put((_padded(data.train.images, augment), data.train.labels)),
            jax.device_put(
                (validation.images[indices], validation.labels[indices], weights)
            ),
        )


class Programs:
    """The compiled programs of a model; another with the same layers can run them.

    Args:
        model: A compiled and built model.
        augment: Whether training images are flipped and shifted.
    """

    def __init__(self, model: keras.Model, *, augment: bool) -> None:
        self._model = model
        self._augment = augment
        self._train = jax.jit(self._train_steps, donate_argnums=(0, 1))
        self._validate = jax.jit(self._validation)

    def train(
        self,
        model: keras.Model,
        order: EpochOrder,
        losses: Any,
        part: tuple[int, int],
        on: Resident,
    ) -> Any:
        """Trains for some steps of an epoch, and returns the losses with theirs added.

        Args:
            model: What is trained.
            order: Of the epoch, on the device.
            losses: Keras's mean of the loss so far, after each step of the epoch.
            part: The first step, and the one after the last.
            on: The data.
        """
        state, losses = self._train(_state(model), losses, order, *part, on.train)
        _assign(model, state)
        return losses

    def validate(self, model: keras.Model, on: Resident) -> dict[str, float]:
        """Returns loss and accuracy on the validation data."""
        model.reset_metrics()
        trainable, others, _, metrics = _state(model)
        found = self._validate(trainable, others, metrics, on.validation)
        for variable, value in zip(model.metrics_variables, found, strict=True):
            variable.assign(value)
        return _numbers(model)

    def _train_steps(  # noqa: PLR0917
        self,
        state: _State,
        losses: Any,
        order: EpochOrder,
        first: int,
        end: int,
        on: Any,
    ) -> tuple[_State, Any]:
        images, labels = on

        def step(index: Any, carried: tuple[_State, Any]) -> tuple[_State, Any]:
            state, losses = carried
            batch = EpochOrder(*(part[index] for part in order))
            x = _moved(images, batch) if self._augment else images[batch.indices]
            data = x.astype("float32"), labels[batch.indices]
            logs, state = self._model.train_step(state, data)
            return state, losses.at[index].set(logs["loss"])

        return jax.lax.fori_loop(first, end, step, (state, losses))

    def _validation(
        self, trainable: list[Any], others: list[Any], metrics: list[Any], on: Any
    ) -> list[Any]:
        def step(metrics: list[Any], batch: Any) -> tuple[list[Any], None]:
            x, *rest = batch
            state = trainable, others, metrics
            data = x.astype("float32"), *rest
            _, (_, _, metrics) = self._model.test_step(state, data)
            return metrics, None

        return jax.lax.scan(step, metrics, on)[0]


class Epochs:
    """Trains one model after the other, each by the programs of the first.

    Args:
        data: What the models are trained on.
        batch_size: Examples a step.
        augment: Whether training images are flipped and shifted.
    """

    def __init__(self, data: ImageData, batch_size: int, *, augment: bool) -> None:
        self._data = data
        self._batch_size = batch_size
        self._augment = augment
        self._on = Resident.of(data, augment=augment)
        self._programs: Programs | None = None

    def fit(
        self,
        model: keras.Model,
        seed: int,
        every: int,
        *,
        initial_epoch: int,
        epochs: int,
        callbacks: list[keras.callbacks.Callback],
    ) -> None:
        """Trains a model as `keras.Model.fit` does, on the batches of a seed.

        Args:
            model: A compiled model.
            seed: Seed of order and augmentation.
            every: Steps, over all epochs, after which `on_train_batch_end` of the
                callbacks is called; 0 for the end of each epoch alone.
            initial_epoch: The first epoch, counted from 0.
            epochs: The epoch before which training ends.
            callbacks: Keras callbacks.
        """
        programs = self._programs_for(model)
        examples, size = len(self._data.train), self._batch_size
        steps = examples // size
        called = keras.callbacks.CallbackList(
            callbacks, model=model, epochs=epochs, steps=steps
        )
        model.stop_training = False
        called.on_train_begin()
        for epoch in range(initial_epoch, epochs):
            order = jax.device_put(epoch_order(examples, size, seed, epoch))
            losses: Any = jnp.zeros(steps)
            first = 0
            model.reset_metrics()
            called.on_epoch_begin(epoch)
            for end in _ends(epoch * steps, steps, every):
                losses = programs.train(model, order, losses, (first, end), self._on)
                failed = np.flatnonzero(~np.isfinite(losses[first:end]))
                last = first + int(failed[0]) if failed.size else end - 1
                called.on_train_batch_end(last, {"loss": float(losses[last])})
                if model.stop_training:
                    break
                first = end
            logs = _numbers(model)
            validated = programs.validate(model, self._on)
            logs |= {f"val_{name}": value for name, value in validated.items()}
            called.on_epoch_end(epoch, logs)
            if model.stop_training:
                break
        called.on_train_end()

    def _programs_for(self, model: keras.Model) -> Programs:
        shape = (self._batch_size, *self._data.train.images.shape[1:])
        labels = np.zeros(self._batch_size, "int32")
        model._symbolic_build(data_batch=(np.zeros(shape, "float32"), labels, None))
        if self._programs is None:
            self._programs = Programs(model, augment=self._augment)
        return self._programs


def _ends(before: int, steps: int, every: int) -> list[int]:
    """Returns where the parts of an epoch end, in steps of it.

    Args:
        before: Steps before the epoch.
        steps: Steps of the epoch.
        every: Steps, over all epochs, between two ends; 0 for the epoch's end alone.
    """
    first = every - before % every if every else steps
    return [*range(first, steps, every or steps), steps]


def _variables(model: keras.Model) -> tuple[list[keras.Variable], ...]:
    return (
        model.trainable_variables,
        model.non_trainable_variables,
        model.optimizer.variables,
        model.metrics_variables,
    )


def _state(model: keras.Model) -> _State:
    return tuple([variable.value for variable in part] for part in _variables(model))


def _assign(model: keras.Model, state: _State) -> None:
    for variables, values in zip(_variables(model), state, strict=True):
        for variable, value in zip(variables, values, strict=True):
            variable.assign(value)


def _numbers(model: keras.Model) -> dict[str, float]:
    return {name: float(value) for name, value in model.get_metrics_result().items()}


def _padded(images: np.ndarray, augment: bool) -> np.ndarray:
    edge = (SHIFT, SHIFT)
    return np.pad(images, [(0, 0), edge, edge, (0, 0)]) if augment else images


def _moved(padded: Any, batch: EpochOrder) -> Any:
    """Returns what `batches.flip_and_shift` makes of a batch, of padded images."""
    height, width = (size - 2 * SHIFT for size in padded.shape[1:3])
    rows = batch.rows[:, None] + jnp.arange(height)
    columns: Any = batch.columns[:, None] + jnp.arange(width)
    mirrored = padded.shape[2] - 1 - columns
    columns = jnp.where(batch.flips[:, None], mirrored, columns)
    return padded[batch.indices[:, None, None], rows[:, :, None], columns[:, None]]
