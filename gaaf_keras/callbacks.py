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

    At the beginning of each epoch, counted from 0, the `strength` of `GAAF` layers, or
    of the activations that `gaaf_keras.accelerate` accelerates in place, is set to
    `schedule(epoch)`. The training step is compiled once. The strength is a function
    of the epoch alone, so that training with `initial_epoch` resumes as if it had not
    stopped; a `GAAF` layer saved meanwhile has the strength of that moment in its
    configuration. Weights and weight files do not
    change. `tf.saved_model.save` does not know the strength's variable: use
    `gaaf_keras.export`.

    Args:
        schedule: What maps an epoch to a strength, 0 or greater: any function of the
            epoch, among them the schedules in `keras.optimizers.schedules`, which
            offer linear (`PolynomialDecay`) and cosine decay and warm-up with the
            number of epochs as `decay_steps`. Or a mapping to such functions from names
            of accelerated activations, as `gaaf_keras.layers.accelerated_layers` lists
            them: that of a `GAAF` or activation layer, or `"dense_activation"` for the
            `activation` of layer `"dense"`. The others keep their strength.

    Raises:
        TypeError: If a schedule is not callable.
        ValueError: When training begins, if the model has no accelerated activation,
            or none of a name in the mapping; when an epoch begins, if a strength is
            negative.

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
                    f"from names of layers to such functions. Received: {function!r}"
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
        model.train_function = None  # one built before reads the strengths as constants

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        for layer, schedule in self._by_layer:
            strength = schedule(epoch)
            try:
                layer.strength = float(strength)
            except TypeError as error:
                raise TypeError(
                    "Argument `schedule` must return a number. "
                    f"Received: {strength!r} for epoch {epoch}"
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
                f"Received: {', '.join(unknown)}. There are: {', '.join(names)}"
            )
        return [
            (layer, self.schedule[layer.name])
            for layer in layers
            if layer.name in self.schedule
        ]
