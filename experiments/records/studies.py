"""The runs in a folder written by `train.py`."""

import dataclasses
import os
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments.config import ACCELERATION, PLACES, TrainingConfig, UsageError
from experiments.records import run_folder
from experiments.records.history import Row
from gaaf_keras.analysis.gradients import Measurements


@dataclasses.dataclass
class Run:
    """A finished run.

    Attributes:
        folder: Its folder.
        config: The requested settings.
        resolved: What they resolved to: devices, versions, the command.
        result: Its `result.json`.
        history: One row per epoch.
        gradient_flow: The gradients measured during training, with their steps.
        analysis: The analyses of its network; empty if there are none.
    """

    folder: Path
    config: TrainingConfig
    resolved: dict[str, Any]
    result: dict[str, Any]
    history: list[Row]
    gradient_flow: Measurements
    analysis: dict[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def diverged(self) -> bool:
        """Whether its loss became infinite or NaN."""
        return self.result["diverged_at"] is not None


@dataclasses.dataclass(frozen=True)
class Variant:
    """Runs that differ only in their seed.

    Attributes:
        name: Its name.
        group: The name that it shares with variants that differ in a tuned setting,
            such as the learning rate; its own name, if there are none.
        chosen: Whether it is the best of its group on validation data. No variant is
            chosen until all of the group have a common seed.
        runs: The runs, by seed.
    """

    name: str
    group: str
    chosen: bool
    runs: dict[int, Run]

    @property
    def config(self) -> TrainingConfig:
        """The configuration that its runs share."""
        return next(iter(self.runs.values())).config

    @property
    def diverged(self) -> int:
        """How many of its runs diverged."""
        return sum(run.diverged for run in self.runs.values())

    @property
    def analyses(self) -> list[dict[str, Any]]:
        """The analyses of its networks, of those that were analysed."""
        return [run.analysis for run in self.runs.values() if run.analysis]

    def values(self, field: str, seeds: list[int] | None = None) -> list[float]:
        """Returns a number of `result.json` for each run, or for some seeds."""
        seeds = list(self.runs) if seeds is None else seeds
        return [self.runs[seed].result[field] for seed in seeds]


@dataclasses.dataclass(frozen=True)
class Study:
    """All finished runs in a folder, or in several.

    Attributes:
        folder: The folder, or the common parent of several.
        title: The title of the runs.
        command: The command that trained them, one per line if there were several.
        variants: The variants, in the order of the table.
        unfinished: Number of runs that are not finished, or not started.
        folders: The given folders, one or more.
    """

    folder: Path
    title: str
    command: str
    variants: list[Variant]
    unfinished: int
    folders: tuple[Path, ...] = ()

    @property
    def runs(self) -> list[Run]:
        """The runs of all variants."""
        return [run for variant in self.variants for run in variant.runs.values()]

    @property
    def has_own_times(self) -> bool:
        """Whether each run had the device alone, so that times can be compared."""
        return all(run.result.get("runs_at_once", 1) == 1 for run in self.runs)

    @property
    def chosen(self) -> list[Variant]:
        """The variants to compare: the best of each group."""
        return [variant for variant in self.variants if variant.chosen]

    def chosen_of(self, group: str) -> Variant:
        """Returns the variant to compare of an existing group."""
        return next(variant for variant in self.chosen if variant.group == group)

    @property
    def plain(self) -> Variant | None:
        """What the others are compared with: the plain network, if there are others.

        None if it is there at several learning rates.
        """
        plain = self._plain(dropout=False)
        several = plain is not None and len(self._plain_like(plain)) > 1
        return None if several or len(self.chosen) == 1 else plain

    @property
    def dropout(self) -> Variant | None:
        """The plain network with dropout, if there is one."""
        return self._plain(dropout=True)

    def counterpart(self, variant: Variant) -> Variant | None:
        """Returns the plain variant with the same network as an accelerated one.

        That with its learning rate, if there is one.
        """
        rate = variant.config.learning_rate
        plain = self._plain_like(variant) if variant.config.accelerates else []
        return min(plain, key=lambda v: v.config.learning_rate != rate, default=None)

    def _plain_like(self, variant: Variant) -> list[Variant]:
        own = _comparable(variant.config)
        plain = (each for each in self.chosen if not each.config.accelerates)
        return [each for each in plain if _comparable(each.config) == own]

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
    """Returns the settings that an accelerated network shares with its plain one."""
    free = {*ACCELERATION, *PLACES, "accelerate", "learning_rate", "seed"}
    settings = dataclasses.asdict(config)
    settings["activation"] = config.activation.removeprefix("gaaf_")
    return {name: value for name, value in settings.items() if name not in free}


def read(*folders: Path) -> Study:
    """Returns the study in folders of runs, suites, several seeds, or of these.

    Variants with the same name and settings are one variant, wherever their runs are.
    If their settings differ, the folder is added to each name.

    Raises:
        UsageError: If a folder has no finished run, or the runs cannot be compared or
            read.
    """
    outputs = [output for folder in folders for output in _outputs(folder)]
    common = Path(os.path.commonpath([folder.absolute() for folder in folders]))
    folder = folders[0] if len(folders) == 1 else common
    groups, by_variant = _joined(outputs, folder)
    variants = variants_of(groups, by_variant)
    if not any(variant.chosen for variant in variants):
        raise UsageError(
            f"'{folder}' holds nothing to compare yet: no group of variants has been "
            "trained with a common seed. To resume, repeat the command that started "
            "them."
        )
    data = {(v.config.dataset, v.config.train_examples) for v in variants}
    if len(data) > 1:
        raise UsageError(
            f"'{folder}' holds runs on different data ("
            + ", ".join(sorted({dataset for dataset, _ in data}))
            + "), which cannot be compared. Give the folder of one suite or run."
        )
    first = next(iter(variants[0].runs.values()))
    titles = [output.plan.get("title", first.config.title) for output in outputs]
    commands = [
        output.plan.get("command") or run.resolved.get("command", "")
        for output in outputs
        for run in output.runs[:1]
    ]
    return Study(
        folder,
        ", ".join(dict.fromkeys(titles)),
        "\n".join(dict.fromkeys(filter(None, commands))),
        variants,
        sum(output.unfinished for output in outputs),
        folders,
    )


@dataclasses.dataclass(frozen=True)
class _Output:
    """The output of one command: a run, or the runs of its plan."""

    folder: Path
    plan: dict[str, Any]
    runs: list[Run]
    begun: int

    @property
    def planned(self) -> list[dict[str, Any]]:
        """The variants of the plan, if there is one."""
        return self.plan.get("variants", [])

    @property
    def unfinished(self) -> int:
        """Number of missing runs."""
        count = sum(len(variant["seeds"]) for variant in self.planned)
        return (count or self.begun) - len(self.runs)


def _outputs(folder: Path) -> list[_Output]:
    """Returns the outputs of commands in a folder, at any depth."""
    if not folder.is_dir():
        raise UsageError(
            f"'{folder}' is not a folder. Give one that train.py has written."
        )
    plans = {path.parent for path in folder.rglob(run_folder.PLAN)}
    begun: dict[Path, list[Path]] = {plan: [] for plan in sorted(plans)}
    for path in sorted(each.parent for each in folder.rglob(run_folder.CONFIG)):
        owner = next((parent for parent in path.parents if parent in plans), path)
        begun.setdefault(owner, []).append(path)
    finished = {
        owner: [path for path in paths if run_folder.is_finished(path)]
        for owner, paths in begun.items()
    }
    if not any(finished.values()):
        count = sum(map(len, begun.values()))
        raise UsageError(
            f"'{folder}' holds no finished run"
            + (f", only {count} unfinished. Resume them" if count else "")
            + ". Give a folder that train.py has written."
        )
    return [
        _Output(
            owner,
            run_folder.read_plan(owner),
            [_run(path) for path in finished[owner]],
            len(paths),
        )
        for owner, paths in begun.items()
    ]


def _joined(
    outputs: Sequence[_Output], folder: Path
) -> tuple[dict[str, str], dict[str, dict[int, Run]]]:
    """Returns the groups and runs of all outputs, by the names of variants.

    Where variants of one name differ, the folder is added to their names.
    """
    settings: dict[str, set[str]] = {}
    owners: dict[str, set[Path]] = {}
    for output in outputs:
        for run in output.runs:
            settings.setdefault(str(run.config.variant), set()).add(_settings_of(run))
        for group in {variant["group"] for variant in output.planned}:
            owners.setdefault(group, set()).add(output.folder)
    groups: dict[str, str] = {}
    by_variant: dict[str, dict[int, Run]] = {}
    for output in outputs:
        label = _label(output.folder, folder)

        def named(name: str, label: str = label) -> str:
            several = len(outputs) > 1 and len(settings.get(name, ())) > 1
            return f"{name} ({label})" if several else name

        for variant in output.planned:
            group = variant["group"]
            if len(owners[group]) > 1 and group != variant["name"]:
                group = f"{group} ({label})"
            elif group == variant["name"]:
                group = named(group)
            groups.setdefault(named(variant["name"]), group)
            by_variant.setdefault(named(variant["name"]), {})
        for run in output.runs:
            runs = by_variant.setdefault(named(str(run.config.variant)), {})
            _require_like(run, runs, folder)
            runs[run.config.seed] = run
    return groups, by_variant


def _label(output: Path, folder: Path) -> str:
    """Returns the name that identifies an output in a folder."""
    path = output.absolute()
    inside = path != folder.absolute() and path.is_relative_to(folder.absolute())
    return path.relative_to(folder.absolute()).as_posix() if inside else path.name


def _settings_of(run: Run) -> str:
    settings = dataclasses.asdict(run.config)
    return repr({k: v for k, v in settings.items() if k not in ("seed", *PLACES)})


def _run(folder: Path) -> Run:
    written = run_folder.read_config(folder)
    names = {field.name for field in dataclasses.fields(TrainingConfig)}
    try:
        return Run(
            folder,
            TrainingConfig(**{k: v for k, v in written.items() if k in names}),
            written.get("resolved", {}),
            *run_folder.read_finished(folder),
            run_folder.read_gradient_flow(folder),
            run_folder.read_analysis(folder),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise UsageError(f"The run in '{folder}' cannot be read ({error}).") from error


def _require_like(run: Run, others: Mapping[int, Run], folder: Path) -> None:
    """Raises if a run differs from others of a variant in more than its seed."""
    name, advice = run.config.variant, "Give the folder of one suite or run."
    if run.config.seed in others:
        raise UsageError(
            f"'{folder}' holds several runs of {name} with seed "
            f"{run.config.seed}. {advice}"
        )
    first = next(iter(others.values()), run)  # the others match it
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
    """Returns variants, with the best of each group chosen.

    Args:
        groups: The group of each variant that has one.
        runs: The finished runs of each variant, by seed.
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


def best_of_each_group(
    groups: Mapping[str, str], accuracies: Mapping[str, Mapping[int, float]]
) -> set[str]:
    """Returns the chosen variants: one of each group, and all without a group.

    Args:
        groups: The group of each variant that has one.
        accuracies: The validation accuracies of each variant so far, by seed. The best
            has the highest mean over the seeds common to its group; without a common
            seed none is chosen.
    """
    names: dict[str, list[str]] = {}
    for name in accuracies:
        names.setdefault(groups.get(name, name), []).append(name)
    chosen = set()
    for found in names.values():
        seeds = set.intersection(*(set(accuracies[name]) for name in found))
        means = {
            name: statistics.fmean(accuracies[name][seed] for seed in seeds)
            for name in found
            if seeds
        }
        chosen |= {max(means, key=means.__getitem__)} if means else set()
    return chosen
