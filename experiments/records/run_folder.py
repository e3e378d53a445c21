"""The folder of a run: what is in it tells how far the run came."""

import dataclasses
import functools
import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from experiments.config import PLACES, TrainingConfig, UsageError
from experiments.records import files
from experiments.training.checkpoints import Row
from experiments.training.recorder import from_csv

CONFIG = "config.json"
RESULT = "result.json"
HISTORY = "history.csv"
GRADIENT_FLOW = "gradient_flow.csv"
CHECKPOINT = "checkpoint.npz"
MODEL = "model.keras"
SAVED_MODEL = "saved_model"
TENSORBOARD = "tensorboard"
ANALYSIS = "analysis.json"
PLAN = "plan.json"
SUMMARIES = ("summary.json", "summary.md")
REPORT = "report.html"
FIGURES = "figures"


def require_room(output_dir: Path, configs: Iterable[TrainingConfig]) -> None:
    """Raises unless a folder is free for runs, or holds the same ones.

    Args:
        output_dir: The folder of all of them.
        configs: The runs, each with its own `output_dir` there.

    Raises:
        UsageError: If there is something else in the folder, or the flags of a
            run in it were others; the message names them.
    """
    own = {Path(str(config.output_dir)): config for config in configs}
    expected = {parent for path in own for parent in path.parents} | set(own)
    if output_dir not in own:
        own_names = (PLAN, *SUMMARIES, REPORT, FIGURES)
        expected.update(output_dir / name for name in own_names)
    pending = [output_dir]
    while pending:
        folder = pending.pop()
        if folder in own:
            _require_same(folder, own[folder])
            continue
        for path in files.contents(folder):
            if path not in expected:
                raise UsageError(
                    f"output_dir '{output_dir}' is not empty: it holds "
                    f"'{path.relative_to(output_dir)}', which is not of this command. "
                    "Give a new folder, so that nothing is overwritten."
                )
            if path.is_dir() and path != output_dir / FIGURES:
                pending.append(path)


def _require_same(folder: Path, config: TrainingConfig) -> None:
    if not files.contents(folder):
        return
    try:
        before = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(
            f"output_dir '{folder}' is not empty, and there is no run in it that "
            "could go on. Give a new folder, so that nothing is overwritten."
        ) from error
    require_same(
        before,
        config,
        f"output_dir '{folder}' holds a run with other flags: ",
        "Give the same flags to go on with it, or a new folder.",
    )


def require_same(
    before: dict[str, Any], config: TrainingConfig, problem: str, remedy: str
) -> None:
    """Raises a `UsageError` that names the flags in which a run differs."""
    different = [
        f"{name} was {before.get(name)} and is {value}"
        for name, value in flags(config).items()
        if name not in PLACES and before.get(name) != value
    ] or [
        f"what is in '{path}' was something else"
        for path, digest in contents(config).items()
        if before.get("contents", {}).get(path) != digest
    ]
    if different:
        raise UsageError(f"{problem}{'; '.join(different)}. {remedy}")


def is_finished(folder: Path) -> bool:
    """Whether the run in a folder has come to its end."""
    return (folder / RESULT).is_file()


def read_finished(folder: Path) -> tuple[dict[str, Any], list[Row]]:
    """Returns the numbers and the history of a run that is finished.

    Raises:
        UsageError: If they cannot be read.
    """
    try:
        result = json.loads((folder / RESULT).read_text(encoding="utf-8"))
        return result, from_csv((folder / HISTORY).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(
            f"output_dir '{folder}' holds a run that is finished, but its results "
            f"cannot be read ({error}). Give a new folder."
        ) from error


def flags(config: TrainingConfig) -> dict[str, Any]:
    """Returns the flags of a configuration as `config.json` says them."""
    return json.loads(json.dumps(dataclasses.asdict(config)))


def description(config: TrainingConfig) -> dict[str, Any]:
    """Returns what decides a run, as `config.json` says it."""
    return {**flags(config), "contents": contents(config)}


def contents(config: TrainingConfig) -> dict[str, str]:
    """Returns the SHA-256 of each file of the user's that a run starts from."""
    given = [config.dataset] if config.reads_file else []
    given += [config.init_from] if config.init_from is not None else []
    return {path: _sha256(Path(path).expanduser()) for path in given}


@functools.cache  # a suite has many runs on the same data
def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
