"""Callbacks that change the acceleration while a model trains."""

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import keras

from gaaf_keras._accelerated.layer import AcceleratedLayer
from gaaf_keras._core.types import Tensor
from gaaf_keras.layers import accelerated_layers

Schedule: TypeAlias = Callable[[int], float | Tensor]


class AccelerationSchedule(keras.callbacks.Callback):
    """Changes the strength of accelerated activations from epoch to epoch.

    At the beginning of each epoch, counted from 0, it sets the `strength` of `GAAF`
    layers, and of activations that `gaaf_keras.accelerate` accelerates in place, to
    `schedule(epoch)`. The training step is compiled only once. The strength depends on
    the epoch alone, so training with `initial_epoch` resumes as if it had never
    stopped; a `GAAF` layer saved during training stores its current strength. Weights
    and weight files do not change. `tf.saved_model.save` does not know the variable
    that holds the strength: use `gaaf_keras.export`.

    Args:
        schedule: A function from the epoch to a strength, 0 or greater. The schedules
            in `keras.optimizers.schedules` are such functions: they offer linear
            (`PolynomialDecay`) and cosine decay and warm-up, with the number of epochs
            as `decay_steps`. Or a mapping from names of accelerated activations to such
            functions. The names are those that `gaaf_keras.layers.accelerated_layers`
            lists: the name of a `GAAF` or activation layer, or `"dense_activation"` for
            the `activation` of layer `"dense"`. Other activations keep their strength.

    Raises:
        TypeError: If a schedule is not callable or returns no number.
        ValueError: When training begins, if the model has no accelerated activation or
            lacks one named in the mapping; when an epoch begins, if a strength is
            negative or not finite.

    Examples:
        >>> import keras
        >>> from gaaf_keras import AccelerationSchedule
        >>> cosine = keras.optimizers.schedules.CosineDecay(1.0, decay_steps=10)
        >>> callback = AccelerationSchedule(cosine)
        >>> warm_up = AccelerationSchedule(lambda epoch: min(1.0, (epoch + 1) / 5))
    """

    def __init__(self, schedule: Schedule | Mapping[str, Schedule]) -> None:
        super().__init__()
        functions = schedule.values() if isinstance(schedule, Mapping) else [schedule]
        for function in functions:
            if not callable(function):
                raise TypeError(
                    "Argument `schedule` must be a function of the epoch, or a mapping "
                    "from names of activations to such functions. "
                    f"Received: {function!r}"
                )
        self.schedule = schedule
        self._by_layer: list[tuple[AcceleratedLayer, Schedule]] = []

    def set_model(self, model: keras.Model) -> None:
        super().set_model(model)
        self._by_layer = self._assign(accelerated_layers(model))
        strategy = getattr(model, "distribute_strategy", None)
        for layer, _ in self._by_layer:
            if strategy is None:
                layer.make_strength_variable()
            else:
                with strategy.scope():
                    layer.make_strength_variable()
        model.train_function = None  # an earlier one has the strengths as constants

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        for layer, schedule in self._by_layer:
            value = schedule(epoch)
            try:
                number: Any = value if isinstance(value, str) else float(value)
                layer.strength = number
            except (TypeError, ValueError) as error:
                raise type(error)(
                    "Argument `schedule` must return a number, 0 or greater. "
                    f"Received: {value!r} for epoch {epoch}"
                ) from error

    def _assign(
        self, layers: list[AcceleratedLayer]
    ) -> list[tuple[AcceleratedLayer, Schedule]]:
        if not layers:
            raise ValueError(
                "AccelerationSchedule needs a model with accelerated activations; this "
                "one has none. Use `gaaf_keras.accelerate(model)` or GAAF layers."
            )
        if not isinstance(self.schedule, Mapping):
            return [(layer, self.schedule) for layer in layers]
        names = dict.fromkeys(layer.name for layer in layers)
        unknown = sorted(set(self.schedule) - set(names))
        if unknown:
            raise ValueError(
                "Argument `schedule` must name accelerated activations of the model. "
                f"Received: {', '.join(unknown)}. The model has: {', '.join(names)}"
            )
        return [
            (layer, self.schedule[layer.name])
            for layer in layers
            if layer.name in self.schedule
        ]
