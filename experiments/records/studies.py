"""The runs in a folder, as `train.py` has left them."""

import dataclasses
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from experiments import TrainingConfig, UsageError
from experiments.config import ACCELERATION, PLACES
from experiments.records import run_folder
from experiments.suites.plans import best_of_each_group, folder_name
from experiments.training import watchers as watching
from experiments.training.checkpoints import Row
from gaaf_keras.analysis.gradients import Measurements


@dataclasses.dataclass(frozen=True)
class Run:
    """A run that is finished.

    Attributes:
        folder: Its folder.
        config: What was asked for.
        resolved: What that came to: devices, versions, the command.
        result: Its `result.json`.
        history: A row an epoch.
        gradient_flow: The gradients measured on the way, with their steps.
    """

    folder: Path
    config: TrainingConfig
    resolved: dict[str, Any]
    result: dict[str, Any]
    history: list[Row]
    gradient_flow: Measurements

    @property
    def diverged(self) -> bool:
        """Whether its loss became infinite or not a number."""
        return self.result["diverged_at"] is not None


@dataclasses.dataclass(frozen=True)
class Variant:
    """Runs that differ in their seed only.

    Attributes:
        name: What it is called.
        group: What it has in common with variants that differ in a tuned setting, such
            as the learning rate: its name, if there are none.
        chosen: Whether it is the best of these on validation data. None of them is
            until each has been trained with a seed that all have.
        runs: The runs, by seed.
    """

    name: str
    group: str
    chosen: bool
    runs: dict[int, Run]

    @property
    def config(self) -> TrainingConfig:
        """What its runs have in common."""
        return next(iter(self.runs.values())).config

    @property
    def diverged(self) -> int:
        """How many of its runs diverged."""
        return sum(run.diverged for run in self.runs.values())

    def values(self, field: str, seeds: list[int] | None = None) -> list[float]:
        """Returns a number of `result.json` for each run, or for some seeds."""
        seeds = list(self.runs) if seeds is None else seeds
        return [self.runs[seed].result[field] for seed in seeds]


@dataclasses.dataclass(frozen=True)
class Study:
    """All finished runs in a folder.

    Attributes:
        folder: The folder.
        title: What they are about.
        command: The command that trained them.
        variants: The variants, in the order of the table.
        unfinished: How many runs are not finished, or not begun.
    """

    folder: Path
    title: str
    command: str
    variants: list[Variant]
    unfinished: int

    @property
    def chosen(self) -> list[Variant]:
        """The variants that are compared: of each group the best."""
        return [variant for variant in self.variants if variant.chosen]

    def chosen_of(self, group: str) -> Variant:
        """Returns the variant that is compared of a group that there is."""
        return next(variant for variant in self.chosen if variant.group == group)

    @property
    def base(self) -> Variant | None:
        """What the others are compared with: the plain network, if there are others."""
        if len(self.chosen) == 1:
            return None
        return self._plain(dropout=False)

    @property
    def dropout(self) -> Variant | None:
        """The plain network with dropout, if there is one."""
        return self._plain(dropout=True)

    def counterpart(self, variant: Variant) -> Variant | None:
        """Returns the plain variant with the same network as an accelerated one.

        They differ in the acceleration and, perhaps, in the learning rate.
        """
        if not variant.config.accelerates:
            return None
        own = _comparable(variant.config)
        plain = (each for each in self.chosen if not each.config.accelerates)
        return next((each for each in plain if _comparable(each.config) == own), None)

    def _plain(self, *, dropout: bool) -> Variant | None:
        """Returns the first without batch normalisation, or with it if all have it."""
        found = [
            variant
            for variant in self.chosen
            if not variant.config.accelerates
            and (variant.config.dropout > 0) == dropout
        ]
        return min(found, key=lambda found: found.config.batch_norm, default=None)


def _comparable(config: TrainingConfig) -> dict[str, Any]:
    """Returns the settings in which an accelerated network equals its plain one."""
    free = {*ACCELERATION, *PLACES, "accelerate", "learning_rate", "seed"}
    settings = dataclasses.asdict(config)
    settings["activation"] = config.activation.removeprefix("gaaf_")
    return {name: value for name, value in settings.items() if name not in free}


def read(folder: Path) -> Study:
    """Returns what is in the folder of a run, of a suite, or of several seeds.

    Raises:
        UsageError: If there is no finished run, if those in the folder are not
            of one command, or something cannot be read.
    """
    if not folder.is_dir():
        raise UsageError(
            f"'{folder}' is no folder. Give one that train.py has written."
        )
    found = sorted(
        path.parent
        for pattern in ("", "*/", "*/*/")
        for path in folder.glob(f"{pattern}{run_folder.CONFIG}")
    )
    finished = [path for path in found if run_folder.is_finished(path)]
    if not finished:
        raise UsageError(
            f"'{folder}' holds no finished run"
            + (f", only {len(found)} unfinished. Go on with them" if found else "")
            + ". Give a folder that train.py has written."
        )
    plan = (
        _json(folder / run_folder.PLAN) if (folder / run_folder.PLAN).is_file() else {}
    )
    planned = plan.get("variants", [])
    groups = {variant["name"]: variant["group"] for variant in planned}
    by_variant: dict[str, dict[int, Run]] = {name: {} for name in groups}
    for path in finished:
        run = _run(path)
        name = _variant_name(path.relative_to(folder), run, list(groups))
        runs = by_variant.setdefault(name, {})
        _require_like(run, runs, name, folder)
        runs[run.config.seed] = run
    variants = variants_of(groups, by_variant)
    if not any(variant.chosen for variant in variants):
        raise UsageError(
            f"'{folder}' holds nothing to compare yet: of no variant all have been "
            "trained with the same seed. The command that began them goes on."
        )
    count = sum(len(variant["seeds"]) for variant in planned) or len(found)
    data = {(v.config.dataset, v.config.train_examples) for v in variants}
    if len(data) > 1:
        raise UsageError(
            f"'{folder}' holds runs on different data ("
            + ", ".join(sorted({dataset for dataset, _ in data}))
            + "), which cannot be compared. Give the folder of one suite or run."
        )
    first = next(iter(variants[0].runs.values()))
    return Study(
        folder,
        plan.get("title", f"{first.config.dataset}, {first.config.model}"),
        plan.get("command", first.resolved.get("command", "")),
        variants,
        count - len(finished),
    )


def _require_like(run: Run, others: Mapping[int, Run], name: str, folder: Path) -> None:
    """Raises if a run differs from others of a variant in more than its seed."""
    advice = "Give the folder of one suite or run."
    if run.config.seed in others:
        raise UsageError(
            f"'{folder}' holds several runs of {name} with seed "
            f"{run.config.seed}. {advice}"
        )
    first = next(iter(others.values()), run)  # which the others are like
    settings = dataclasses.asdict(first.config)
    different = [
        field
        for field, value in dataclasses.asdict(run.config).items()
        if field not in ("seed", *PLACES) and value != settings[field]
    ]
    if different:
        raise UsageError(
            f"'{folder}' holds runs of {name} that differ in "
            f"{' and '.join(different)}. {advice}"
        )


def variants_of(
    groups: Mapping[str, str], runs: Mapping[str, dict[int, Run]]
) -> list[Variant]:
    """Returns variants, of each group the best one chosen.

    Args:
        groups: The group of each variant that has one.
        runs: The finished runs of each variant, by seed; none of those that
            are still to be trained.
    """
    accuracies = {
        name: {seed: each.result["validation_accuracy"] for seed, each in found.items()}
        for name, found in runs.items()
    }
    chosen = best_of_each_group(groups, accuracies)
    return [
        Variant(
            name, groups.get(name, name), name in chosen, dict(sorted(found.items()))
        )
        for name, found in runs.items()
        if found
    ]


def _variant_name(path: Path, run: Run, known: list[str]) -> str:
    folder = path.parts[0] if len(path.parts) > 1 else ""
    for name in known:
        if folder in ("", folder_name(name)):
            return name
    return folder.replace("_", " ") if folder else run.config.activation


def _run(folder: Path) -> Run:
    written = _json(folder / run_folder.CONFIG)
    names = {field.name for field in dataclasses.fields(TrainingConfig)}
    try:
        config = TrainingConfig(**{k: v for k, v in written.items() if k in names})
        result, history = run_folder.read_finished(folder)
        measured = folder / run_folder.GRADIENT_FLOW
        text = measured.read_text(encoding="utf-8") if measured.is_file() else ""
        flow = watching.from_csv(text)
    except (KeyError, TypeError, ValueError) as error:
        raise UsageError(f"The run in '{folder}' cannot be read ({error}).") from error
    resolved = written.get("resolved", {})
    return Run(folder, config, resolved, result, history, flow)


def _json(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(f"'{path}' cannot be read ({error}).") from error


def slug(text: str) -> str:
    """Returns a text as part of a file's name."""
    return re.sub(r"[^a-z0-9]+", "_", text.lower()).strip("_")
