"""Training on PyTorch: one device."""

import os

import keras
import torch

from experiments.config import UsageError
from experiments.devices.base import Strategy


class TorchStrategy(Strategy):
    """One device. The training step is compiled only if that is asked for."""

    def versions(self) -> dict[str, str]:
        return {"torch": torch.__version__}

    def jit_compile(self, choice: str) -> bool | str:
        return choice == "true"


def get(name: str, logical_devices: int | None, deterministic: bool) -> TorchStrategy:
    """Returns the strategy of that name; called once in a process for each.

    Raises:
        UsageError: If there is no such strategy here.
    """
    if name == "mirrored" or logical_devices is not None:
        raise UsageError(
            "On PyTorch training runs on one device: leave strategy mirrored and "
            "logical_devices out, or set KERAS_BACKEND=tensorflow or jax."
        )
    if deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True)
    device = keras.distribution.list_devices()[0] if torch.cuda.is_available() else ""
    return TorchStrategy([device or "cpu"])
