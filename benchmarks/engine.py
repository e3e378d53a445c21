"""The speed of `train.py`, compared with a hand-written loop in the bare backend.

    KERAS_BACKEND=jax python benchmarks/engine.py
    KERAS_BACKEND=jax python benchmarks/engine.py --gpu --json=engine.json
    KERAS_BACKEND=jax python benchmarks/engine.py --runs_at_once=105

Both train the same network with the same optimizer, batches, precision and share of
validation data, in turn in one process: some epochs of one, some of the other. The
first epoch after each change, which compiles at the beginning, is not timed. An epoch
is timed with its validation, from the end of one epoch to the end of the next. The
output has medians, and the median and quartiles of the hand-written loop's time divided
by the engine's: 1 means equally fast. Pixels and labels are random, which does not
affect the time.

With `--runs_at_once`, the runs are those of a table of 7 learning rates, compared with
the loop under `jax.vmap`; times are divided by the number of runs.
"""

import argparse
import contextlib
import importlib
import json
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from operator import truediv
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # must come before TensorFlow

import keras
import numpy as np
from by_hand import loop

from experiments.config import TrainingConfig
from experiments.training import run

_SMALL = {"learning_rate": 0.01, "gradient_flow": 0, "strategy": "one_device"}
_DENSE = {**_SMALL, "model": "mlp", "activation": "tanh"}
_CNN = {
    **_SMALL,
    "model": "cnn",
    "activation": "relu",
    "batch_norm": True,
    "optimizer": "momentum",
}
# Shape of an image, examples to train and validate on, settings.
_NETWORKS: dict[str, tuple[tuple[int, int, int], int, dict[str, Any]]] = {
    "digits": ((8, 8, 1), 1_437, {**_DENSE, "batch_size": 64}),
    "mnist": ((28, 28, 1), 60_000, {**_DENSE, "batch_size": 128}),
    "narrow_cnn": ((32, 32, 3), 5_000, {**_CNN, "width": 8, "batch_size": 128}),
    "cnn": (
        (32, 32, 3),
        50_000,
        {
            **_CNN,
            "width": 64,
            "batch_size": 256,
            "augment": True,
            "precision": "mixed_bfloat16",
        },
    ),
}
_CLASSES = 10
_FEWEST_ROUNDS = 2
_TEST_EXAMPLES = 180
_TABLE_RATES = (0.001, 0.002, 0.003, 0.004, 0.005, 0.006, 0.007)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add(
        "--network",
        action="append",
        choices=list(_NETWORKS),
        help="What to train; default: all but the last.",
    )
    add("--gpu", action="store_true", help="Also train the last one: it needs a GPU.")
    add(
        "--runs_at_once",
        type=int,
        default=1,
        help="Number of networks to train at once, on JAX; default network: MNIST's.",
    )
    add("--epochs", type=int, default=5, help="Epochs per round.")
    add("--rounds", type=int, default=25, help="Maximum number of rounds, at least 2.")
    add("--seconds", type=float, default=45.0, help="Time for all rounds.")
    add("--json", type=Path, help="File to write the numbers to.")
    return parser


_OPTIONS = _parser().parse_args([])


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures and prints."""
    _parser().parse_args(arguments, _OPTIONS)
    print(_machine(), flush=True)
    found = []
    with tempfile.TemporaryDirectory() as folder:
        for result in _measurements(Path(folder)):
            found.append(result)
            if _OPTIONS.json:
                text = json.dumps({"machine": _machine(), "results": found}, indent=1)
                _OPTIONS.json.write_text(text)


def _measurements(folder: Path) -> Any:
    runs: list[dict[str, Any]] = [{}]
    names = list(_NETWORKS)[: None if _OPTIONS.gpu else -1]
    if _OPTIONS.runs_at_once > 1:
        names = ["mnist"]
        runs = [
            {
                "activation": "gaaf_tanh",
                "learning_rate": _TABLE_RATES[index % len(_TABLE_RATES)],
                "seed": index // len(_TABLE_RATES),
            }
            for index in range(_OPTIONS.runs_at_once)
        ]
    names = _OPTIONS.network or names
    for name in names:
        requests = _requests(name, folder, runs)
        yield _measured(name, requests, _OPTIONS.seconds / len(names))


def _requests(
    name: str, folder: Path, runs: Sequence[dict[str, Any]]
) -> list[run.Request]:
    """Returns runs of a network on random data, which it writes to a folder."""
    shape, examples, settings = _NETWORKS[name]
    random = np.random.default_rng(0)
    arrays = {}
    for part, count in (("train", examples), ("test", _TEST_EXAMPLES)):
        arrays[f"x_{part}"] = random.integers(0, 256, (count, *shape), "uint8")
        arrays[f"y_{part}"] = np.arange(count) % _CLASSES
    path = folder / f"{name}.npz"
    np.savez(path, **arrays)
    epochs = (1 + _OPTIONS.epochs) * _OPTIONS.rounds + 1
    same = {**settings, "dataset": str(path), "epochs": epochs, "patience": epochs}
    configs = [TrainingConfig(**{**same, **each}) for each in runs]
    prepared = run.prepare(configs[0])
    return [run.Request(config, prepared) for config in configs]


def _measured(name: str, requests: list[run.Request], limit: float) -> dict[str, Any]:
    """Times the engine and a hand-written loop; prints the numbers."""
    configs, data = [each.config for each in requests], requests[0].prepared.data
    timer = _Timer(loop(configs, data).epoch, limit)
    requests[-1] = requests[-1]._replace(callbacks=[timer])
    with contextlib.suppress(_EnoughError):
        run.train(requests)
    seconds = statistics.median(timer.ours)
    steps = len(data.train) // configs[0].batch_size
    result = {
        "network": name,
        "runs_at_once": len(configs),
        "ms_an_epoch_a_run": 1000 * seconds / len(configs),
        "images_a_second": len(configs) * steps * configs[0].batch_size / seconds,
        "seconds_until_trained_an_epoch": timer.first,
        "rounds": len(timer.ours),
        "epochs_a_round": _OPTIONS.epochs,
    }
    low, middle, high = statistics.quantiles(
        map(truediv, timer.theirs, timer.ours), method="inclusive"
    )
    result |= {
        "by_hand_ms_an_epoch_a_run": 1000
        * statistics.median(timer.theirs)
        / len(configs),
        "ratio": middle,
        "ratio_quartiles": (low, high),
    }
    text = "{network}, {runs_at_once} at once: {ms_an_epoch_a_run:.4g} ms an epoch a "
    text += "run, {images_a_second:,.0f} images/s; by hand "
    text += "{by_hand_ms_an_epoch_a_run:.4g} ms: {ratio:.2f} "
    text += "({ratio_quartiles[0]:.2f} to {ratio_quartiles[1]:.2f})"
    print(text.format(**result), flush=True)
    return result


class _EnoughError(Exception):
    """All rounds are done; the trained models are not needed."""


class _Timer(keras.callbacks.Callback):
    """Times the epochs of its run, and those of another loop in between.

    Args:
        other: Trains an epoch of the other loop.
        limit: Seconds after which no further round starts.

    Attributes:
        ours: Seconds per epoch of the run, for each round.
        theirs: The same for the other loop.
        first: Seconds until the run had trained an epoch, including compilation.
    """

    def __init__(self, other: Callable[[], Any], limit: float) -> None:
        super().__init__()
        self.ours: list[float] = []
        self.theirs: list[float] = []
        self._other = other
        self._limit = limit
        self._start = time.perf_counter()
        self._epochs = -1  # in this round; one more in the first is not timed

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        now = time.perf_counter()
        if epoch == 0:
            self.first = now - self._start
            self._end = now + self._limit
        self._epochs += 1
        if self._epochs == 1:
            self._begin = now
        elif self._epochs == 1 + _OPTIONS.epochs:
            self.ours.append((now - self._begin) / _OPTIONS.epochs)
            self._time_other()
            rounds = len(self.ours)
            is_late = time.perf_counter() > self._end and rounds >= _FEWEST_ROUNDS
            if is_late or rounds == _OPTIONS.rounds:
                raise _EnoughError
            self._epochs = 0

    def _time_other(self) -> None:
        self._other()  # compiles the first time
        begin = time.perf_counter()
        for _ in range(_OPTIONS.epochs):
            self._other()
        self.theirs.append((time.perf_counter() - begin) / _OPTIONS.epochs)


def _machine() -> str:
    """Returns the versions and the device as text."""
    backend = keras.backend.backend()
    module = importlib.import_module(backend)
    device = "CPU"
    if backend == "jax":
        device = module.devices()[0].device_kind
    elif backend == "torch" and module.cuda.is_available():
        device = module.cuda.get_device_name()
    elif backend == "tensorflow" and (
        gpus := module.config.list_physical_devices("GPU")
    ):
        device = module.config.experimental.get_device_details(gpus[0])["device_name"]
    return (
        f"{backend} {module.__version__}, Keras {keras.__version__}, Python "
        f"{platform.python_version()}, {platform.machine()}, {device}, "
        f"{len(os.sched_getaffinity(0))} CPUs"
    )


if __name__ == "__main__":
    main()
