"""Training on JAX in whole epochs, of one run or of several at once.

Images stay on the device, and an epoch is a loop there over Keras's own `train_step`,
for which each batch is gathered and augmented. Weights and history are those of `fit`:
on a CPU to the last bit for dense networks; convolutions, and runs that train at once,
are compiled otherwise, and round otherwise. An epoch in which the loss is not a number
ends all the same. Models have their state of the ends of epochs: in the middle of one
callbacks see losses alone, and `GradientFlow` what it measures.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import keras
import numpy as np

from experiments.data.batches import EpochOrder
from experiments.devices.base import Training
from experiments.devices.jax_programs import (
    DeviceData,
    Programs,
    State,
    numbers_of,
    set_state,
    stacked,
    state_of,
    unstacked,
)
from gaaf_keras.analysis import GradientFlow, LayerGradient
from gaaf_keras.analysis.gradients import finite_rows


def fit(
    programs: Programs, trainings: Sequence[Training], data: Sequence[DeviceData]
) -> None:
    """Trains models of one kind at once, as `keras.Model.fit` trains one.

    Args:
        programs: Of that kind.
        trainings: The models.
        data: What they are trained and validated on, on each device to be used.
    """
    runs = [_Run(programs, training) for training in trainings]
    size = -(-len(runs) // len(data))  # of the group on each device
    active = [run for run in runs if not run.has_ended]
    while active:
        while len(active) <= len(data) * (size // 2):
            size //= 2
        parts = [active[i : i + size] for i in range(0, len(active), size)]
        groups = [
            _Group(programs, part, size, on)
            for part, on in zip(parts, data, strict=False)
        ]
        _train_epoch(groups)
        active = [run for run in active if not run.has_ended]
    if len(data) > 1:
        for run in runs:
            home = jax.local_devices()[0]
            set_state(run.model, jax.device_put(state_of(run.model), home))


def compile_programs(
    programs: Programs, training: Training, size: int, on: DeviceData
) -> None:
    """Compiles what `fit` will need, by training for no step at all.

    Args:
        programs: Of a kind.
        training: A model of that kind, which stays as it is.
        size: How many will train at once on the device.
        on: The data on the device.
    """
    group = _Group(programs, [_Run(programs, training)], size, on)
    group.begin()
    group.train(0, 0)
    group.validate()
    programs.validate(state_of(training.model), on.test)


class _Run:
    """A model that trains, and how far it has come."""

    def __init__(self, programs: Programs, training: Training) -> None:
        self.model, self.config, self._epoch, self._epochs, callbacks = training
        self._programs = programs
        self._order: EpochOrder | None = None
        programs.take(self.model)
        self.flows = [each for each in callbacks if isinstance(each, GradientFlow)]
        self.callbacks = keras.callbacks.CallbackList(
            callbacks, model=self.model, epochs=self._epochs, steps=programs.steps
        )
        self.model.stop_training = False
        self.callbacks.on_train_begin()
        self.has_ended = False
        self._end_if_done()

    @property
    def steps_before(self) -> int:
        """Steps of all epochs before this one."""
        return self._epoch * self._programs.steps

    def ends(self) -> list[int]:
        """Returns where the parts of this epoch end, each with a measurement."""
        every, steps = self.config.gradient_flow, self._programs.steps
        first = every - self.steps_before % every if every else steps
        return [*range(first, steps, every or steps), steps]

    def order(self) -> EpochOrder:
        """Returns the order of this epoch, and forgets it."""
        if self._order is None:
            self.look_ahead(self._epoch)
        order, self._order = self._order, None
        assert order is not None
        return order

    def look_ahead(self, epoch: int | None = None) -> None:
        """Makes the order of the next epoch, or of another."""
        epoch = self._epoch + 1 if epoch is None else epoch
        self._order = self._programs.order(self.config.seed, epoch)

    def begin_epoch(self) -> None:
        """Begins an epoch."""
        self.callbacks.on_epoch_begin(self._epoch)

    def end_batches(self, first: int, losses: np.ndarray) -> None:
        """Tells the callbacks of the losses after steps, of which one is the first."""
        if self.model.stop_training:
            return
        failed = np.flatnonzero(~np.isfinite(losses))
        last = int(failed[0]) if failed.size else len(losses) - 1
        self.callbacks.on_train_batch_end(first + last, {"loss": float(losses[last])})

    def end_epoch(self, state: State, logs: dict[str, float]) -> None:
        """Ends an epoch, with the model's state and what is known of it."""
        set_state(self.model, state)
        self.callbacks.on_epoch_end(self._epoch, logs)
        self._epoch += 1
        self._end_if_done()

    def _end_if_done(self) -> None:
        if self.model.stop_training or self._epoch >= self._epochs:
            self.has_ended = True
            self.callbacks.on_train_end()


class _Group:
    """Runs that train at once on one device, for an epoch.

    Args:
        programs: Of their kind.
        runs: The runs.
        size: How many models the programs are for, at least as many as there are
            runs. The last run trains in the place of those that are missing.
        on: The data on the device.
    """

    def __init__(
        self, programs: Programs, runs: Sequence[_Run], size: int, on: DeviceData
    ) -> None:
        self.runs = runs
        self._programs = programs
        self._size = size
        self._on = on

    def begin(self) -> None:
        """Begins an epoch of each run."""
        for index, run in enumerate(self.runs):
            run.begin_epoch()
            for flow in run.flows:
                flow.probe = self._probe(index)
        self._inputs = self._together(
            [
                (numbers_of(run.config), self._programs.metrics(), run.order())
                for run in self.runs
            ]
        )
        states = [state_of(run.model) for run in self.runs]
        self._state = self._together(jax.device_put(states, self._on.device))
        shape = (self._size, self._programs.steps)
        losses = np.zeros(shape if self._size > 1 else shape[1:], "float32")
        self._losses = jax.device_put(losses, self._on.device)

    def train(self, first: int, end: int) -> None:
        """Lets the device train from one step to before another."""
        numbers, metrics, order = self._inputs
        self._state, metrics, self._losses = self._programs.train(
            self._state,
            numbers,
            metrics,
            self._losses,
            order,
            (first, end),
            self._on.train,
        )
        self._inputs = numbers, metrics, order

    def end_batches(self, first: int, end: int) -> None:
        """Tells the callbacks of the losses."""
        self._measured: dict[int, np.ndarray] = {}
        self._end = end
        losses = np.atleast_2d(self._losses)[:, first:end]
        for run, row in zip(self.runs, losses, strict=False):
            run.end_batches(first, row)

    def validate(self) -> None:
        """Lets the device validate."""
        self._validated = self._programs.validate(
            self._state, self._on.validation, several=self._size > 1
        )

    def end(self) -> None:
        """Waits for the device, and ends the epoch of each run."""
        several = self._size > 1
        _, metrics, _ = self._inputs
        logs = self._programs.logs(metrics, several=several)
        validated = self._programs.logs(self._validated, several=several)
        logs |= {f"val_{name}": values for name, values in validated.items()}
        rows = jax.tree.map(np.atleast_1d, jax.device_get(logs))
        states = unstacked(self._state) if self._size > 1 else [self._state]
        for index, (run, state) in enumerate(zip(self.runs, states, strict=False)):
            run.end_epoch(state, {name: float(row[index]) for name, row in rows.items()})

    def _together(self, trees: list[Any]) -> Any:
        """Returns the trees of the runs as the programs take them."""
        if self._size == 1:
            return trees[0]
        return stacked(trees + trees[-1:] * (self._size - len(trees)))

    def _probe(self, index: int) -> Callable[[Any, Any], dict[str, LayerGradient]]:
        """Returns what measures a batch with one of the models as it is now."""

        def probe(x: Any, y: Any) -> dict[str, LayerGradient]:
            step = self.runs[index].steps_before + self._end
            if step not in self._measured:
                self._measured[step] = finite_rows(
                    lambda scale: self._programs.measure(
                        self._state, x, y, scale, several=self._size > 1
                    )
                )
            rows = self._measured[step]
            rows = rows[index] if self._size > 1 else rows
            found = (LayerGradient(*row) for row in rows.tolist())
            return dict(zip(self._programs.measured, found, strict=True))

        return probe


def _train_epoch(groups: Sequence[_Group]) -> None:
    """Trains runs for an epoch each, which need not be the same one."""
    for group in groups:
        group.begin()
    runs = [run for group in groups for run in group.runs]
    first = 0
    for end in sorted({end for run in runs for end in run.ends()}):
        for group in groups:
            group.train(first, end)
        if first == 0:  # while the devices work
            for run in runs:
                run.look_ahead()
        for group in groups:
            group.end_batches(first, end)
        first = end
    for group in groups:
        group.validate()
    for group in groups:
        group.end()
