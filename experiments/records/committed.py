"""Compact records of runs: one JSON object each, to keep and to make tables of.

A folder of runs has models, checkpoints and logs, and is large. Its records have
what the tables and pictures of a report need: settings, scores, histories, gradients
and, where they have been made, analyses.
"""

import dataclasses
import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from experiments import TrainingConfig, UsageError
from experiments.config import PLACES
from experiments.records import files, run_folder
from experiments.records.studies import Run, Study, variants_of
from experiments.report.analysis import made_before
from experiments.report.measurements import Analyses
from gaaf_keras.analysis import LayerGradient
from gaaf_keras.analysis.gradients import Measurements, mean_of

_DIGITS = 4
_DIGITS_OF_SCORES = 9
_STEPS = 500  # over which gradients are averaged
_LEFT_OUT = ("origin", "functions")  # of an analysis: large, and the same for all


def write(study: Study, path: Path) -> None:
    """Writes the records of a study as a JSON list, a line each.

    Raises:
        UsageError: If a run of the study is not finished, or the file cannot be
            written.
    """
    if study.unfinished:
        raise UsageError(
            f"{study.unfinished} runs in '{study.folder}' are not finished. The "
            "command that began them goes on; write the records then."
        )
    lines = [json.dumps(record, allow_nan=False) for record in to_records(study)]
    files.writable_folder(path.parent)
    files.write_text(path, "[\n" + ",\n".join(lines) + "\n]\n")


def read(path: Path) -> tuple[Study, Analyses]:
    """Returns the study that a file of records is about, and its analyses.

    Raises:
        UsageError: If the file cannot be read or holds something else.
    """
    try:
        records = json.loads(path.read_text(encoding="utf-8"))
        return from_records(records, path)
    except (OSError, AttributeError, LookupError, TypeError, ValueError) as error:
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
            "settings": _settings(run.config),
            "result": _rounded(run.result, _DIGITS_OF_SCORES),
            "command": study.command,
            "resolved": {
                name: value for name, value in run.resolved.items() if name != "command"
            },
            "history": _rounded(_columns(run.history), _DIGITS_OF_SCORES),
            "gradient_flow": _rounded(_by_steps(run.gradient_flow)),
            "analysis": _rounded(_analysis(run)),
        }
        for variant in study.variants
        for seed, run in variant.runs.items()
    ]


def from_records(
    records: Sequence[dict[str, Any]], path: Path
) -> tuple[Study, Analyses]:
    """Returns the study that some records are about, and its analyses."""
    runs: dict[str, dict[int, Run]] = {}
    analyses: dict[str, dict[int, Any]] = {}
    groups: dict[str, str] = {}
    for record in records:
        name, seed = record["variant"], record["seed"]
        groups[name] = record["group"]
        runs.setdefault(name, {})[seed] = Run(
            path,
            TrainingConfig(**record["settings"], seed=seed),
            record["resolved"],
            record["result"],
            _rows(_numbers(record["history"])),
            [
                (step, {layer: LayerGradient(*mean) for layer, mean in found.items()})
                for steps, found in _numbers(record["gradient_flow"])
                for step in steps
            ],
        )
        if record["analysis"]:
            analyses.setdefault(name, {})[seed] = _numbers(record["analysis"])
    first, variants = records[0], variants_of(groups, runs)
    return Study(path, first["title"], first["command"], variants, 0), analyses


def _settings(config: TrainingConfig) -> dict[str, Any]:
    flags = run_folder.flags(config)
    return {name: flags[name] for name in flags if name not in (*PLACES, "seed")}


def _columns(rows: Sequence[dict[str, float]]) -> dict[str, list[float]]:
    return {name: [row[name] for row in rows] for name in (rows[0] if rows else ())}


def _rows(columns: dict[str, list[float]]) -> list[dict[str, float]]:
    return [
        dict(zip(columns, row, strict=True))
        for row in zip(*columns.values(), strict=True)
    ]


def _by_steps(measurements: Measurements) -> list[tuple[list[int], dict[str, Any]]]:
    """Returns steps close to each other with the means of what was measured there."""
    parts: dict[int, Measurements] = {}
    for step, found in measurements:
        parts.setdefault(step // _STEPS, []).append((step, found))
    return [
        (
            [step for step, _ in measured],
            {
                layer: list(dataclasses.astuple(mean))
                for layer, mean in mean_of(measured).items()
            },
        )
        for measured in parts.values()
    ]


def _analysis(run: Run) -> dict[str, Any]:
    found = made_before(run) or {}
    kept = {name: value for name, value in found.items() if name not in _LEFT_OUT}
    for measured in kept.get("pre_activation_variance", {}).values():
        measured.pop("curve", None)
    return kept


def _rounded(value: Any, digits: int = _DIGITS) -> Any:
    """Returns data with rounded numbers, and null for what JSON has no number for."""

    def rounded(leaf: Any) -> Any:
        if not isinstance(leaf, float):
            return leaf
        return float(f"{leaf:.{digits}g}") if math.isfinite(leaf) else None

    return _mapped(rounded, value)


def _numbers(value: Any) -> Any:
    """Returns data with not-a-number where `_rounded` has put null."""
    return _mapped(lambda leaf: math.nan if leaf is None else leaf, value)


def _mapped(function: Callable[[Any], Any], value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _mapped(function, each) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_mapped(function, each) for each in value]
    return function(value)
