"""The moment by which a process is to have stopped."""

import math
import signal
import time

_end = math.inf


def set_limit(seconds: float) -> None:
    """Has the process stopped by `SIGALRM` after some seconds, or sooner by `stop`."""
    global _end  # noqa: PLW0603
    _end = time.monotonic() + seconds
    signal.setitimer(signal.ITIMER_REAL, seconds)


def is_near(seconds: float) -> bool:
    """Whether what takes some seconds would end too late."""
    return time.monotonic() + seconds > _end


def stop() -> None:
    """Stops the process now, as at the end of its time."""
    signal.raise_signal(signal.SIGALRM)
