"""Training on JAX: one device, or `keras.distribution` over all of this machine."""

import contextlib
import dataclasses
import itertools
import os
from collections.abc import Hashable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jax
import keras

from experiments import optimization
from experiments.config import TrainingConfig, UsageError
from experiments.data.datasets import ImageData
from experiments.devices.base import Strategy, Training
from experiments.devices.jax_epochs import compile_programs, fit
from experiments.devices.jax_programs import (
    DeviceData,
    Programs,
    has_variable_dropout,
    has_variable_strength,
    state_of,
)

_CACHE = Path("~/.cache/gaaf_keras/jax")  # for compiled programs
_MOST_AT_ONCE = 128  # runs per device
_SHARE_OF_RUNS = 0.3  # of a device's memory
_BYTES_A_WEIGHT = 60  # with gradient, moments, best weights and copies in a step


class JaxStrategy(Strategy):
    """One device per run, which holds the images and runs whole epochs."""

    def __init__(self, devices: list[str]) -> None:
        super().__init__(devices)
        self._programs: dict[tuple[Hashable, int], Programs] = {}
        self._data: dict[tuple[int, bool], list[DeviceData]] = {}
        self._held: list[ImageData] = []  # keeps their ids unique
        self._compiling: dict[Programs, Future[None]] = {}

    def versions(self) -> dict[str, str]:
        return {"jax": jax.__version__}

    def kind(self, config: TrainingConfig) -> Hashable:
        same: dict[str, Any] = {
            "seed": 0,
            "variant": "",
            "patience": 1,
            **dict.fromkeys(("output_dir", "export", "data_dir")),
            "learning_rate": 1.0,
            # The program depends on whether these are 0.
            "weight_decay": float(config.weight_decay > 0),
        }
        if has_variable_dropout(config):
            same["dropout"] = 0.5 * (config.dropout > 0)
        if has_variable_strength(config):
            same["strength"] = 1.0
        if not optimization.is_scheduled(config):
            same["epochs"] = 1
        return dataclasses.replace(config, **same)

    def runs_at_once(
        self, wanted: int | str, config: TrainingConfig, data: ImageData
    ) -> int:
        if config.jit_compile == "false":
            if wanted != "auto" and int(wanted) > 1:
                raise UsageError(
                    "runs_at_once needs a compiled training step. Leave jit_compile "
                    f"out. Received: {wanted}, with jit_compile=false"
                )
            return 1
        if wanted != "auto":
            return int(wanted)
        if _on_cpu() or config.init_from is not None or config.model != "mlp":
            return 1
        widths = (data.train.images[0].size, *config.hidden_units, data.classes)
        weights = sum(a * b for a, b in itertools.pairwise(widths))
        room = _SHARE_OF_RUNS * (self.memory() or 0) / (_BYTES_A_WEIGHT * weights)
        most = min(_MOST_AT_ONCE, max(1, int(room)))
        return most * jax.local_device_count()

    def memory(self) -> int | None:
        return (jax.local_devices()[0].memory_stats() or {}).get("bytes_limit")

    @contextlib.contextmanager
    def compiling_ahead(
        self, trainings: Iterable[tuple[Training, int]], data: ImageData
    ) -> Iterator[None]:
        # On a GPU, programs compiled at the same time wait for each other.
        threads = ThreadPoolExecutor(None if _on_cpu() else 1)
        try:
            for training, at_once in trainings:
                if self._compiles(training.config, data):
                    programs = self._programs_of(training.config, data)
                    on = self._on_devices(training.config, data, at_once)
                    self._compiling[programs] = threads.submit(
                        compile_programs, programs, training, at_once, on
                    )
            yield
        finally:
            threads.shutdown(wait=False, cancel_futures=True)

    def fit(self, data: ImageData, trainings: Sequence[Training]) -> None:
        if not trainings:
            return
        config = trainings[0].config
        if not self._compiles(config, data):
            super().fit(data, trainings)
            return
        programs = self._programs_of(config, data)
        if programs in self._compiling:
            self._compiling.pop(programs).result()
        fit(programs, trainings, self._on_devices(config, data, len(trainings)))

    def accuracy(
        self, model: keras.Model, config: TrainingConfig, data: ImageData, split: str
    ) -> float:
        if not self._compiles(config, data):
            return super().accuracy(model, config, data, split)
        on = getattr(self._on_devices(config, data, 1)[0], split)
        programs = self._programs_of(config, data)
        metrics = programs.validate(state_of(model), programs.metrics(), on)
        share = float(programs.logs(metrics)["accuracy"])
        examples = len(getattr(data, split))
        return round(share * examples) / examples

    def _compiles(self, config: TrainingConfig, data: ImageData) -> bool:
        return config.jit_compile != "false" and not self.streams(data)

    def _programs_of(self, config: TrainingConfig, data: ImageData) -> Programs:
        key = self.kind(config), id(data)
        if key not in self._programs:
            self._programs[key] = Programs(config, data)
            self._held.append(data)
        return self._programs[key]

    def _on_devices(
        self, config: TrainingConfig, data: ImageData, runs: int
    ) -> list[DeviceData]:
        """Returns the data on as many devices as the runs can use."""
        found = self._data.setdefault((id(data), config.augments), [])
        devices = jax.local_devices()[:runs]
        for device in devices[len(found) :]:
            found.append(DeviceData(data, device, augment=config.augments))
        return found[: len(devices)]


def _on_cpu() -> bool:
    return jax.default_backend() == "cpu"


class JaxDataParallel(Strategy):
    """All devices of this machine, which share each batch.

    Batch normalisation uses the global batch: XLA divides the computation without
    changing its result.
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
    """Returns the strategy of a name; called once per process for each name.

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
    """Splits the CPU into several devices, for testing."""
    with contextlib.suppress(RuntimeError):  # JAX is in use, maybe with this number
        jax.config.update("jax_num_cpu_devices", parts)
    if jax.default_backend() != "cpu" or jax.local_device_count() != parts:
        raise UsageError(
            "logical_devices can only split a CPU, and only before the process uses "
            f"JAX, which already has {jax.local_device_count()} devices on "
            f"{jax.default_backend()}. Received: {parts}"
        )
