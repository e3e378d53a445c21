"""The optimizer, its learning rate over time, and the loss of a run."""

from typing import Any

import keras
from keras import ops

from experiments.config import TrainingConfig

BATCH_OF_THE_LEARNING_RATE = 128
_NOT_DECAYED = ("bias", "beta", "gamma")


def optimizer(config: TrainingConfig, steps: int) -> keras.Optimizer:
    """Returns the optimizer of a run.

    Weight decay is decoupled from the gradient, and excludes biases and normalisation
    parameters.

    Args:
        config: The run.
        steps: Number of steps per epoch.
    """
    arguments: dict[str, Any] = {"learning_rate": learning_rate(config, steps)}
    if config.weight_decay:
        arguments["weight_decay"] = config.weight_decay
    if config.optimizer in ("momentum", "nesterov"):
        arguments |= {"momentum": 0.9, "nesterov": config.optimizer == "nesterov"}
    classes = {
        "sgd": keras.optimizers.SGD,
        "momentum": keras.optimizers.SGD,
        "nesterov": keras.optimizers.SGD,
        "adam": keras.optimizers.Adam,
        "rmsprop": keras.optimizers.RMSprop,
        "adagrad": keras.optimizers.Adagrad,
        "lion": keras.optimizers.Lion,
    }
    made = classes[config.optimizer](**arguments)
    if config.weight_decay:
        made.exclude_from_weight_decay(var_names=list(_NOT_DECAYED))
    return made


def learning_rate(config: TrainingConfig, steps: int) -> Any:
    """Returns the learning rate, or its Keras schedule.

    It uses only Keras's own schedules, so that a saved model can be loaded anywhere.
    """
    if is_scheduled(config):
        return schedule(config, peak(config), steps)
    return peak(config)


def is_scheduled(config: TrainingConfig) -> bool:
    """Whether the learning rate changes over the epochs."""
    return config.learning_rate_schedule != "constant" or config.warm_up_epochs > 0


def peak(config: TrainingConfig) -> float:
    """Returns the largest learning rate of a run."""
    scaled = config.batch_size / BATCH_OF_THE_LEARNING_RATE
    return config.learning_rate * (scaled if config.scale_learning_rate else 1.0)


def schedule(config: TrainingConfig, peak: float, steps: int) -> Any:
    """Returns the Keras schedule with a given peak, to which it is proportional.

    Args:
        config: The run.
        peak: The largest learning rate.
        steps: Number of steps per epoch.
    """
    if config.learning_rate_schedule == "step":
        return _steps_down(config, peak, steps)
    cosine = config.learning_rate_schedule == "cosine"
    return keras.optimizers.schedules.CosineDecay(
        peak if not config.warm_up_epochs else 0.0,
        decay_steps=max(1, (config.epochs - config.warm_up_epochs) * steps),
        alpha=0.0 if cosine else 1.0,  # with 1 it stays constant
        warmup_target=peak if config.warm_up_epochs else None,
        warmup_steps=config.warm_up_epochs * steps,
    )


def _steps_down(config: TrainingConfig, peak: float, steps: int) -> Any:
    """A tenth after half of the epochs, a hundredth after three quarters."""
    warm_up = config.warm_up_epochs
    values = [peak * (epoch + 1) / (warm_up + 1) for epoch in range(warm_up)]
    boundaries = [steps * (epoch + 1) for epoch in range(warm_up)]
    for share, factor in ((0.5, 1.0), (0.75, 0.1)):
        values.append(peak * factor)
        boundaries.append(max(round(share * config.epochs), warm_up + 1) * steps)
    values.append(peak * 0.01)
    # A boundary is the last step with the value before it.
    return keras.optimizers.schedules.PiecewiseConstantDecay(
        [boundary - 1 for boundary in boundaries], values
    )


def loss(config: TrainingConfig, from_logits: bool) -> keras.Loss:
    """Returns the cross-entropy between labels and a model's outputs."""
    if config.label_smoothing:
        return _SmoothedCrossentropy(config.label_smoothing, from_logits)
    return crossentropy(from_logits)


def crossentropy(from_logits: bool) -> keras.Loss:
    """Returns the cross-entropy without label smoothing."""
    return keras.losses.SparseCategoricalCrossentropy(from_logits=from_logits)


class _SmoothedCrossentropy(keras.Loss):
    """Cross-entropy with smoothed integer labels.

    A label becomes a distribution: `1 - smoothing` for the label, and the rest spread
    evenly over all classes.
    """

    def __init__(self, smoothing: float, from_logits: bool) -> None:
        super().__init__()
        self.smoothing = smoothing
        self.from_logits = from_logits

    def call(self, y_true: Any, y_pred: Any) -> Any:
        labels = ops.reshape(ops.cast(y_true, "int32"), (-1,))
        return keras.losses.categorical_crossentropy(
            ops.one_hot(labels, y_pred.shape[-1], dtype=y_pred.dtype),
            y_pred,
            from_logits=self.from_logits,
            label_smoothing=self.smoothing,
        )
