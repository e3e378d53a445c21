"""Waiting for the other workers, before TensorFlow does.

TensorFlow waits for an hour, ignores signals, and does not say for whom it waits.
"""

import contextlib
import socket
import time

from experiments.config import WorkerLostError

_SECONDS_BETWEEN_ATTEMPTS = 0.5
_NUMBER_BYTES = 4
_ALL_HERE = b"gaaf_keras: all workers are here"


def meet(addresses: list[str], own: int, seconds: float) -> None:
    """Returns when all workers have called it.

    The first worker listens at its address, which is free afterwards; the others report
    to it.

    Args:
        addresses: The addresses of all workers: `"host:port"`.
        own: The number of this worker, counted from 0.
        seconds: How long to wait.

    Raises:
        WorkerLostError: If not all arrive in that time. The message names the missing
            ones, as far as this worker knows them.
    """
    deadline = time.monotonic() + seconds
    missing = set(range(1, len(addresses))) if own == 0 else {0}
    while time.monotonic() < deadline:
        try:
            if own == 0:
                return _gather(addresses[0], missing, deadline)
            if _report(addresses[0], own, deadline):
                return None
        except OSError:  # refused while nobody listens, or the port is taken
            time.sleep(_SECONDS_BETWEEN_ATTEMPTS)
    names = ", ".join(f"{number} ({addresses[number]})" for number in sorted(missing))
    raise WorkerLostError(
        f"Not all {len(addresses)} workers started within {seconds:g} seconds. Worker "
        f"{own} waited for {names}. Start all of them with the same command."
    )


def _gather(address: str, missing: set[int], deadline: float) -> None:
    """Waits for the numbers of all others, then tells them that all have arrived."""
    port = int(address.rpartition(":")[2])
    with socket.create_server(("", port)) as server, contextlib.ExitStack() as stack:
        connections = []
        while missing:
            _limit(server, deadline)
            connection = stack.enter_context(server.accept()[0])
            _limit(connection, deadline)
            missing.discard(int.from_bytes(connection.recv(_NUMBER_BYTES)))
            connections.append(connection)
        for connection in connections:
            with contextlib.suppress(OSError):  # a worker that came twice has left once
                connection.sendall(_ALL_HERE)


def _report(address: str, own: int, deadline: float) -> bool:
    """Reports this worker to the first one; returns whether all have arrived."""
    host, _, port = address.rpartition(":")
    left = max(deadline - time.monotonic(), 0.001)
    with socket.create_connection((host, int(port)), left) as connection:
        connection.sendall(own.to_bytes(_NUMBER_BYTES))
        return connection.recv(len(_ALL_HERE)) == _ALL_HERE


def _limit(connection: socket.socket, deadline: float) -> None:
    connection.settimeout(max(deadline - time.monotonic(), 0.001))
