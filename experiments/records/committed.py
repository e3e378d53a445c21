"""Compact records of runs: one JSON object each, to keep and to make tables from.

A folder of runs has models, checkpoints and logs, and is large. Its records have what
the tables and pictures of a report need: settings, scores, histories, gradients and
any analyses.
"""

import dataclasses
import itertools
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from experiments.config import PLACES, TrainingConfig, UsageError
from experiments.records import files, run_folder
from experiments.records.history import Row
from experiments.records.studies import Run, Study, variants_of
from gaaf_keras.analysis import LayerGradient
from gaaf_keras.analysis.gradients import Measurements, mean_of

_DIGITS = 4
_DIGITS_OF_SCORES = 9
_STEPS = 500  # averaged in each gradient


def write(study: Study, path: Path) -> None:
    """Writes the records of a study as a JSON list, one line each.

    Raises:
        UsageError: If a run of the study is not finished, or the file cannot be
            written.
    """
    if study.unfinished:
        raise UsageError(
            f"{study.unfinished} runs in '{study.folder}' are not finished. Resume "
            "them with the command that started them, then write the records."
        )
    lines = [json.dumps(record, allow_nan=False) for record in to_records(study)]
    files.writable_folder(path.parent)
    files.write_text(path, "[\n" + ",\n".join(lines) + "\n]\n")


def read(path: Path) -> Study:
    """Returns the study in a file of records.

    Raises:
        UsageError: If the file cannot be read or does not hold records.
    """
    try:
        return from_records(files.read_json(path), path)
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        raise UsageError(
            f"The records in '{path}' cannot be read ({type(error).__name__}: "
            f"{error}). Write them with `python -m experiments.report FOLDER "
            "--records=FILE`."
        ) from error


def to_records(study: Study) -> list[dict[str, Any]]:
    """Returns a record of each run, in the order of the variants and seeds.

    Scores have nine digits, other numbers four; gradients are means over the
    measurements of 500 steps.
    """
    return [
        {
            "title": study.title,
            "variant": variant.name,
            "group": variant.group,
            "seed": seed,
            "settings": _without(run_folder.flags(run.config), *PLACES, "seed"),
            "result": _rounded(run.result, _DIGITS_OF_SCORES),
            "command": study.command,
            "resolved": _without(run.resolved, "command"),
            "history": _rounded(_columns(run.history), _DIGITS_OF_SCORES),
            "gradient_flow": _rounded(_by_steps(run.gradient_flow)),
            "analysis": _analysis(run),
        }
        for variant in study.variants
        for seed, run in variant.runs.items()
    ]


def from_records(records: Sequence[dict[str, Any]], path: Path) -> Study:
    """Returns the study in some records."""
    runs: dict[str, dict[int, Run]] = {}
    for record in records:
        runs.setdefault(record["variant"], {})[record["seed"]] = _run(record, path)
    groups = {record["variant"]: record["group"] for record in records}
    first = records[0]
    return Study(path, first["title"], first["command"], variants_of(groups, runs), 0)


def _run(record: dict[str, Any], path: Path) -> Run:
    name, seed = record["variant"], record["seed"]
    return Run(
        path,
        TrainingConfig(**record["settings"], seed=seed, variant=name),
        record["resolved"],
        record["result"],
        _rows(_numbers(record["history"])),
        [
            (step, {layer: LayerGradient(*mean) for layer, mean in found.items()})
            for steps, found in _numbers(record["gradient_flow"])
            for step in steps
        ],
        _numbers(record["analysis"]),
    )


def _without(found: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in found.items() if name not in names}


def _columns(rows: Sequence[Row]) -> dict[str, list[float]]:
    return {name: [row[name] for row in rows] for name in (rows[0] if rows else ())}


def _rows(columns: dict[str, list[float]]) -> list[Row]:
    return [
        dict(zip(columns, row, strict=True))
        for row in zip(*columns.values(), strict=True)
    ]


def _by_steps(measurements: Measurements) -> list[tuple[list[int], dict[str, Any]]]:
    """Returns groups of neighbouring steps with the means of their measurements."""
    groups = itertools.groupby(measurements, lambda measured: measured[0] // _STEPS)
    parts = [list(group) for _, group in groups]
    return [
        (
            [step for step, _ in part],
            {name: dataclasses.astuple(mean) for name, mean in mean_of(part).items()},
        )
        for part in parts
    ]


def _analysis(run: Run) -> dict[str, Any]:
    kept = _rounded(run.analysis)
    kept.pop("functions", None)  # large, and the same for all
    for measured in kept.get("pre_activation_variance", {}).values():
        measured.pop("curve", None)
    return kept


def _rounded(value: Any, digits: int = _DIGITS) -> Any:
    """Returns data with rounded numbers, and null where JSON has no number."""
    return json.loads(
        json.dumps(value),
        parse_float=lambda number: float(f"{float(number):.{digits}g}"),
        parse_constant=lambda _: None,
    )


def _numbers(value: Any) -> Any:
    """Returns data with NaN where `_rounded` wrote null."""
    if isinstance(value, dict):
        return {name: _numbers(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_numbers(each) for each in value]
    return math.nan if value is None else value
