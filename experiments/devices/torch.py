"""Training on PyTorch: one device."""

import functools
import os
from collections.abc import Sequence

import keras
import torch

from experiments.config import UsageError
from experiments.data.datasets import ImageData
from experiments.devices import epoch_loop
from experiments.devices.base import Strategy, Training
from experiments.devices.epoch_loop import Resident
from experiments.devices.torch_epochs import Programs


class TorchStrategy(Strategy):
    """One device, which holds the images.

    The training step is compiled only on request.
    """

    def memory(self) -> int | None:
        return torch.cuda.mem_get_info()[1] if torch.cuda.is_available() else None

    def fit(self, data: ImageData, trainings: Sequence[Training]) -> None:
        if self.streams(data):
            super().fit(data, trainings)
            return
        for training in trainings:
            augment = training.config.augments
            on = Resident.of(data, keras.ops.convert_to_tensor, augment=augment)
            programs = functools.partial(Programs, on, augment=augment)
            epoch_loop.fit(training, programs, data)

    def versions(self) -> dict[str, str]:
        return {"torch": torch.__version__}

    def jit_compile(self, choice: str) -> bool | str:
        return choice == "true"


def get(name: str, logical_devices: int | None, deterministic: bool) -> TorchStrategy:
    """Returns the strategy of a name; called once per process for each name.

    Raises:
        UsageError: If there is no such strategy here.
    """
    if name == "mirrored" or logical_devices is not None:
        raise UsageError(
            "On PyTorch, training uses one device. Leave strategy mirrored and "
            "logical_devices out, or set KERAS_BACKEND=tensorflow or jax."
        )
    if deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True)
    device = keras.distribution.list_devices()[0] if torch.cuda.is_available() else ""
    return TorchStrategy([device or "cpu"])
