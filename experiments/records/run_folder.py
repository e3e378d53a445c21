"""The folder of a run, or of several: its files, and how each is written and read.

The contents of a run's folder show how far the run came.
"""

import csv
import dataclasses
import functools
import hashlib
import io
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from experiments.config import PLACES, TrainingConfig, UsageError
from experiments.records import files
from experiments.records.history import COLUMNS, Row
from gaaf_keras.analysis import LayerGradient
from gaaf_keras.analysis.gradients import Measurements

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
SUMMARY = "summary.json"
SUMMARY_PAGE = "summary.md"
REPORT = "report.html"
FIGURES = "figures"
TABLES = "tables"

_QUANTITIES = tuple(field.name for field in dataclasses.fields(LayerGradient))


def require_room(output_dir: Path, configs: Iterable[TrainingConfig]) -> None:
    """Raises unless a folder is free for runs, or holds the same runs.

    Args:
        output_dir: The folder of all of them.
        configs: The runs, each with its own `output_dir` in it.

    Raises:
        UsageError: If the folder has other contents, or a run in it had different
            flags; the message names them.
    """
    own = {Path(str(config.output_dir)): config for config in configs}
    expected = {parent for path in own for parent in path.parents} | set(own)
    if output_dir not in own:
        own_names = (PLAN, SUMMARY, SUMMARY_PAGE, REPORT, FIGURES, TABLES)
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
                    f"'{path.relative_to(output_dir)}', which is not from this "
                    "command. Give a new folder, so that nothing is overwritten."
                )
            if path.is_dir() and path.name not in (FIGURES, TABLES):
                pending.append(path)


def _require_same(folder: Path, config: TrainingConfig) -> None:
    if not files.contents(folder):
        return
    try:
        before = read_config(folder)
    except UsageError as error:
        raise UsageError(
            f"output_dir '{folder}' is not empty, and it has no run that could "
            "resume. Give a new folder, so that nothing is overwritten."
        ) from error
    require_same(
        before,
        config,
        f"output_dir '{folder}' holds a run with other flags: ",
        "Give the same flags to resume it, or a new folder.",
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
        f"the contents of '{path}' were different"
        for path, digest in contents(config).items()
        if before.get("contents", {}).get(path) != digest
    ]
    if different:
        raise UsageError(f"{problem}{'; '.join(different)}. {remedy}")


def flags(config: TrainingConfig) -> dict[str, Any]:
    """Returns the flags of a configuration as in `config.json`."""
    return json.loads(json.dumps(dataclasses.asdict(config)))


def description(config: TrainingConfig) -> dict[str, Any]:
    """Returns everything that decides a run, as in `config.json`."""
    return {**flags(config), "contents": contents(config)}


def contents(config: TrainingConfig) -> dict[str, str]:
    """Returns the SHA-256 of each user file that a run starts from."""
    given = [config.dataset] if config.reads_file else []
    given += [config.init_from] if config.init_from is not None else []
    return {path: _sha256(Path(path).expanduser()) for path in given}


@functools.cache  # a suite has many runs on the same data
def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_config(
    folder: Path, config: TrainingConfig, resolved: dict[str, Any]
) -> None:
    """Writes `config.json`: the requested settings, and what they resolved to.

    Args:
        folder: The run's folder.
        config: The requested settings and the variant.
        resolved: What they resolved to: devices, versions, the command.
    """
    files.write_json(folder / CONFIG, description(config) | {"resolved": resolved})


def read_config(folder: Path) -> dict[str, Any]:
    """Returns the contents of `config.json`.

    Raises:
        UsageError: If it cannot be read.
    """
    return files.read_json(folder / CONFIG)


def write_history(folder: Path, history: Sequence[Row]) -> None:
    """Writes `history.csv`, one row per epoch."""
    rows = [[row[name] for name in COLUMNS] for row in history]
    _write_csv(folder / HISTORY, COLUMNS, rows)


def read_history(folder: Path) -> list[Row]:
    """Returns the contents of `history.csv`."""
    return [
        {name: (int if name == "epoch" else float)(row[name]) for name in COLUMNS}
        for row in _read_csv(folder / HISTORY)
    ]


def write_gradient_flow(folder: Path, measurements: Measurements) -> None:
    """Writes `gradient_flow.csv`, one row per step and layer."""
    rows = [
        [step, layer, *dataclasses.astuple(values)]
        for step, layers in measurements
        for layer, values in layers.items()
    ]
    _write_csv(folder / GRADIENT_FLOW, ("step", "layer", *_QUANTITIES), rows)


def read_gradient_flow(folder: Path) -> Measurements:
    """Returns the contents of `gradient_flow.csv`; empty if it does not exist."""
    path = folder / GRADIENT_FLOW
    found: dict[int, dict[str, LayerGradient]] = {}
    for row in _read_csv(path) if path.is_file() else ():
        values = LayerGradient(*(float(row[name]) for name in _QUANTITIES))
        found.setdefault(int(row["step"]), {})[row["layer"]] = values
    return list(found.items())


def write_result(folder: Path, result: dict[str, Any]) -> None:
    """Writes `result.json`, which marks a run as finished."""
    files.write_json(folder / RESULT, result)


def is_finished(folder: Path) -> bool:
    """Whether the run in a folder is finished."""
    return (folder / RESULT).is_file()


def read_finished(folder: Path) -> tuple[dict[str, Any], list[Row]]:
    """Returns the numbers and the history of a finished run.

    Raises:
        UsageError: If they cannot be read.
    """
    try:
        return files.read_json(folder / RESULT), read_history(folder)
    except (OSError, KeyError, ValueError) as error:
        raise UsageError(
            f"output_dir '{folder}' holds a finished run, but its results cannot be "
            f"read ({error}). Give a new folder."
        ) from error


def write_analysis(folder: Path, found: dict[str, Any]) -> None:
    """Writes `analysis.json`: the analyses of the model in the folder."""
    files.write_json(folder / ANALYSIS, {"model": _model_digest(folder), **found})


def read_analysis(folder: Path) -> dict[str, Any]:
    """Returns the contents of `analysis.json` for the model in the folder.

    Empty if there are none, or if they are of another model.

    Raises:
        UsageError: If the analysis or the model cannot be read.
    """
    found = _json_or_nothing(folder / ANALYSIS)
    same = found and found.pop("model", None) == _model_digest(folder)
    return found if same else {}


def _model_digest(folder: Path) -> str:
    try:
        return hashlib.sha256((folder / MODEL).read_bytes()).hexdigest()
    except OSError as error:
        raise UsageError(
            f"The model in '{folder}' cannot be read ({error})."
        ) from error


def write_plan(folder: Path, plan: dict[str, Any]) -> None:
    """Writes `plan.json`: the planned runs of several variants or seeds."""
    files.write_json(folder / PLAN, plan)


def read_plan(folder: Path) -> dict[str, Any]:
    """Returns the contents of `plan.json`; empty if it does not exist.

    Raises:
        UsageError: If it cannot be read.
    """
    return _json_or_nothing(folder / PLAN)


def write_summary(folder: Path, summary: dict[str, Any], page: str) -> None:
    """Writes `summary.json` and, as a page in Markdown, `summary.md`."""
    files.write_json(folder / SUMMARY, summary)
    files.write_text(folder / SUMMARY_PAGE, page)


def _json_or_nothing(path: Path) -> dict[str, Any]:
    return files.read_json(path) if path.is_file() else {}


def _write_csv(
    path: Path, columns: Sequence[str], rows: Iterable[Sequence[object]]
) -> None:
    file = io.StringIO()
    csv.writer(file, lineterminator="\n").writerows([columns, *rows])
    files.write_text(path, file.getvalue())


def _read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))
