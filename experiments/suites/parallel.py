"""Independent runs in several processes at once.

A small network leaves most of a machine's cores idle most of the time. Each process has
its share of the cores and its own Keras, and trains one network after the other.
"""

import dataclasses
import logging
import multiprocessing
import os
import signal
from collections.abc import Iterator, Sequence
from multiprocessing.connection import Connection, wait
from typing import Any

import keras

from experiments.config import TrainingConfig, UsageError
from experiments.devices import Strategy
from experiments.suites.progress import ProgressCallback
from experiments.training.result import TrainingResult
from experiments.training.run import train_and_evaluate


@dataclasses.dataclass(frozen=True)
class Progress:
    """What a process reports about a run after an epoch, for `ProgressView.show`."""

    arguments: tuple[Any, ...]


@dataclasses.dataclass(frozen=True)
class Failure:
    """A run that could not be completed, with the reason."""

    reason: str


def processes_for(wanted: int | str, runs: int, strategy: Strategy) -> int:
    """Returns the number of processes to train in.

    Args:
        wanted: A number, or `"auto"`: one per core without a GPU, and one with a GPU.
        runs: Number of runs.
        strategy: The devices of the runs.

    Raises:
        UsageError: If several would share what one run needs alone.
    """
    if wanted == "auto":
        on_cpu = all("CPU" in device.upper() for device in strategy.devices)
        alone = strategy.replicas == 1 and not strategy.has_other_processes
        wanted = len(_cores()) if on_cpu and alone else 1
    processes = min(int(wanted), runs)
    if processes > 1 and (strategy.replicas > 1 or strategy.has_other_processes):
        raise UsageError(
            "parallel_runs trains each network on one device, and cannot be used with "
            f"the {strategy.replicas} replicas of strategy {strategy.name}. Leave it "
            "out, or choose strategy one_device."
        )
    return processes


def train_all(
    runs: Sequence[tuple[str, TrainingConfig]], processes: int
) -> Iterator[tuple[int, Progress | TrainingResult | Failure]]:
    """Trains networks in several processes.

    A run that fails, or whose process dies, does not affect the others.

    Args:
        runs: The label and the configuration of each run.
        processes: Number of networks to train at once.

    Yields:
        The index of a run, and its progress or its result without the model, in the
        order of arrival.
    """
    waiting = list(enumerate(runs))[::-1]
    shares = _shares(processes)
    workers = {}
    try:
        for share in shares:
            worker = _Worker(share)
            workers[worker.connection] = worker
            worker.give(*waiting.pop())
        while workers:
            for connection in wait(list(workers)):
                worker = workers[connection]  # type: ignore[index]
                message = worker.receive()
                yield worker.index, message
                if isinstance(message, Progress):
                    continue
                if worker.is_dead or not waiting:
                    del workers[worker.connection]
                    worker.end()
                if waiting:
                    if worker.is_dead:
                        worker = _Worker(worker.cores)
                        workers[worker.connection] = worker
                    worker.give(*waiting.pop())
    finally:
        for worker in workers.values():
            worker.process.terminate()
            worker.end()


class _Worker:
    """A process that trains one network after the other."""

    def __init__(self, cores: set[int]) -> None:
        self.cores = cores
        self.index = -1
        self.is_dead = False
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=_work, args=(theirs,), daemon=True)
        before = _cores()
        _keep_to(cores)  # the new process inherits it
        try:
            self.process.start()
        finally:
            _keep_to(before)
        theirs.close()

    def give(self, index: int, run: tuple[str, TrainingConfig]) -> None:
        """Starts training a network."""
        self.index = index
        self.connection.send(run)

    def receive(self) -> Any:
        """Returns the message of the process, or its failure if it is dead."""
        try:
            return self.connection.recv()
        except (EOFError, ConnectionResetError):
            self.is_dead = True
            self.process.join()
            code = self.process.exitcode or 0
            how = signal.Signals(-code).name if code < 0 else f"code {code}"
            return Failure(f"its process ended with {how}")

    def end(self) -> None:
        """Ends the process."""
        self.connection.close()
        self.process.join()


def _work(connection: Connection) -> None:
    """Trains the requested networks until there are no more requests."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent process will end this one
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    logging.getLogger("absl").setLevel(logging.ERROR)  # TensorFlow reports every export
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    while True:
        try:
            label, config = connection.recv()
        except EOFError:
            return
        try:
            callback = ProgressCallback(
                lambda *arguments: connection.send(Progress(arguments)), label
            )
            result = train_and_evaluate(config, [callback])
            connection.send(dataclasses.replace(result, model=None))
        except BrokenPipeError:
            return
        except UsageError as error:
            connection.send(Failure(str(error)))
        except Exception as error:  # the other runs continue
            connection.send(Failure(f"{type(error).__name__}: {error}"))
        keras.backend.clear_session()


def _cores() -> set[int]:
    """Returns the cores available to this process."""
    if hasattr(os, "sched_getaffinity"):
        return os.sched_getaffinity(0)
    return set(range(os.cpu_count() or 1))


def _keep_to(cores: set[int]) -> None:
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, cores)


def _shares(processes: int) -> list[set[int]]:
    """Returns the cores of each process; all cores if there are more processes."""
    cores = sorted(_cores())
    if processes > len(cores):
        return [set(cores)] * processes
    return [set(cores[number::processes]) for number in range(processes)]
