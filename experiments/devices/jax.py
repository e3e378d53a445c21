"""Training on JAX: one device, or `keras.distribution` over all of this machine."""

import contextlib
import dataclasses
import os
from pathlib import Path
from typing import Any

import jax
import keras

from experiments.config import TrainingConfig, UsageError
from experiments.data.datasets import ImageData
from experiments.devices.base import Strategy
from experiments.devices.jax_epochs import Epochs, fits_on_device

_CACHE = Path("~/.cache/gaaf_keras/jax")  # of compiled programs, for later processes


class JaxStrategy(Strategy):
    """One device, on which images stay and whole epochs run."""

    def __init__(self, devices: list[str]) -> None:
        super().__init__(devices)
        self._epochs: tuple[TrainingConfig, ImageData, Epochs] | None = None

    def fit(
        self, model: keras.Model, data: ImageData, config: TrainingConfig, **given: Any
    ) -> None:
        if config.jit_compile == "false" or not fits_on_device(data):
            super().fit(model, data, config, **given)
            return
        epochs = self._epochs_of(config, data)
        epochs.fit(model, config.seed, config.gradient_flow, **given)

    def _epochs_of(self, config: TrainingConfig, data: ImageData) -> Epochs:
        """Returns the compiled epochs, for like runs those that there are."""
        kind = dataclasses.replace(
            config, seed=0, output_dir=None, variant="", export=None
        )
        if config.learning_rate_schedule == "constant" and not config.warm_up_epochs:
            kind = dataclasses.replace(kind, learning_rate=1.0, epochs=1, patience=1)
        if (
            self._epochs is None
            or self._epochs[0] != kind
            or self._epochs[1] is not data
        ):
            epochs = Epochs(data, config.batch_size, augment=config.augments)
            self._epochs = kind, data, epochs
        return self._epochs[2]

    def versions(self) -> dict[str, str]:
        return {"jax": jax.__version__}


class JaxDataParallel(Strategy):
    """All devices of this machine, which share each batch.

    Batch normalisation is over the global batch: XLA divides the computation and
    leaves what it computes as it is.
    """

    name = "DataParallel"
    versions = JaxStrategy.versions

    def __init__(self, devices: list[str]) -> None:
        super().__init__(devices)
        self._distribution = keras.distribution.DataParallel(
            devices=keras.distribution.list_devices(), auto_shard_dataset=False
        )

    def scope(self) -> contextlib.AbstractContextManager[Any]:
        return self._distribution.scope()


def get(name: str, logical_devices: int | None, deterministic: bool) -> Strategy:
    """Returns the strategy of that name; called once in a process for each.

    Raises:
        UsageError: If there is no such strategy here.
    """
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        jax.config.update("jax_compilation_cache_dir", str(_CACHE.expanduser()))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)
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
