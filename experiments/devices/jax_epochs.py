"""Training on JAX in whole epochs, for one run or several at once.

Images stay on the device, and an epoch is a loop there over Keras's own `train_step`,
for which each batch is gathered and augmented. Weights and history are those of `fit`:
on a CPU to the last bit for dense networks without dropout and weight decay. All others
are compiled differently and so round differently, as do runs that train at once.

An epoch runs to its end even if the loss becomes NaN. Models have their state from the
ends of epochs: within an epoch, callbacks see only losses, and `GradientFlow` only its
measurements.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import keras
import numpy as np

from experiments.data.batches import EpochOrder
from experiments.devices.base import Training
from experiments.devices.epoch_loop import part_ends
from experiments.devices.jax_programs import (
    DeviceData,
    Programs,
    State,
    numbers_of,
    one_of,
    set_state,
    stacked,
    state_of,
)
from gaaf_keras.analysis import GradientFlow, LayerGradient
from gaaf_keras.analysis.gradients import finite_rows

_FEWER_TIMES = 4  # times fewer runs, at which programs of another size pay
# Keras's names for the parts of a `State`.
_PARTS = ("trainable_variables", "non_trainable_variables", "optimizer_variables")


def fit(
    programs: Programs, trainings: Sequence[Training], data: Sequence[DeviceData]
) -> None:
    """Trains models of one kind at once, as `keras.Model.fit` trains one.

    Args:
        programs: The programs of that kind.
        trainings: The models.
        data: The training and validation data, on each device to use.
    """
    runs = [_Run(programs, training) for training in trainings]
    active = [run for run in runs if not run.has_ended]
    while active:
        size = _size(programs, len(active), len(data))
        parts = [active[i : i + size] for i in range(0, len(active), size)]
        groups = [
            _Group(programs, part, size, on)
            for part, on in zip(parts, data, strict=False)
        ]
        # An ended run keeps its place: programs of another size need compiling again.
        fewer = len(data) * (size // _FEWER_TIMES)
        while active and len(active) > fewer:
            _train_epoch(groups)
            active = [run for run in active if not run.has_ended]
        for group in groups:
            group.release()
    if len(data) > 1:
        for run in runs:
            home = jax.local_devices()[0]
            set_state(run.model, jax.device_put(state_of(run.model), home))


def _size(programs: Programs, runs: int, devices: int) -> int:
    """Returns how many runs train at once on each device; some may be padding."""
    needed = -(-runs // devices)
    fit = [size for size in programs.sizes if needed <= size < _FEWER_TIMES * needed]
    size = min(fit, default=needed)
    programs.sizes.add(size)
    return size


def compile_programs(
    programs: Programs, training: Training, runs: int, data: Sequence[DeviceData]
) -> None:
    """Compiles what `fit` will need, by training for zero steps.

    Args:
        programs: The programs of a kind.
        training: A model of that kind, which stays as it is.
        runs: Number of runs that will train at once.
        data: The data on each device.
    """
    run = _Run(programs, training)
    size = _size(programs, runs, len(data))
    for on in data:
        group = _Group(programs, [run], size, on)
        group.begin()
        group.train(0, 0)
        group.validate()
    programs.validate(state_of(training.model), programs.metrics(), data[0].test)


class _Run:
    """A model in training, and its progress."""

    def __init__(self, programs: Programs, training: Training) -> None:
        self.model, self.config, self.epoch, self._epochs, callbacks = training
        self._steps = programs.steps
        programs.take(self.model)
        self.flows = [each for each in callbacks if isinstance(each, GradientFlow)]
        self.callbacks = keras.callbacks.CallbackList(
            callbacks, model=self.model, epochs=self._epochs, steps=self._steps
        )
        self.model.stop_training = False
        self.callbacks.on_train_begin()
        self.has_ended = False
        self._end_if_done()

    @property
    def steps_before(self) -> int:
        """Number of steps in all epochs before this one."""
        return self.epoch * self._steps

    def ends(self) -> list[int]:
        """Returns where the parts of this epoch end, each with a measurement."""
        return part_ends(self.steps_before, self._steps, self.config.gradient_flow)

    def end_batches(self, first: int, losses: np.ndarray) -> None:
        """Passes the callbacks the losses after some steps, starting at the first."""
        if self.model.stop_training:
            return
        failed = np.flatnonzero(~np.isfinite(losses))
        last = int(failed[0]) if failed.size else len(losses) - 1
        self.callbacks.on_train_batch_end(first + last, {"loss": float(losses[last])})

    def end_epoch(self, logs: dict[str, float]) -> None:
        """Ends an epoch with its logs."""
        names = [name for name in logs if name.startswith("val_")]
        self.callbacks.on_test_end({n.removeprefix("val_"): logs[n] for n in names})
        self.callbacks.on_epoch_end(self.epoch, logs)
        self.epoch += 1
        self._end_if_done()

    def _end_if_done(self) -> None:
        if self.model.stop_training or self.epoch >= self._epochs:
            self.has_ended = True
            self.callbacks.on_train_end()


class _Group:
    """Runs that train at once on one device.

    Several runs stay stacked from epoch to epoch, whatever callbacks assign, except for
    the strengths of an `AccelerationSchedule`. A model gets its state when a callback
    asks for it.

    Args:
        programs: The programs of their kind.
        runs: The runs.
        size: Number of models that the programs take. Copies of the last run's model
            fill the empty places.
        on: The data on the device.
    """

    def __init__(
        self, programs: Programs, runs: Sequence[_Run], size: int, on: DeviceData
    ) -> None:
        self.runs = runs
        self._places = [*runs, *[runs[-1]] * (size - len(runs))]
        self._programs = programs
        self._on = on
        self._several = size > 1
        self._numbers = self._put([numbers_of(run.config) for run in self._places])
        self._zeros = self._put([programs.metrics() for _ in self._places])
        losses = [np.zeros(programs.steps, "float32") for _ in self._places]
        self._no_losses = self._put(losses)
        self._order: EpochOrder | None = None
        self._state: Any = None
        for index, run in enumerate(runs):
            for flow in run.flows:
                flow.probe = self._probe(index)

    @property
    def active(self) -> list[_Run]:
        """The runs that have not ended."""
        return [run for run in self.runs if not run.has_ended]

    def begin(self) -> None:
        """Begins an epoch of each run."""
        for run in self.active:
            run.callbacks.on_epoch_begin(run.epoch)
        if self._state is None or not self._several or self._programs.has_schedule:
            self.release()
            states = [state_of(run.model) for run in self._places]
            states = jax.device_put(states, self._on.device)
            self._state = stacked(states) if self._several else states[0]
        if self._order is None:
            self.look_ahead(0)
        assert self._order is not None
        self._inputs = self._order
        self._metrics, self._losses = self._zeros, self._no_losses

    def train(self, first: int, end: int) -> None:
        """Starts training on the device, from one step up to another."""
        for run in self.active:
            run.callbacks.on_train_batch_begin(first)
        self._state, self._metrics, self._losses = self._programs.train(
            self._state,
            self._numbers,
            self._metrics,
            self._losses,
            self._inputs,
            (first, end),
            self._on.train,
        )

    def look_ahead(self, epochs: int = 1) -> None:
        """Prepares the orders of the next epoch, or of this one."""
        orders = [
            self._programs.order(run.config.seed, run.epoch + epochs)
            for run in self._places
        ]
        self._order = self._put(orders)

    def end_batches(self, first: int, end: int) -> None:
        """Passes the losses to the callbacks."""
        self._measured: dict[int, np.ndarray] = {}
        self._end = end
        losses = np.atleast_2d(self._losses)[:, first:end]
        for run, row in zip(self.runs, losses, strict=False):
            if not run.has_ended:
                run.end_batches(first, row)

    def validate(self) -> None:
        """Starts validation on the device."""
        for run in self.active:
            run.callbacks.on_test_begin()
        self._validated = self._programs.validate(
            self._state, self._zeros, self._on.validation, several=self._several
        )

    def end(self) -> None:
        """Waits for the device, and ends the epoch of each run."""
        logs = self._programs.logs(self._metrics, several=self._several)
        validated = self._programs.logs(self._validated, several=self._several)
        logs |= {f"val_{name}": values for name, values in validated.items()}
        rows = jax.tree.map(np.atleast_1d, jax.device_get(logs))
        if not self._several:
            set_state(self.runs[0].model, self._state)
        for index, run in enumerate(self.runs):
            if run.has_ended:
                continue
            if self._several:
                run.model._jax_state = _Later(self._state, index)
                run.model._jax_state_synced = False
            run.end_epoch({name: float(row[index]) for name, row in rows.items()})

    def release(self) -> None:
        """Assigns the models their states."""
        if self._state is not None and self._several:
            for index, run in enumerate(self.runs):
                set_state(run.model, one_of(self._state, index))
                run.model._jax_state = None

    def _put(self, trees: list[Any]) -> Any:
        """Returns the runs' trees as the programs take them, on the device."""
        tree = trees[0]
        if self._several:
            tree = jax.tree.map(lambda *leaves: np.stack(leaves), *trees)
        return jax.device_put(tree, self._on.device)

    def _probe(self, index: int) -> Callable[[Any, Any], dict[str, LayerGradient]]:
        """Returns a function that measures a batch with a model's current state."""

        def probe(x: Any, y: Any) -> dict[str, LayerGradient]:
            step = self.runs[index].steps_before + self._end
            if step not in self._measured:
                self._measured[step] = finite_rows(
                    lambda scale: self._programs.measure(
                        self._state, x, y, scale, several=self._several
                    )
                )
            rows = self._measured[step]
            rows = rows[index] if self._several else rows
            found = (LayerGradient(*row) for row in rows.tolist())
            return dict(zip(self._programs.measured, found, strict=True))

        return probe


class _Later:
    """The state of one of many models, fetched when Keras asks for it.

    Keras asks when a callback reads its `model`.
    """

    def __init__(self, state: State, index: int) -> None:
        self._take = functools.cache(lambda: one_of(state, index))

    def get(self, name: str, default: Any = None) -> Any:
        """Returns a part of the state, as a dictionary does."""
        if name not in _PARTS:
            return default
        return self._take()[_PARTS.index(name)]


def _train_epoch(groups: Sequence[_Group]) -> None:
    """Trains each run for an epoch; the epochs' numbers may differ."""
    for group in groups:
        group.begin()
    runs = [run for group in groups for run in group.active]
    first = 0
    for end in sorted({end for run in runs for end in run.ends()}):
        for group in groups:
            group.train(first, end)
        if first == 0:  # while the devices are busy
            for group in groups:
                group.look_ahead()
        for group in groups:
            group.end_batches(first, end)
        first = end
    for group in groups:
        group.validate()
    for group in groups:
        group.end()
