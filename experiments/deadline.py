"""The moment by which a process is to have stopped."""

import contextlib
import math
import signal
import time
from collections.abc import Iterator

_end = math.inf


@contextlib.contextmanager
def limit(seconds: float | None) -> Iterator[None]:
    """Has what runs inside stopped by `SIGALRM` after some seconds, or by `stop`."""
    global _end  # noqa: PLW0603
    if seconds is None:
        yield
        return
    _end = time.monotonic() + seconds
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:  # an alarm while Python ends would kill the process without a word
        signal.setitimer(signal.ITIMER_REAL, 0)
        _end = math.inf


def is_near(seconds: float) -> bool:
    """Whether what takes some seconds would end too late."""
    return time.monotonic() + seconds > _end


def stop() -> None:
    """Stops the process now, as at the end of its time."""
    signal.raise_signal(signal.SIGALRM)
