"""A loop in bare TensorFlow: an epoch and its validation are one `tf.function`."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from by_hand import EPSILON, MOMENTUM, SHIFT, is_pooled, kernels
from experiments.config import TrainingConfig
from experiments.data.batches import evaluation_order
from experiments.data.datasets import ImageData


class Loop:
    """A model in training."""

    def __init__(self, configs: Sequence[TrainingConfig], data: ImageData) -> None:
        (self._config,) = configs
        config = self._config
        self._scale = 1 / np.float32(data.standard_deviation)
        self._offset = -np.float32(data.mean) * self._scale
        self._random = np.random.default_rng(config.seed)
        self._layers, self._moving = [], []
        for kernel in kernels(config, data):
            units = kernel.shape[-1]
            layer = {"kernel": kernel, "bias": np.zeros(units, "float32")}
            if config.batch_norm and units != data.classes:
                layer["gamma"] = np.ones(units, "float32")
                averages = np.zeros(units, "float32"), np.ones(units, "float32")
                self._moving.append([tf.Variable(each) for each in averages])
            self._layers.append({n: tf.Variable(value) for n, value in layer.items()})
        self._weights = tf.nest.flatten(self._layers)
        self._velocity = [tf.Variable(tf.zeros_like(each)) for each in self._weights]
        images = data.train.images
        if config.augments:
            edge = (SHIFT, SHIFT)
            images = np.pad(images, [(0, 0), edge, edge, (0, 0)])
        self._train = tf.constant(images), tf.constant(data.train.labels)
        indices, weights = evaluation_order(len(data.validation))
        self._validation = (
            tf.constant(data.validation.images[indices]),
            tf.constant(data.validation.labels[indices]),
            tf.constant(weights),
        )
        self._steps = len(data.train) // config.batch_size
        # On a CPU, XLA makes dense networks faster, and convolutions 30 times slower.
        xla = config.model == "mlp" or bool(tf.config.list_physical_devices("GPU"))
        self._epoch = tf.function(
            self._train_and_validate, autograph=False, jit_compile=xla
        )

    def epoch(self) -> Any:
        order = self._random.permutation(len(self._train[1])).astype("int32")
        order = order[: self._steps * self._config.batch_size]
        found = self._epoch(tf.constant(order.reshape(self._steps, -1)))
        return found.numpy().tolist()

    def _train_and_validate(self, order: Any) -> Any:
        def step(index: Any, found: Any) -> Any:
            return index + 1, found + self._step(order[index])

        steps = self._steps
        _, trained = tf.while_loop(
            lambda index, _: index < steps,
            step,
            (0, tf.zeros(2)),
            parallel_iterations=1,
            maximum_iterations=steps,
        )
        batches = len(self._validation[0])

        def evaluate(index: Any, found: Any) -> Any:
            x, y, weight = (each[index] for each in self._validation)
            losses, rights = _scores(self._logits(x, training=False), y)
            sums = tf.reduce_mean(tf.stack([losses, rights]) * weight, axis=1)
            return index + 1, found + sums

        with tf.control_dependencies([trained]):
            _, validated = tf.while_loop(
                lambda index, _: index < batches,
                evaluate,
                (0, tf.zeros(2)),
                maximum_iterations=batches,
            )
        return tf.concat([trained / steps, validated / batches], 0)

    def _step(self, indices: Any) -> Any:
        images, labels = self._train
        x, y = tf.gather(images, indices), tf.gather(labels, indices)
        if self._config.augments:
            x = _augmented(x)
        with tf.GradientTape() as tape:
            losses, rights = _scores(self._logits(x, training=True), y)
            loss = tf.reduce_mean(losses)
        gradients = tape.gradient(loss, self._weights, unconnected_gradients="zero")
        rate = self._config.learning_rate
        for weight, velocity, gradient in zip(
            self._weights, self._velocity, gradients, strict=True
        ):
            if self._config.optimizer == "momentum":
                velocity.assign(MOMENTUM * velocity - rate * gradient)
                weight.assign_add(velocity)
            else:
                weight.assign_sub(rate * gradient)
        return tf.stack([loss, tf.reduce_mean(rights)])

    def _logits(self, x: Any, *, training: bool) -> Any:
        mixed = self._config.precision == "mixed_bfloat16"
        dtype = tf.bfloat16 if mixed else tf.float32
        x = tf.cast(x, dtype) * tf.cast(self._scale, dtype)
        x += tf.cast(self._offset, dtype)
        activation = {"tanh": tf.tanh, "relu": tf.nn.relu}[self._config.activation]
        for index, layer in enumerate(self._layers[:-1]):
            kernel = tf.cast(layer["kernel"], dtype)
            if len(kernel.shape) == len(("height", "width", "in", "out")):
                x = tf.nn.conv2d(x, kernel, 1, "SAME")
            else:
                x = tf.reshape(x, (x.shape[0], -1)) @ kernel
            if self._moving:
                x = self._normalised(x, layer, self._moving[index], training)
                x = tf.cast(x, dtype)
            else:
                x += tf.cast(layer["bias"], dtype)
            x = activation(x)
            if is_pooled(index, kernel):
                x = tf.nn.max_pool2d(x, 2, 2, "VALID")
        last = self._layers[-1]
        x = tf.cast(tf.reshape(x, (x.shape[0], -1)), tf.float32)
        return x @ last["kernel"] + last["bias"]

    def _normalised(self, x: Any, layer: Any, moving: Any, training: bool) -> Any:
        is_flat = len(x.shape) == len(("batch", "units"))
        x = x[:, None, None] if is_flat else x
        averages = [] if training else moving
        x, *batch = tf.compat.v1.nn.fused_batch_norm(
            x,
            layer["gamma"],
            layer["bias"],
            *averages,
            epsilon=EPSILON,
            is_training=training,
        )
        if training:
            for average, value in zip(moving, batch, strict=True):
                average.assign(MOMENTUM * average + (1 - MOMENTUM) * value)
        return x[:, 0, 0] if is_flat else x


def _scores(logits: Any, y: Any) -> Any:
    losses = tf.nn.sparse_softmax_cross_entropy_with_logits(y, logits)
    rights = tf.argmax(logits, -1, tf.int32) == y
    return losses, tf.cast(rights, tf.float32)


def _augmented(padded: Any) -> Any:
    """Returns padded images shifted, and half of them mirrored."""
    count, height, width, _ = padded.shape
    height, width = height - 2 * SHIFT, width - 2 * SHIFT
    shifts = tf.random.uniform((2, count, 1), 0, 2 * SHIFT + 1, tf.int32)
    rows, columns = shifts[0] + tf.range(height), shifts[1] + tf.range(width)
    flips = tf.random.uniform((count, 1)) < 1 / 2
    columns = tf.where(flips, columns[:, ::-1], columns)
    x = tf.gather(padded, rows, axis=1, batch_dims=1)
    return tf.gather(x, columns, axis=2, batch_dims=1)
