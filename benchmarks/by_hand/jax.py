"""A loop in bare JAX: an epoch and its validation are one compiled program.

On a CPU, of networks with convolutions, each step is.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from by_hand import EPSILON, MOMENTUM, SHIFT, is_pooled, kernels
from experiments.config import TrainingConfig
from experiments.data.batches import evaluation_order
from experiments.data.datasets import ImageData


class Loop:
    """One model in training, or several at once under `jax.vmap`."""

    def __init__(self, configs: Sequence[TrainingConfig], data: ImageData) -> None:
        self._config = config = configs[0]
        self._several = len(configs) > 1
        self._scale = 1 / np.float32(data.standard_deviation)
        self._offset = -np.float32(data.mean) * self._scale
        states = [self._first_state(each, data) for each in configs]
        rates = [np.float32(each.learning_rate) for each in configs]
        self._randoms = [np.random.default_rng(each.seed) for each in configs]
        self._examples = len(data.train)
        images = data.train.images
        if config.augments:
            edge = (SHIFT, SHIFT)
            images = np.pad(images, [(0, 0), edge, edge, (0, 0)])
        indices, weights = evaluation_order(len(data.validation))
        self._data = jax.device_put((images, data.train.labels))
        self._validation = jax.device_put(
            (data.validation.images[indices], data.validation.labels[indices], weights)
        )
        epoch = self._train_and_validate
        if self._several:
            self._state = jax.tree.map(lambda *leaves: jnp.stack(leaves), *states)
            self._rate = jnp.stack(rates)
            epoch = jax.vmap(epoch, in_axes=(0, 0, 0, None, None))
        else:
            self._state, self._rate = jax.device_put((states[0], rates[0]))
        self._epoch = jax.jit(epoch, donate_argnums=0)
        if config.model == "cnn" and jax.default_backend() == "cpu":
            # In an XLA loop on a CPU, convolutions take 20 times as long.
            self._one_step = jax.jit(self._step, donate_argnums=0)
            self._one_evaluation = jax.jit(self._evaluate)
            self._epoch = self._step_by_step
        self._next_order()

    def epoch(self) -> Any:
        self._state, found = self._epoch(
            self._state, self._rate, self._order, self._data, self._validation
        )
        self._next_order()  # while the device works
        return jax.device_get(found)

    def _next_order(self) -> None:
        orders = [self._order_of(random) for random in self._randoms]
        self._order = jax.device_put(np.stack(orders) if self._several else orders[0])

    def _order_of(self, random: np.random.Generator) -> np.ndarray:
        """Returns the examples and a seed for each batch."""
        size = self._config.batch_size
        steps = self._examples // size
        order = random.permutation(np.arange(self._examples, dtype="int32"))
        seeds = random.integers(0, 2**31, (steps, 1), "int32")
        return np.concatenate([order[: steps * size].reshape(steps, size), seeds], 1)

    def _first_state(self, config: TrainingConfig, data: ImageData) -> Any:
        weights, moving = [], []
        for kernel in kernels(config, data):
            units = kernel.shape[-1]
            layer = {"kernel": kernel, "bias": np.zeros(units, "float32")}
            if config.batch_norm and units != data.classes:
                layer["gamma"] = np.ones(units, "float32")
                moving.append((np.zeros(units, "float32"), np.ones(units, "float32")))
            weights.append(layer)
        velocity = ()
        if config.optimizer == "momentum":
            velocity = jax.tree.map(np.zeros_like, weights)
        return weights, moving, velocity

    def _train_and_validate(
        self, state: Any, rate: Any, order: Any, data: Any, validation: Any
    ) -> Any:
        state, trained = jax.lax.scan(
            lambda state, batch: self._step(state, rate, batch, data), state, order
        )
        validated = jax.lax.map(lambda batch: self._evaluate(state, batch), validation)
        return state, [jnp.mean(each) for each in (*trained, *validated)]

    def _step_by_step(
        self, state: Any, rate: Any, order: Any, data: Any, validation: Any
    ) -> Any:
        trained = []
        for batch in order:
            state, scores = self._one_step(state, rate, batch, data)
            trained.append(scores)
        batches = zip(*validation, strict=True)
        validated = [self._one_evaluation(state, batch) for batch in batches]
        return state, [np.mean(each, axis=0) for each in (trained, validated)]

    def _step(self, state: Any, rate: Any, batch: Any, data: Any) -> Any:
        weights, moving, velocity = state
        images, labels = data
        indices, seed = batch[:-1], batch[-1]
        x, y = images[indices], labels[indices]
        if self._config.augments:
            x = _augmented(x, jax.random.key(seed))
        (loss, (right, moving)), gradients = jax.value_and_grad(
            self._loss, has_aux=True
        )(weights, moving, x, y)
        if velocity:
            velocity = jax.tree.map(
                lambda v, g: MOMENTUM * v - rate * g, velocity, gradients
            )
            weights = jax.tree.map(jnp.add, weights, velocity)
        else:
            weights = jax.tree.map(lambda w, g: w - rate * g, weights, gradients)
        return (weights, moving, velocity), (loss, right)

    def _evaluate(self, state: Any, batch: Any) -> Any:
        weights, moving, _ = state
        x, y, weight = batch
        logits, _ = self._logits(weights, moving, x, training=False)
        losses, rights = _scores(logits, y)
        return jnp.mean(losses * weight), jnp.mean(rights * weight)

    def _loss(self, weights: Any, moving: Any, x: Any, y: Any) -> Any:
        logits, moving = self._logits(weights, moving, x, training=True)
        losses, rights = _scores(logits, y)
        return jnp.mean(losses), (jnp.mean(rights), moving)

    def _logits(self, weights: Any, moving: Any, x: Any, *, training: bool) -> Any:
        mixed = self._config.precision == "mixed_bfloat16"
        dtype = jnp.bfloat16 if mixed else jnp.float32
        x = x.astype(dtype) * self._scale.astype(dtype) + self._offset.astype(dtype)
        averages = []
        for index, layer in enumerate(weights[:-1]):
            kernel = layer["kernel"].astype(dtype)
            if kernel.ndim > len(("in", "out")):
                layout = ("NHWC", "HWIO", "NHWC")
                x = jax.lax.conv_general_dilated(
                    x, kernel, (1, 1), "SAME", dimension_numbers=layout
                )
            else:
                x = x.reshape(len(x), -1) @ kernel
            if moving:
                x, average = _normalised(x, layer, moving[index], training)
                averages.append(average)
                x = x.astype(dtype)
            else:
                x += layer["bias"].astype(dtype)
            x = _ACTIVATIONS[self._config.activation](x)
            if is_pooled(index, kernel):
                window = (1, 2, 2, 1)
                x = jax.lax.reduce_window(
                    x, -jnp.inf, jax.lax.max, window, window, "VALID"
                )
        last = weights[-1]
        x = x.reshape(len(x), -1).astype("float32")
        return x @ last["kernel"] + last["bias"], averages


@jax.custom_jvp
def _gaaf_tanh(x: Any) -> Any:
    return jnp.tanh(x)


@_gaaf_tanh.defjvp
def _gaaf_tanh_jvp(primals: Any, tangents: Any) -> Any:
    (x,), (tangent,) = primals, tangents
    y = jnp.tanh(x)
    return y, (1 - y * y + jnp.exp(-x * x / 4)) * tangent


_ACTIVATIONS = {"tanh": jnp.tanh, "relu": jax.nn.relu, "gaaf_tanh": _gaaf_tanh}


def _normalised(x: Any, layer: Any, moving: Any, training: bool) -> Any:
    x = x.astype("float32")
    mean, variance = moving
    if training:
        axes = tuple(range(x.ndim - 1))
        mean = jnp.mean(x, axes)
        variance = jnp.mean(x * x, axes) - mean * mean
        moving = jax.tree.map(
            lambda old, new: MOMENTUM * old + (1 - MOMENTUM) * new,
            moving,
            (mean, variance),
        )
    factor = layer["gamma"] * jax.lax.rsqrt(variance + EPSILON)
    return x * factor + (layer["bias"] - mean * factor), moving


def _scores(logits: Any, y: Any) -> Any:
    chosen = jnp.take_along_axis(jax.nn.log_softmax(logits), y[:, None], 1)[:, 0]
    return -chosen, (jnp.argmax(logits, -1) == y).astype("float32")


def _augmented(padded: Any, key: Any) -> Any:
    """Returns padded images shifted, and half of them mirrored."""
    flips, shifts = jax.random.split(key)
    count, height, width, channels = padded.shape
    size = (height - 2 * SHIFT, width - 2 * SHIFT, channels)
    shifts = jax.random.randint(shifts, (count, 2), 0, 2 * SHIFT + 1)
    moved = jax.vmap(
        lambda image, shift: jax.lax.dynamic_slice(image, (*shift, 0), size)
    )(padded, shifts)
    flips = jax.random.bernoulli(flips, shape=(count, 1, 1, 1))
    return jnp.where(flips, moved[:, :, ::-1], moved)
