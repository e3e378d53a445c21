"""The state of a model when a run begins, and how it is restored."""

import contextlib
import json
import re
import warnings
import zlib
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any, Self

import keras
import numpy as np
from keras import ops

_LEFT_BY_FIT = ("history", "stop_training")


class Start:
    """Saves the weights, optimizer and random states of a compiled model.

    They are restored when its `with` block ends, whatever happened inside.

    Args:
        model: A compiled and built model.
        build: Builds what `fit` builds the first time, which draws random numbers.

    Raises:
        ValueError: If the model is not compiled, or it or an optimizer is not built.
    """

    def __init__(
        self, model: keras.Model, build: Callable[[keras.Model], None]
    ) -> None:
        require_compiled(model)
        if not model.built:
            raise ValueError(
                "Argument `model` must be built, because every run starts from its "
                "weights. Call it on a batch first, or give a function that returns a "
                f"model. Received: model={model.name!r}"
            )
        self._model = model
        self._marks = {
            name: vars(model)[name] for name in _LEFT_BY_FIT if name in vars(model)
        }
        build(model)
        main = model.optimizer
        if main is not None and not main.built:  # on TensorFlow: in the first step
            strategy = getattr(model, "distribute_strategy", None)
            with contextlib.nullcontext() if strategy is None else strategy.scope():
                main.build(model.trainable_variables)
        optimizers = optimizers_of(model)
        unbuilt = [each.name for each in optimizers if not each.built]
        if unbuilt:
            raise ValueError(
                "Argument `model` must be a function that returns a model, because "
                f"this model has optimizers that are not built: {', '.join(unbuilt)}"
            )
        self._optimizers = [(each, _inner(each)._learning_rate) for each in optimizers]
        variables = [*model.variables, *model.metrics_variables]
        variables += [each for found in optimizers for each in found.variables]
        unique = {id(each): each for each in variables}.values()
        self._values = [(each, ops.convert_to_numpy(each.value)) for each in unique]

    def begin(self, seed: int) -> keras.Model:
        """Returns the model in its saved state, with the dropout masks of a seed."""
        keras.utils.set_random_seed(seed)
        self._put_back()
        states = [v for v in self._model.variables if v.name == "seed_generator_state"]
        for index, state in enumerate(states):
            random = np.random.default_rng([seed, index])
            state.assign(np.array([random.integers(2**31), 0], dtype="uint32"))
        return self._model

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._put_back()

    def _put_back(self) -> None:
        model = self._model
        model.train_function = None  # on TensorFlow it holds random state
        if keras.backend.backend() == "jax":  # state left by an interrupted `fit`
            model._jax_state, model._jax_state_synced = None, True
        for optimizer, rate in self._optimizers:
            if _inner(optimizer)._learning_rate is not rate:
                _inner(optimizer).learning_rate = rate
        for variable, value in self._values:
            variable.assign(value)
        known = {id(variable) for variable, _ in self._values}
        if any(id(each) not in known for each in model.metrics_variables):
            model.reset_metrics()  # which came to be in `fit`
        for name in _LEFT_BY_FIT:
            vars(model).pop(name, None)
        vars(model).update(self._marks)


def checksum(model: keras.Model) -> int:
    """Returns a number that identifies a model's weights."""
    found = 0
    for weight in model.get_weights():
        found = zlib.crc32(np.ascontiguousarray(weight).tobytes(), found)
    return found


def configuration(model: keras.Model) -> int | None:
    """Returns a number that identifies a model's layers, loss and metrics.

    None for a model that Keras cannot describe, such as some user classes.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about what cannot be described
            found = keras.saving.serialize_keras_object(model)
            found.get("compile_config", {}).pop("optimizer", None)
            text = json.dumps(found, sort_keys=True)
    except Exception:
        return None
    for index, layer in enumerate(model._flatten_layers()):  # Keras counts their names
        name = re.sub(r"_\d+$", "", layer.name)
        text = text.replace(f'"{layer.name}"', f'"{name} {index}"')
    text = re.sub(r'("name": "[^"]*?)_\d+"', r'\1"', text)
    return zlib.crc32(re.sub(r'"shared_object_id": \d+', "", text).encode())


def require_compiled(model: keras.Model) -> None:
    """Raises if a model is not compiled."""
    if not model.compiled:
        raise ValueError(
            "Argument `model` must be a compiled model, or a function that returns "
            f"one. Received: model={model.name!r}, which is not compiled. Call its "
            "`compile` first."
        )


@contextlib.contextmanager
def scale_learning_rate(model: keras.Model, factor: float) -> Iterator[None]:
    """Multiplies the learning rate of a model's optimizers inside the block.

    Raises:
        ValueError: If there is no rate that can be scaled.
    """
    if factor == 1:
        yield
        return
    optimizers = [_inner(each) for each in optimizers_of(model)]
    if not optimizers:
        raise ValueError(
            "Argument `learning_rates` needs a model with an optimizer; model "
            f"{model.name!r} has none. Received: {factor:g}. Leave it out."
        )
    before = [each._learning_rate for each in optimizers]
    values = [_value(rate) for rate in before]
    try:
        for optimizer, rate in zip(optimizers, before, strict=True):
            optimizer.learning_rate = _scaled(rate, factor)
        yield
    finally:
        for optimizer, rate, value in zip(optimizers, before, values, strict=True):
            optimizer.learning_rate = rate if value is None else value


def _value(rate: Any) -> float | None:
    """Returns a rate that is a number; None for a schedule or function."""
    return None if callable(rate) else float(ops.convert_to_numpy(rate.value))


def _scaled(rate: Any, factor: float) -> Any:
    if isinstance(rate, keras.optimizers.schedules.LearningRateSchedule):
        return _ScaledSchedule(rate, factor)
    if callable(rate):
        function: Callable[[], Any] = rate
        return lambda: factor * function()
    return factor * float(ops.convert_to_numpy(rate.value))


class _ScaledSchedule(keras.optimizers.schedules.LearningRateSchedule):
    """A schedule times a factor."""

    def __init__(self, schedule: Any, factor: float) -> None:
        self._schedule = schedule
        self._factor = factor

    def __call__(self, step: Any) -> Any:
        return self._factor * self._schedule(step)

    def get_config(self) -> dict[str, Any]:
        return {"schedule": self._schedule, "factor": self._factor}


def optimizers_of(model: keras.Model) -> list[keras.optimizers.Optimizer]:
    """Returns the optimizers of a model; a user's class may have several."""
    found = [each for each in vars(model).values() if _is_optimizer(each)]
    return list({id(each): each for each in found}.values())


def _is_optimizer(value: object) -> bool:
    return isinstance(value, keras.optimizers.Optimizer)


def _inner(optimizer: keras.optimizers.Optimizer) -> keras.optimizers.Optimizer:
    """Returns the optimizer inside a loss-scale optimizer, or the optimizer itself."""
    return getattr(optimizer, "inner_optimizer", optimizer)
