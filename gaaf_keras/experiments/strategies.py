"""Distribution strategies by name, one object of each in a process."""

import functools

import tensorflow as tf

from gaaf_keras.experiments.config import UsageError

_GPU_MEMORY_OF_A_PART = 2048  # MiB


def split_device(parts: int) -> None:
    """Makes several logical devices of the first GPU, or of the CPU, for testing.

    Parts of a GPU get 2 GiB of its memory each.

    Raises:
        UsageError: If TensorFlow has its devices already, in another number.
    """
    kind = "GPU" if tf.config.list_physical_devices("GPU") else "CPU"
    device = tf.config.list_physical_devices(kind)[0]
    limit = {"memory_limit": _GPU_MEMORY_OF_A_PART} if kind == "GPU" else {}
    wanted = [tf.config.LogicalDeviceConfiguration(**limit) for _ in range(parts)]
    try:
        tf.config.set_logical_device_configuration(device, wanted)
    except RuntimeError as error:
        if len(_devices()) != parts:
            raise UsageError(
                "logical_devices must be chosen before TensorFlow is used in a "
                f"process; it has {len(_devices())} already. Received: {parts}"
            ) from error


@functools.cache
def get_strategy(name: str) -> tf.distribute.Strategy:
    """Returns the strategy of that name, always the same object.

    Several strategy objects in one process can collide, so all trainings share one.
    On one device TensorFlow's default strategy serves: `OneDeviceStrategy` does the
    same with a costly data iterator for each validation.

    Args:
        name: `"one_device"` (the first GPU, or the CPU), `"mirrored"` (all GPUs of
            this machine, or all logical CPU devices) or `"auto"` (mirrored if there
            is more than one GPU, else one device).

    Returns:
        A `tf.distribute.Strategy`.

    Raises:
        UsageError: If there is no strategy of that name.
    """
    devices = _devices()
    if name == "auto":
        several_gpus = len(devices) > 1 and devices[0].device_type == "GPU"
        return get_strategy("mirrored" if several_gpus else "one_device")
    if name == "one_device":
        return tf.distribute.get_strategy()
    if name == "mirrored":
        return tf.distribute.MirroredStrategy([device.name for device in devices])
    raise UsageError(
        f"strategy must be one of auto, one_device, mirrored. Received: {name!r}"
    )


def device_names(strategy: tf.distribute.Strategy) -> list[str]:
    """Returns the names of the devices that a strategy computes on."""
    if isinstance(strategy, tf.distribute.MirroredStrategy):
        return list(strategy.extended.worker_devices)
    return [_devices()[0].name]


def _devices() -> list[tf.config.LogicalDevice]:
    gpus = tf.config.list_logical_devices("GPU")
    return gpus or tf.config.list_logical_devices("CPU")
