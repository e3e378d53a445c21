"""Training on TensorFlow: one device, or `tf.distribute` with `tf.data` pipelines."""

import contextlib
import functools
from collections.abc import Sequence
from typing import Any

import tensorflow as tf
from tensorflow.python.client import device_lib

from experiments.config import TrainingConfig, UsageError
from experiments.data import pipelines
from experiments.data.batches import evaluation_order
from experiments.data.datasets import ImageData
from experiments.devices import epoch_loop
from experiments.devices.base import Strategy, Training
from experiments.devices.tensorflow_epochs import Epochs

_GPU_MEMORY_OF_A_PART = 2048  # MiB


class TensorFlowStrategy(Strategy):
    """A TensorFlow strategy; TensorFlow's default one for a single device.

    (`OneDeviceStrategy` does the same with a costly iterator for each validation.)
    """

    def __init__(self, strategy: tf.distribute.Strategy, devices: list[str]) -> None:
        super().__init__(devices)
        self.name = type(strategy).__name__
        self._strategy = strategy
        self._epochs: Epochs | None = None

    @property
    def synchronizes_batch_norm(self) -> bool:  # type: ignore[override]
        """Whether there are replicas whose shares of a batch must be combined."""
        return self.replicas > 1

    def versions(self) -> dict[str, str]:
        import tensorflow_datasets as tfds

        return {
            "tensorflow": tf.__version__,
            "tensorflow_datasets": tfds.__version__,
        }

    def scope(self) -> contextlib.AbstractContextManager[Any]:
        return self._strategy.scope()

    def jit_compile(self, choice: str) -> bool | str:
        if choice == "true" and self.is_distributed:
            raise UsageError(
                "jit_compile must be auto or false with several devices, for which "
                "TensorFlow cannot compile the training step. Received: 'true'"
            )
        if choice == "auto" and not tf.config.list_logical_devices("GPU"):
            return False
        return super().jit_compile(choice)

    def memory(self) -> int | None:
        if self.is_distributed or not tf.config.list_logical_devices("GPU"):
            return None
        devices = device_lib.list_local_devices()
        return next(each.memory_limit for each in devices if each.device_type == "GPU")

    def fit(self, data: ImageData, trainings: Sequence[Training]) -> None:
        if self.is_distributed or self.streams(data):
            super().fit(data, trainings)
            return
        if self._epochs is None or self._epochs.data is not data:
            self._epochs = Epochs(data)
        for training in trainings:
            programs = functools.partial(
                self._epochs.programs_for, training.config, training.model
            )
            epoch_loop.fit(training, programs, data)

    def fit_arguments(
        self, data: ImageData, config: TrainingConfig, first_epoch: int
    ) -> dict[str, Any]:
        arguments = {
            "x": self._distribute(
                lambda replicas, shard: pipelines.training_pipeline(
                    data.train,
                    config.batch_size,
                    config.seed,
                    config.augments,
                    first_epoch,
                    replicas=replicas,
                    shard=shard,
                )
            )
        }
        if not self.is_distributed:
            return arguments | {
                "validation_data": pipelines.evaluation_pipeline(data.validation)
            }
        # Endless: at an end, each replica would get an empty batch that counts as a
        # full one.
        batches, _ = evaluation_order(len(data.validation), self.replicas)
        return arguments | {
            "validation_data": self._distribute(
                lambda replicas, shard: pipelines.evaluation_pipeline(
                    data.validation, replicas, shard
                ).repeat()
            ),
            "validation_steps": len(batches),
        }

    @property
    def is_distributed(self) -> bool:
        """Whether it distributes training."""
        return isinstance(
            self._strategy,
            tf.distribute.MirroredStrategy | tf.distribute.MultiWorkerMirroredStrategy,
        )

    def _distribute(self, pipeline: Any) -> Any:
        """Returns a pipeline in which each replica gets its share of each step."""
        if not self.is_distributed:
            return pipeline(1, slice(None))

        def of_worker(context: tf.distribute.InputContext) -> tf.data.Dataset:
            replicas = context.num_replicas_in_sync
            local = replicas // context.num_input_pipelines
            first = context.input_pipeline_id * local
            return pipeline(replicas, slice(first, first + local))

        return self._strategy.distribute_datasets_from_function(of_worker)


def get(name: str, logical_devices: int | None) -> TensorFlowStrategy:
    """Returns the strategy of a name on this machine only.

    Raises:
        UsageError: If there is no such strategy here.
    """
    if logical_devices is not None:
        split_device(logical_devices)
    devices = local_devices()
    several_gpus = len(devices) > 1 and devices[0].device_type == "GPU"
    names = [device.name for device in devices]
    if name == "mirrored" or (name == "auto" and several_gpus):
        return TensorFlowStrategy(tf.distribute.MirroredStrategy(names), names)
    return TensorFlowStrategy(tf.distribute.get_strategy(), names[:1])


def make_deterministic() -> None:
    """Makes every operation in the process deterministic."""
    tf.config.experimental.enable_op_determinism()


def split_device(parts: int) -> None:
    """Splits the first GPU, or the CPU, into several logical devices, for testing.

    Each part of a GPU gets 2 GiB of its memory.

    Raises:
        UsageError: If TensorFlow already has another number of devices.
    """
    kind = "GPU" if tf.config.list_physical_devices("GPU") else "CPU"
    device = tf.config.list_physical_devices(kind)[0]
    limit = {"memory_limit": _GPU_MEMORY_OF_A_PART} if kind == "GPU" else {}
    wanted = [tf.config.LogicalDeviceConfiguration(**limit) for _ in range(parts)]
    try:
        tf.config.set_logical_device_configuration(device, wanted)
    except RuntimeError as error:
        if len(local_devices()) != parts:
            raise UsageError(
                "logical_devices must be set before the process uses TensorFlow, "
                f"which already has {len(local_devices())}. Received: {parts}"
            ) from error


def local_devices() -> list[tf.config.LogicalDevice]:
    """Returns this machine's GPUs, or its CPU devices if it has none."""
    gpus = tf.config.list_logical_devices("GPU")
    return gpus or tf.config.list_logical_devices("CPU")
