"""Training on several machines: `tf.distribute.MultiWorkerMirroredStrategy`.

Every machine runs the same command. Only the chief reads and writes the output folder,
and sends the others what they need from it.
"""

import contextlib
import json
import os
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from rich.console import Console

from experiments.config import UsageError, WorkerLostError
from experiments.devices import rendezvous
from experiments.devices.tensorflow import TensorFlowStrategy

SECONDS_TO_START = 300  # for all workers to arrive
_JOBS = ("chief", "master", "worker")  # the first two mean the same
_START_PORT = 8888  # Slurm's tasks on a machine use this port, the next, ...
_LOST = (
    tf.errors.UnavailableError,
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.DeadlineExceededError,
)


class MultiWorkerStrategy(TensorFlowStrategy):
    """All devices of all workers."""

    has_other_processes = True

    def __init__(
        self,
        strategy: tf.distribute.MultiWorkerMirroredStrategy,
        cluster: dict[str, Any],
    ) -> None:
        addresses = [
            f"{job} {task}: {address}"
            for job in _JOBS
            for task, address in enumerate(cluster["cluster"].get(job, []))
        ]
        local = strategy.num_replicas_in_sync // len(addresses)
        super().__init__(
            strategy,
            [f"{address}, {number}" for address in addresses for number in range(local)]
            if local > 1
            else addresses,
        )
        self.name = "MultiWorkerMirroredStrategy"
        self.is_chief = _own_number(cluster) == 0

    def share(self, content: Callable[[], bytes]) -> bytes:
        payload = content() if self.is_chief else b""
        (length,) = self._of_chief(np.array([len(payload)], "int32"))
        if length == 0:
            return b""  # a sum of nothing crashes TensorFlow
        words = np.zeros(-(-length // 4), "int32")
        words.view("uint8")[: len(payload)] = np.frombuffer(payload, "uint8")
        return self._of_chief(words).tobytes()[:length]

    def _of_chief(self, values: np.ndarray) -> np.ndarray:
        """Returns the chief's values in all workers: a sum to which only it adds."""

        @tf.function
        def add(values: tf.Tensor) -> tf.Tensor:
            context = tf.distribute.get_replica_context()
            chief = context.replica_id_in_sync_group == 0
            return context.all_reduce(
                tf.distribute.ReduceOp.SUM, tf.where(chief, values, 0)
            )

        with self.guarded():
            total = self._strategy.run(add, [tf.constant(values)])
            return self._strategy.experimental_local_results(total)[0].numpy()

    @contextlib.contextmanager
    def guarded(self) -> Iterator[None]:
        try:
            with _keras_issue_20585_worked_around():
                yield
        except _LOST as error:
            raise WorkerLostError(
                "Another worker has stopped or cannot be reached. Completed epochs are "
                "saved. To resume, restart all workers with the same command."
            ) from error


@contextlib.contextmanager
def _keras_issue_20585_worked_around() -> Iterator[None]:
    """Lets `fit` run under `MultiWorkerMirroredStrategy`.

    Two places in Keras fail there, https://github.com/keras-team/keras/issues/20585.
    Keras averages the first, distributed batch only to learn its shape, which a built
    model does not need; and it averages metrics, scalars that TensorFlow has already
    reduced, again over an axis that they do not have. Both are patched while they
    exist, which does no harm once they are fixed; tests/test_several_machines.py shows
    when they are. (Keras 3.15 fails.)
    """
    from keras.src.backend.tensorflow import trainer

    build = getattr(trainer.TensorFlowTrainer, "_maybe_symbolic_build", None)
    reduce_per_replica = getattr(trainer, "reduce_per_replica", None)
    if build is None or reduce_per_replica is None:
        yield
        return

    def local_value(values: Any, strategy: Any, reduction: str) -> Any:
        if reduction not in ("auto", "mean"):
            return reduce_per_replica(values, strategy, reduction)
        return keras.tree.map_structure(
            lambda value: strategy.experimental_local_results(value)[0], values
        )

    trainer.TensorFlowTrainer._maybe_symbolic_build = lambda *_, **__: None
    trainer.reduce_per_replica = local_value
    try:
        yield
    finally:
        trainer.TensorFlowTrainer._maybe_symbolic_build = build
        trainer.reduce_per_replica = reduce_per_replica


def find_cluster() -> dict[str, Any] | None:
    """Returns the cluster that the environment describes, in the form of `TF_CONFIG`.

    Without `TF_CONFIG`, it uses Slurm's variables.

    Raises:
        UsageError: If `TF_CONFIG` is set but invalid.
    """
    written = os.environ.get("TF_CONFIG")
    if written:
        try:
            cluster = json.loads(written)
            if not cluster.get("cluster"):
                return None
            _addresses(cluster)[_own_number(cluster)]
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise UsageError(
                'TF_CONFIG must be like {"cluster": {"worker": ["host1:2222", '
                '"host2:2222"]}, "task": {"type": "worker", "index": 0}}. '
                f"Received: {written}"
            ) from error
        return cluster if len(_addresses(cluster)) > 1 else None
    if int(os.environ.get("SLURM_STEP_NUM_TASKS", "1")) > 1:
        return _slurm_cluster()
    return None


def _slurm_cluster() -> dict[str, Any]:
    # TensorFlow would also choose the GPUs of each task, and fails without any; Slurm
    # has already chosen them.
    resolver = tf.distribute.cluster_resolver.SlurmClusterResolver(
        port_base=_START_PORT, gpus_per_node=1024, gpus_per_task=1, auto_set_gpu=False
    )
    spec = resolver.cluster_spec().as_dict()
    kind, index = resolver.get_task_info()
    return {"cluster": spec, "task": {"type": kind, "index": index}}


def get(
    cluster: dict[str, Any] | None, logical_devices: int | None
) -> MultiWorkerStrategy:
    """Returns the strategy of a cluster; called once per process, before all else.

    Raises:
        UsageError: If there is no cluster, or it cannot be joined.
        WorkerLostError: If the other workers do not arrive.
    """
    if cluster is None:
        raise UsageError(
            "strategy multi_worker needs a description of the workers: set TF_CONFIG, "
            "or start the command with Slurm's srun and several tasks."
        )
    os.environ["TF_CONFIG"] = json.dumps(cluster)
    if logical_devices is not None:
        raise UsageError(
            "logical_devices cannot be used with strategy multi_worker. Start more "
            "workers instead."
        )
    has_gpu = bool(tf.config.list_physical_devices("GPU"))
    communication = tf.distribute.experimental.CommunicationImplementation
    addresses, own = _addresses(cluster), _own_number(cluster)
    Console(stderr=True, highlight=False).print(
        f"Worker {own} of {len(addresses)} waits for the others, for up to "
        f"{SECONDS_TO_START} seconds."
    )
    rendezvous.meet(addresses, own, SECONDS_TO_START)
    try:
        with _signals_of_the_system():
            strategy = tf.distribute.MultiWorkerMirroredStrategy(
                communication_options=tf.distribute.experimental.CommunicationOptions(
                    implementation=communication.AUTO if has_gpu else communication.RING
                )
            )
    except RuntimeError as error:
        raise UsageError(
            "strategy multi_worker must be chosen before TensorFlow is used in a "
            "process."
        ) from error
    return MultiWorkerStrategy(strategy, cluster)


def _addresses(cluster: dict[str, Any]) -> list[str]:
    """Returns the addresses of all workers, the chief's first."""
    return [address for job in _JOBS for address in cluster["cluster"].get(job, [])]


def _own_number(cluster: dict[str, Any]) -> int:
    """Returns the index of this process's address."""
    before = _JOBS[: _JOBS.index(cluster["task"]["type"])]
    index = int(cluster["task"]["index"])
    return index + sum(len(cluster["cluster"].get(job, [])) for job in before)


@contextlib.contextmanager
def _signals_of_the_system() -> Iterator[None]:
    """Lets signals end the process at once while TensorFlow connects, ignoring them.

    Afterwards they are as before; TensorFlow uses SIGTERM as its own notice.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = (signal.SIGTERM, signal.SIGINT)
    before = {number: signal.signal(number, signal.SIG_DFL) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
