"""Tables of variants side by side, each trained with several seeds."""

import contextlib
import dataclasses
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
from rich.markup import escape
from rich.table import Table

from experiments import tables
from experiments.config import TrainingConfig, UsageError
from experiments.records import files, run_folder, studies
from experiments.records.studies import Study
from experiments.report import comparison
from experiments.suites import parallel
from experiments.suites.plans import Plan
from experiments.suites.progress import ProgressCallback, ProgressView
from experiments.training.result import TrainingResult
from experiments.training.run import (
    Prepared,
    Request,
    compiling_ahead,
    prepare,
    train,
)
from gaaf_keras._core.printing import printable
from gaaf_keras.analysis import Spread

_SUMMED_UP = (
    *("test_accuracy", "validation_accuracy", "best_epoch", "epochs_run", "seconds"),
    *("parameters", "test_examples"),
)


def run(
    plan: Plan,
    output_dir: Path,
    parallel_runs: int | str = 1,
    runs_at_once: int | str = "auto",
) -> list[TrainingResult]:
    """Trains everything in a plan, and writes and prints the results.

    Args:
        plan: What to train.
        output_dir: A new or empty folder, or the folder of an interrupted run of the
            same plan, whose finished runs are not trained again. It gets a folder per
            run and, if there is more than one run, `plan.json` at the beginning and
            `summary.json` and `summary.md` at the end.
        parallel_runs: Number of networks to train at once, each in a process with its
            share of the cores; or `"auto"`. With several, a script needs
            `if __name__ == "__main__":`, as with any use of `multiprocessing`.
        runs_at_once: Number of networks that differ only in numbers to train at once,
            as one program on JAX; or `"auto"`.

    Returns:
        The result of each run, in the order in which they ended.

    Raises:
        UsageError: Before any run and before anything is written, if something in the
            plan cannot be done; with several processes, after all other runs, if one
            could not be completed.
        WorkerLostError: If another process of the same run is gone.
    """
    output_dir = output_dir.expanduser()
    runs = plan.all_runs(output_dir)
    prepared = {name: prepare(config) for name, config in plan.variants.items()}
    strategy = next(iter(prepared.values())).strategy
    processes = parallel.processes_for(parallel_runs, len(runs), strategy)
    if processes > 1 and runs_at_once not in {"auto", "1", 1}:
        raise UsageError(
            "parallel_runs and runs_at_once cannot be combined: leave one of them out. "
            f"Received: {parallel_runs} and {runs_at_once}"
        )
    at_once = {
        name: strategy.runs_at_once(runs_at_once, plan.variants[name], each.data)
        for name, each in prepared.items()
    }
    strategy.decide(lambda: _make_room(output_dir, plan, runs))
    results: list[TrainingResult] = []
    failures = []
    epochs = max(config.epochs for config in plan.variants.values())
    labels = [
        f"[{number}/{len(runs)}] {config.variant}, seed {config.seed}"
        for number, config in enumerate(runs, start=1)
    ]
    with ProgressView(len(runs), epochs, not strategy.is_chief) as view:
        _introduce(prepared.values(), view)
        named = list(zip(labels, runs, strict=True))
        outcomes: Iterator[tuple[int, TrainingResult | parallel.Failure]]
        if processes == 1:
            outcomes = _one_after_the_other(named, prepared, at_once, view)
        else:
            outcomes = _in_processes(named, processes, view)
        for index, result in outcomes:
            config, label = runs[index], labels[index]
            view.run_done(label)
            if isinstance(result, parallel.Failure):
                failures.append(f"{label}: {result.reason}")
                view.print(f"{label} FAILED: {result.reason}")
                continue
            results.append(result)
            # Test accuracies must not choose a learning rate.
            shown = "validation" if plan.groups else "test"
            share = getattr(result, f"{shown}_accuracy")
            view.print(
                f"{label}: {shown} accuracy {share:.2%} "
                f"(best epoch {result.best_epoch} of {result.epochs_run}, "
                f"{result.seconds:.1f} s{_before(result)})"
            )
            if result.diverged:
                view.print(_advice(result, config))
    if failures:
        raise UsageError(
            f"{len(failures)} of {len(runs)} runs failed; the others are complete. The "
            "same command trains the missing ones.\n" + "\n".join(failures)
        )
    if strategy.is_chief:
        show(studies.read(output_dir), output_dir, view)
    return results


def _introduce(prepared: Collection[Prepared], view: ProgressView) -> None:
    """Prints notes about the runs in advance."""
    if keras.backend.backend() != "tensorflow":
        view.print(
            f"On {keras.backend.backend()}, neither SavedModels nor TensorBoard files "
            "are written: they need Keras on TensorFlow."
        )
    strategy, data, _ = next(iter(prepared))
    if strategy.streams(data):
        view.print(
            f"The images of '{data.name}' are streamed, which is slower, because they "
            "would take more than half of the device's memory."
        )
    for each in prepared:
        if each.network.acceleration is not None:
            view.console.print(each.network.acceleration)


def _in_processes(
    runs: Sequence[tuple[str, TrainingConfig]], processes: int, view: ProgressView
) -> Iterator[tuple[int, TrainingResult | parallel.Failure]]:
    """Yields the index and outcome of each run, as soon as it has one."""
    for index, message in parallel.train_all(runs, processes):
        if isinstance(message, parallel.Progress):
            view.show(*message.arguments)
        else:
            yield index, message


def _one_after_the_other(
    runs: Sequence[tuple[str, TrainingConfig]],
    prepared: Mapping[str, Prepared],
    at_once: Mapping[str, int],
    view: ProgressView,
) -> Iterator[tuple[int, TrainingResult | parallel.Failure]]:
    """Yields the same as `_in_processes`, from this process."""
    requests = [
        Request(
            config, prepared[str(config.variant)], [ProgressCallback(view.show, label)]
        )
        for label, config in runs
    ]
    parts = _parts(requests, at_once)
    of_kinds = {_kind(requests[part[0]]): part for part in reversed(parts)}
    ahead = [(requests[part[0]], len(part)) for part in of_kinds.values()]
    with compiling_ahead(ahead) if len(parts) > 1 else contextlib.nullcontext():
        for part in parts:
            results = train([requests[index] for index in part])
            for index, result in zip(part, results, strict=True):
                yield index, dataclasses.replace(result, model=None)
            if keras.backend.backend() == "tensorflow":
                keras.backend.clear_session()  # its graphs


def _parts(requests: Sequence[Request], at_once: Mapping[str, int]) -> list[list[int]]:
    """Returns the indices of runs that train at once, in the order of the first."""
    by_kind: dict[Any, list[int]] = {}
    parts = []
    for index, request in enumerate(requests):
        many = at_once[str(request.config.variant)]
        part = by_kind.get(_kind(request), [])
        if not part or len(part) == many:
            part = by_kind[_kind(request)] = []
            parts.append(part)
        part.append(index)
    return parts


def _kind(request: Request) -> Any:
    return request.prepared.strategy.kind(request.config)


def show(study: Study, output_dir: Path, view: ProgressView) -> None:
    """Prints the table of finished runs, and writes it if there are several."""
    scores = comparison.scores(study)
    if len(study.runs) > 1:
        page = f"# {study.title}\n\n{tables.markdown(scores)}\n    {study.command}\n"
        run_folder.write_summary(output_dir, summary(study), page)
    shown = Table(*scores.columns, title=escape(printable(study.title)))
    shown.columns[0].overflow = "fold"  # a name that is cut may be another's
    for row in scores.rows:
        shown.add_row(*map(escape, map(printable, row)))
    view.console.print(shown)
    for sentence in comparison.summary(study):
        view.print(sentence)
    view.print(f"Results: {output_dir}")
    first, *others = study.runs
    saved_model = first.folder / run_folder.SAVED_MODEL
    if saved_model.is_dir():
        of_all = f"{run_folder.SAVED_MODEL}/ in the folder of each run"
        view.print(f"SavedModel: {of_all if others else saved_model}")


def summary(study: Study) -> dict[str, Any]:
    """Returns a study as plain data: the numbers of each variant, one per seed."""
    return {
        "title": study.title,
        "command": study.command,
        "variants": [
            {
                "name": variant.name,
                "group": variant.group,
                "chosen": variant.chosen,
                "seeds": list(variant.runs),
                "diverged": variant.diverged,
                **{
                    field: {
                        **dataclasses.asdict(Spread.of(variant.values(field))),
                        "values": variant.values(field),
                    }
                    for field in _SUMMED_UP
                },
            }
            for variant in study.variants
        ],
    }


def _make_room(output_dir: Path, plan: Plan, configs: list[TrainingConfig]) -> None:
    run_folder.require_room(output_dir, configs)
    files.writable_folder(output_dir)
    if len(configs) > 1:
        run_folder.write_plan(output_dir, plan.to_json())


def _before(result: TrainingResult) -> str:
    if result.epochs_before == result.epochs_run:
        return ", finished earlier"
    return f", resumed after epoch {result.epochs_before}" * (result.epochs_before > 0)


def _advice(result: TrainingResult, config: TrainingConfig) -> str:
    """Returns the message about a diverged run."""
    epoch, step = result.diverged_at or (0, 0)
    causes = [f"a learning rate of {config.learning_rate:g} that is too high"]
    if config.accelerates and not config.unit_gain:
        causes.append(
            "an accelerated gradient that is too large (--unit_gain, or a --strength "
            f"below {config.strength:g})"
        )
    if config.precision != "float32":
        causes.append(f"{config.precision}, in which numbers overflow or vanish early")
    return (
        f"DIVERGED: the loss was not a number in epoch {epoch}, by step {step}. Likely "
        f"causes: {'; '.join(causes)}. model.keras has the best epoch before that; "
        "to restart from it, use --init_from=model.keras with a smaller "
        "--learning_rate."
    )
