"""The deadline of a process."""

import contextlib
import math
import signal
import time
from collections.abc import Iterator

_end = math.inf


@contextlib.contextmanager
def limit(seconds: float | None) -> Iterator[None]:
    """Stops the code inside by `SIGALRM` after some seconds, or by `stop`."""
    global _end  # noqa: PLW0603
    if seconds is None:
        yield
        return
    _end = time.monotonic() + seconds
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:  # an alarm while Python exits would kill the process silently
        signal.setitimer(signal.ITIMER_REAL, 0)
        _end = math.inf


def is_near(seconds: float) -> bool:
    """Whether work of some seconds would miss the deadline."""
    return time.monotonic() + seconds > _end


def stop() -> None:
    """Stops the process now, as at the deadline."""
    signal.raise_signal(signal.SIGALRM)
