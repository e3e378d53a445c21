"""The devices of runs, by the names of `--strategy`, on any backend.

There is one object of each per process, because several can collide.
"""

import functools

import keras

from experiments.config import TrainingConfig, UsageError
from experiments.devices.base import Strategy, Training

__all__ = ["Strategy", "Training", "get"]


def get(config: TrainingConfig) -> Strategy:
    """Returns the strategy of a configuration on the current backend.

    Raises:
        UsageError: If the backend or the devices cannot do it.
    """
    strategy = _get(config.strategy, config.logical_devices, config.deterministic)
    if config.batch_size % strategy.replicas:
        raise UsageError(
            f"batch_size must be a multiple of {strategy.replicas}, the number of "
            f"replicas that share each batch. Received: {config.batch_size}"
        )
    return strategy


@functools.cache
def _get(name: str, logical_devices: int | None, deterministic: bool) -> Strategy:
    backend = keras.backend.backend()
    if backend == "tensorflow":
        return _get_tensorflow(name, logical_devices, deterministic)
    if name == "multi_worker":
        raise UsageError(
            "strategy multi_worker needs Keras on TensorFlow. Set "
            f"KERAS_BACKEND=tensorflow. Received: backend '{backend}'"
        )
    if backend == "jax":
        from experiments.devices import jax

        return jax.get(name, logical_devices, deterministic)
    if backend == "torch":
        from experiments.devices import torch

        return torch.get(name, logical_devices, deterministic)
    raise UsageError(
        "Training needs Keras on TensorFlow, JAX or PyTorch. Set KERAS_BACKEND. "
        f"Received: backend '{backend}'"
    )


def _get_tensorflow(
    name: str, logical_devices: int | None, deterministic: bool
) -> Strategy:
    from experiments.devices import multi_worker, tensorflow

    if deterministic:
        tensorflow.make_deterministic()
    if name in ("auto", "multi_worker"):
        cluster = multi_worker.find_cluster()
        if name == "multi_worker" or cluster is not None:
            return multi_worker.get(cluster, logical_devices)
    return tensorflow.get(name, logical_devices)
