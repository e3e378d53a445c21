"""An epoch on JAX as compiled programs, for one model or for several at once.

Several models of one kind are stacked: `jax.vmap` maps the programs for one over them.
Everything that differs between them is an input of the programs, so one compilation
serves all learning rates, dropout rates, weight decays and strengths.
"""

import contextlib
from collections.abc import Iterator
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import keras
import numpy as np

from experiments import optimization
from experiments.config import TrainingConfig
from experiments.data.batches import (
    EpochOrder,
    epoch_order,
    evaluation_batches,
    moved,
    padded,
)
from experiments.data.datasets import ImageData, Split
from gaaf_keras.analysis.gradients import GradientMeasurement
from gaaf_keras.layers import accelerated_layers

_OF_A_MATRIX = 2  # axes

State: TypeAlias = tuple[list[Any], ...]  # the values of a model's variables
Numbers: TypeAlias = dict[str, Any]  # in which runs of one kind differ


def state_of(model: keras.Model) -> State:
    """Returns the values of a model's variables, without those of metrics."""
    return tuple([variable.value for variable in part] for part in _variables(model))


def set_state(model: keras.Model, state: State) -> None:
    """Assigns what `state_of` returned."""
    for variables, values in zip(_variables(model), state, strict=True):
        for variable, value in zip(variables, values, strict=True):
            variable.assign(value)


def has_variable_strength(config: TrainingConfig) -> bool:
    """Whether the strength is a variable of a run's model.

    With unit gain it is constant, because the gain is computed in advance.
    """
    return config.accelerates and not config.unit_gain


def has_variable_dropout(config: TrainingConfig) -> bool:
    """Whether the dropout rate is an input of the program.

    In half precision it must be a constant: Keras computes with it in that precision.
    """
    return config.precision == "float32"


def numbers_of(config: TrainingConfig) -> Numbers:
    """Returns the numbers of a run that are not variables of its model."""
    numbers: Numbers = {}
    if optimization.is_scheduled(config):
        numbers["learning_rate"] = optimization.peak(config)
    if config.weight_decay:
        numbers["weight_decay"] = config.weight_decay
    if config.dropout and has_variable_dropout(config):
        numbers["dropout"] = config.dropout
    return {name: np.float32(value) for name, value in numbers.items()}


class Examples(NamedTuple):
    """Examples on a device: a whole split, or its batches for evaluation."""

    images: Any
    labels: Any
    weights: Any = None


class DeviceData:
    """A data set on a device.

    Attributes:
        device: The device.
        train: The training examples, with padded images if they are shifted.
        validation: Batches with weights.
        test: Likewise.
    """

    def __init__(self, data: ImageData, device: Any, *, augment: bool) -> None:
        images = data.train.images
        images = padded(images) if augment else images
        self.device = device
        self.train = jax.device_put(Examples(images, data.train.labels), device)
        self.validation = self._batches(data.validation)
        self.test = self._batches(data.test)

    def _batches(self, split: Split) -> Examples:
        return jax.device_put(Examples(*evaluation_batches(split)), self.device)


class Programs:
    """The compiled programs of one kind of run.

    Each takes and returns the state of one model, or of several stacked models; then
    numbers, order and metrics are stacked too.

    Attributes:
        steps: Number of steps per epoch.
        has_schedule: Whether callbacks change the strength.
        measured: The layers for which `measure` returns numbers.
        sizes: The numbers of models for which programs are compiled.
    """

    def __init__(self, config: TrainingConfig, data: ImageData) -> None:
        self.steps = len(data.train) // config.batch_size
        self.has_schedule = config.acceleration_schedule != "constant"
        self._config = config
        self._examples = len(data.train)
        self._image_shape = data.train.images.shape[1:]
        self.measured: list[str] = []
        self.sizes: set[int] = set()
        self._train = _compiled(self._steps, (0, 0, 0, 0, 0, None, None, None))
        self._validate = _compiled(self._evaluation, (0, 0, None, None, None))
        self._measure = _compiled(self._measured, (0, None, None, None))
        self._logs = _compiled(self._logs_of, (0,))

    def take(self, model: keras.Model) -> None:
        """Prepares a compiled model of the kind, and traces it if necessary.

        Args:
            model: A model of that kind.
        """
        size = self._config.batch_size
        images = np.zeros((size, *self._image_shape), "float32")
        labels = np.zeros(size, "int32")
        model._symbolic_build(data_batch=(images, labels, None))
        if has_variable_strength(self._config):
            for layer in accelerated_layers(model):
                layer.make_strength_variable()
        # In loops on a CPU, XLA's convolutions use one core and are slow.
        convolves = any(len(each.shape) > _OF_A_MATRIX for each in model.weights)
        self._loops = jax.default_backend() != "cpu" or not convolves
        self._model = model

    def order(self, seed: int, epoch: int) -> EpochOrder:
        """Returns the order of an epoch for a seed."""
        size, augment = self._config.batch_size, self._config.augments
        return epoch_order(self._examples, size, seed, epoch, augment=augment)

    def train(  # noqa: PLR0917
        self,
        state: State,
        numbers: Numbers,
        metrics: list[Any],
        losses: Any,
        order: EpochOrder,
        part: tuple[int, int],
        on: Examples,
    ) -> tuple[State, list[Any], Any]:
        """Trains for some steps of an epoch.

        Args:
            state: The models' state before.
            numbers: The runs' numbers.
            metrics: The metrics of the epoch so far; zeros at its beginning.
            losses: Keras's running mean of the loss after each step of the epoch.
            order: The order of the epoch.
            part: The first step, and the one after the last.
            on: The training examples.

        Returns:
            The models' state, metrics and losses after it.
        """
        several = losses.ndim > 1
        for first, end in self._calls(*part):
            state, metrics, losses = self._train[several](
                state, numbers, metrics, losses, order, first, end, on
            )
        return state, metrics, losses

    def validate(
        self, state: State, metrics: list[Any], on: Examples, *, several: bool = False
    ) -> list[Any]:
        """Returns the metrics on batches with weights.

        Args:
            state: The models' state.
            metrics: The metrics at the beginning: zeros.
            on: The batches.
            several: Whether there are several models.
        """
        for part in self._calls(0, len(on.labels)):
            metrics = self._validate[several](state, metrics, *part, on)
        return metrics

    def logs(self, metrics: list[Any], *, several: bool = False) -> dict[str, Any]:
        """Returns loss and accuracy from metrics."""
        return self._logs[several](metrics)

    def measure(
        self, state: State, x: Any, y: Any, scale: Any, *, several: bool = False
    ) -> Any:
        """Returns the gradient flow of a batch, as `GradientMeasurement.measure`."""
        return self._measure[several](state, x, y, scale)

    def metrics(self) -> list[Any]:
        """Returns the metrics at the beginning of an epoch."""
        return [np.zeros(v.shape, v.dtype) for v in self._model.metrics_variables]

    def _calls(self, first: int, end: int) -> list[tuple[int, int]]:
        """Returns the parts of some steps, each one call of a program."""
        if self._loops:
            return [(first, end)]
        return [(step, step + 1) for step in range(first, end)]

    def _repeated(self, step: Any, first: int, end: int, carried: Any) -> Any:
        """Returns the carried values after some steps, in a program."""
        if self._loops:
            return jax.lax.fori_loop(first, end, step, carried)
        return step(first, carried)

    def _steps(  # noqa: PLR0917
        self,
        state: State,
        numbers: Numbers,
        metrics: list[Any],
        losses: Any,
        order: EpochOrder,
        first: int,
        end: int,
        on: Examples,
    ) -> tuple[State, list[Any], Any]:
        def step(index: Any, carried: tuple[Any, Any]) -> tuple[Any, Any]:
            state, losses = carried
            indices, *moves = (None if part is None else part[index] for part in order)
            x = on.images[indices]
            x = moved(x, *moves) if self._config.augments else x
            data = x.astype("float32"), on.labels[indices]
            logs, state = self._model.train_step(state, data)
            return state, losses.at[index].set(logs["loss"])

        with self._with(numbers):
            (*state, metrics), losses = self._repeated(
                step, first, end, ((*state, metrics), losses)
            )
        return tuple(state), metrics, losses

    def _evaluation(
        self, state: State, metrics: list[Any], first: int, end: int, on: Examples
    ) -> list[Any]:
        trainable, others, _ = state

        def step(index: Any, metrics: list[Any]) -> list[Any]:
            batch = jax.tree.map(lambda part: part[index], on)
            data = batch.images.astype("float32"), batch.labels, batch.weights
            _, (*_, metrics) = self._model.test_step((trainable, others, metrics), data)
            return metrics

        return self._repeated(step, first, end, metrics)

    def _measured(self, state: State, x: Any, y: Any, scale: Any) -> Any:
        parts = zip(_variables(self._model)[:2], state, strict=False)
        pairs = [pair for part in parts for pair in zip(*part, strict=True)]
        measurement = GradientMeasurement(self._model, None, x, y)
        with keras.StatelessScope(pairs, collect_losses=True):
            rows = jnp.array(measurement.measure(scale, x, y))
        self.measured = measurement.names
        return rows

    def _logs_of(self, metrics: list[Any]) -> dict[str, Any]:
        pairs = zip(self._model.metrics_variables, metrics, strict=True)
        with keras.StatelessScope(list(pairs)):
            return self._model.get_metrics_result()

    @contextlib.contextmanager
    def _with(self, numbers: Numbers) -> Iterator[None]:
        """Lets the model and its optimizer compute with traced numbers."""
        optimizer = self._model.optimizer
        optimizer = getattr(optimizer, "inner_optimizer", optimizer)
        places: list[tuple[Any, str, Any]] = []
        if "learning_rate" in numbers:
            peak = numbers["learning_rate"]
            schedule = optimization.schedule(self._config, peak, self.steps)
            places.append((optimizer, "_learning_rate", schedule))
        if "weight_decay" in numbers:
            places.append((optimizer, "weight_decay", numbers["weight_decay"]))
        if "dropout" in numbers:
            rate = _Rate(numbers["dropout"])
            places += [
                (layer, "rate", rate)
                for layer in self._model._flatten_layers()
                if isinstance(layer, keras.layers.Dropout)
            ]
        before = [getattr(owner, name) for owner, name, _ in places]
        try:
            for owner, name, value in places:
                setattr(owner, name, value)
            yield
        finally:
            for (owner, name, _), value in zip(places, before, strict=True):
                setattr(owner, name, value)


@jax.jit
def stacked(trees: list[Any]) -> Any:
    """Returns the trees of several models as one, with a leading axis."""
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)


@jax.jit
def one_of(tree: Any, index: int) -> Any:
    """Returns the tree of one of the models in a stack."""
    return jax.tree.map(lambda leaf: leaf[index], tree)


def _compiled(function: Any, in_axes: tuple[int | None, ...]) -> tuple[Any, Any]:
    """Returns a function compiled for one model, and for several."""
    return jax.jit(function), jax.jit(jax.vmap(function, in_axes=in_axes))


def _variables(model: keras.Model) -> tuple[list[keras.Variable], ...]:
    return (
        model.trainable_variables,
        model.non_trainable_variables,
        model.optimizer.variables,
    )


class _Rate:
    """A traced dropout rate.

    Keras tests whether it is above 0, and subtracts it from 1; a traced number only
    supports the second.
    """

    def __init__(self, rate: Any) -> None:
        self._rate = rate

    def __gt__(self, other: float) -> bool:
        return True

    def __rsub__(self, one: float) -> Any:
        return one - self._rate
