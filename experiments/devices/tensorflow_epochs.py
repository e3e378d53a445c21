"""Epochs on TensorFlow as one execution each, on images that stay on the device.

An epoch is a loop over Keras's own `train_step`, for which each batch is gathered and
augmented on the device. Weights and history are those of `fit`: on a CPU to the last
bit, with XLA up to float rounding. An epoch runs to its end even if the loss becomes
NaN.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from experiments import optimization
from experiments.config import TrainingConfig
from experiments.data.batches import EpochOrder, moved
from experiments.data.datasets import ImageData
from experiments.devices.epoch_loop import Resident


class Programs:
    """The traced programs of a model, with which models of the same layers can train.

    The other model's values replace the model's while a program runs.

    With XLA an epoch is compiled as a whole on a GPU, and step by step on a CPU, where
    convolutions in compiled loops use one core.

    Args:
        model: A compiled and built model.
        on: The data.
        augment: Whether training images are flipped and shifted.
    """

    def __init__(self, model: keras.Model, on: Resident, *, augment: bool) -> None:
        self._model = model
        self._own = _variables(model)
        self._on = on
        self._augment = augment
        compiled = {"jit_compile": True} if model.jit_compile else {}
        on_gpu = bool(tf.config.list_logical_devices("GPU"))
        of_step, of_epoch = ({}, compiled) if on_gpu else (compiled, {})
        self._train_step = tf.function(model.train_step, autograph=False, **of_step)
        self._test_step = tf.function(model.test_step, autograph=False, **of_step)
        self._train = self._for_others(self._train_steps, **of_epoch)
        self._validate = self._for_others(self._validation, **of_epoch)

    def train(
        self, model: keras.Model, order: EpochOrder, first: int, end: int
    ) -> np.ndarray:
        """Trains for some steps of an epoch, as `epoch_loop.Programs` does."""
        inputs = tf.nest.map_structure(tf.constant, (order, first, end))
        losses = self._train(model, *inputs, *self._on.train)
        return losses.numpy()[first:end]

    def validate(self, model: keras.Model) -> None:
        """Updates the model's metrics with the validation data."""
        self._validate(model, *self._on.validation)

    def _for_others(
        self, program: Callable[..., Any], **options: Any
    ) -> Callable[..., Any]:
        """Returns a program whose first argument is the model or another one."""
        inner = tf.function(program, autograph=False, **options)

        @tf.function(autograph=False)
        def outer(variables: list[tf.Variable], *inputs: Any) -> Any:
            kept = [variable.read_value() for variable in self._own]
            _assign(self._own, variables)
            outputs = inner(*inputs)
            _assign(variables, self._own)
            _assign(self._own, kept)
            return outputs

        def run(model: keras.Model, *inputs: Any) -> Any:
            if model is self._model:
                return inner(*inputs)
            return outer(_variables(model), *inputs)

        return run

    def _train_steps(
        self,
        order: EpochOrder,
        first: tf.Tensor,
        end: tf.Tensor,
        images: tf.Tensor,
        labels: tf.Tensor,
    ) -> tf.Tensor:
        def step(index: tf.Tensor, losses: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            indices, *moves = (part[index] for part in order)
            x = tf.gather(images, indices)
            x = moved(x, *moves) if self._augment else x
            data = tf.cast(x, tf.float32), tf.gather(labels, indices)
            loss = self._train_step(data)["loss"]
            return index + 1, tf.where(steps == index, loss, losses)

        steps = tf.range(order.indices.shape[0])
        losses = tf.zeros(steps.shape)
        _, losses = tf.while_loop(lambda index, _: index < end, step, (first, losses))
        return losses

    def _validation(
        self, images: tf.Tensor, labels: tf.Tensor, weights: tf.Tensor
    ) -> None:
        def step(index: tf.Tensor) -> tuple[tf.Tensor]:
            x = tf.cast(images[index], tf.float32)
            self._test_step((x, labels[index], weights[index]))
            return (index + 1,)

        tf.while_loop(lambda index: index < images.shape[0], step, (0,))


class Epochs:
    """The programs of all models trained on some data.

    Args:
        data: The data.
    """

    def __init__(self, data: ImageData) -> None:
        self.data = data
        self._on: dict[bool, Resident] = {}  # by whether it is padded
        self._programs: dict[TrainingConfig, Programs] = {}

    def programs_for(self, config: TrainingConfig, model: keras.Model) -> Programs:
        """Returns the programs of a model; similar runs share them."""
        kind = dataclasses.replace(
            config, seed=0, output_dir=None, variant="", export=None
        )
        if not optimization.is_scheduled(config):
            kind = dataclasses.replace(kind, learning_rate=1.0, epochs=1, patience=1)
        augment = config.augments
        if augment not in self._on:
            self._on[augment] = Resident.of(self.data, tf.constant, augment=augment)
        if kind not in self._programs:
            self._programs[kind] = Programs(model, self._on[augment], augment=augment)
        return self._programs[kind]


def _variables(model: keras.Model) -> list[tf.Variable]:
    return [
        variable.value
        for variable in (
            *model.variables,
            *model.optimizer.variables,
            *model.metrics_variables,
        )
    ]


def _assign(variables: list[tf.Variable], values: list[Any]) -> None:
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)
