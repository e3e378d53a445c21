"""Training on JAX: one device, or `keras.distribution` over all of this machine."""

import contextlib
import os
from typing import Any

import jax
import keras

from experiments.config import UsageError
from experiments.devices.base import Strategy


class JaxStrategy(Strategy):
    """One device. Keras compiles the training step unless told not to."""

    def versions(self) -> dict[str, str]:
        return {"jax": jax.__version__}


class JaxDataParallel(JaxStrategy):
    """All devices of this machine, which share each batch.

    Batch normalisation is over the global batch: XLA divides the computation and
    leaves what it computes as it is.
    """

    name = "DataParallel"

    def __init__(self, devices: list[str]) -> None:
        super().__init__(devices)
        self._distribution = keras.distribution.DataParallel(
            devices=keras.distribution.list_devices(), auto_shard_dataset=False
        )

    def scope(self) -> contextlib.AbstractContextManager[Any]:
        return self._distribution.scope()


def get(name: str, logical_devices: int | None, deterministic: bool) -> JaxStrategy:
    """Returns the strategy of that name; called once in a process for each.

    Raises:
        UsageError: If there is no such strategy here.
    """
    if deterministic:
        flags = os.environ.get("XLA_FLAGS", "")
        os.environ["XLA_FLAGS"] = f"{flags} --xla_gpu_deterministic_ops=true".strip()
    if logical_devices is not None:
        _split_cpu(logical_devices)
    devices = [str(device) for device in jax.local_devices()]
    several_gpus = len(devices) > 1 and jax.default_backend() == "gpu"
    if name == "mirrored" or (name == "auto" and several_gpus):
        return JaxDataParallel(devices)
    return JaxStrategy(devices[:1])


def _split_cpu(parts: int) -> None:
    """Makes several devices of the CPU, for testing."""
    with contextlib.suppress(RuntimeError):  # JAX is in use already, maybe with as many
        jax.config.update("jax_num_cpu_devices", parts)
    if jax.default_backend() != "cpu" or jax.local_device_count() != parts:
        raise UsageError(
            "logical_devices can only split a CPU, and only before JAX is used in a "
            f"process; it has {jax.local_device_count()} devices on "
            f"{jax.default_backend()}. Received: {parts}"
        )
