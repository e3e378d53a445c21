"""Tables of variants side by side, each trained with several seeds."""

import dataclasses
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
from rich.markup import escape
from rich.table import Table

from experiments import tables
from experiments.config import TrainingConfig, UsageError
from experiments.records import files, run_folder
from experiments.records.studies import best_of_each_group
from experiments.suites import parallel
from experiments.suites.plans import Plan
from experiments.suites.progress import ProgressView
from experiments.training.result import TrainingResult
from experiments.training.run import Prepared, prepare, train


def run(plan: Plan, output_dir: Path, parallel_runs: int | str = 1) -> TrainingResult:
    """Trains everything in a plan and writes and prints what came out.

    Args:
        plan: What to train.
        output_dir: A new or empty folder, or one of the same plan, interrupted: what
            is finished there is not trained again. It gets the runs' own folders
            and, if there is more than one run, `plan.json` at the beginning and
            `summary.json` and `summary.md` at the end.
        parallel_runs: How many networks to train at once, each in a process with its
            share of the cores; or `"auto"`. A script that asks for several needs
            `if __name__ == "__main__":`, as with any use of `multiprocessing`.

    Returns:
        The last run of the last variant that is chosen.

    Raises:
        UsageError: If something in the plan cannot be done; before any run and
            before anything is written. With several at once, if one of them could not
            be completed; after all others.
        WorkerLostError: If another process of the same run is gone.
    """
    output_dir = output_dir.expanduser()
    runs = plan.all_runs(output_dir)
    prepared = {name: prepare(config) for name, config in plan.variants.items()}
    strategy = next(iter(prepared.values())).strategy
    processes = parallel.processes_for(parallel_runs, len(runs), strategy)
    strategy.decide(lambda: _make_room(output_dir, plan, runs))
    results: dict[str, dict[int, TrainingResult]] = {name: {} for name in plan.variants}
    failures = []
    epochs = max(config.epochs for config in plan.variants.values())
    labels = [
        f"[{number}/{len(runs)}] {config.variant}, seed {config.seed}"
        for number, config in enumerate(runs, start=1)
    ]
    with ProgressView(len(runs), epochs, not strategy.is_chief) as view:
        if keras.backend.backend() != "tensorflow":
            view.print(
                f"On {keras.backend.backend()} neither SavedModels nor TensorBoard's "
                "files are written: they need Keras on TensorFlow."
            )
        for each in prepared.values():
            if each.network.acceleration is not None:
                view.console.print(each.network.acceleration)
        for index, result in _outcomes(labels, runs, prepared, processes, view):
            config, label = runs[index], labels[index]
            view.run_done(label)
            if isinstance(result, parallel.Failure):
                failures.append(f"{label}: {result.reason}")
                view.print(f"{label} FAILED: {result.reason}")
                continue
            results[str(config.variant)][config.seed] = result
            # Test accuracies are not there to choose a learning rate by.
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
            f"{len(failures)} of {len(runs)} runs failed, the others are "
            "complete; the same command trains what is missing.\n" + "\n".join(failures)
        )
    return _summed_up(plan, results, output_dir, view)


def _outcomes(
    labels: list[str],
    runs: list[TrainingConfig],
    prepared: Mapping[str, Prepared],
    processes: int,
    view: ProgressView,
) -> Iterator[tuple[int, TrainingResult | parallel.Failure]]:
    """Yields the index of each run with its outcome, as soon as it has one."""
    named = list(zip(labels, runs, strict=True))
    if processes == 1:
        for index, (label, config) in enumerate(named):
            result = train(
                config, prepared[str(config.variant)], [view.callback(label)]
            )
            yield index, dataclasses.replace(result, model=None)
            keras.backend.clear_session()
        return
    for index, message in parallel.train_all(named, processes):
        if isinstance(message, parallel.Progress):
            view.show(*message.arguments)
        else:
            yield index, message


def _summed_up(
    plan: Plan,
    by_seed: Mapping[str, Mapping[int, TrainingResult]],
    output_dir: Path,
    view: ProgressView,
) -> TrainingResult:
    """Writes and prints the table, and returns the result that stands for it."""
    results = {
        name: [result for _, result in sorted(found.items())]
        for name, found in by_seed.items()
    }
    summary = summarise(plan, results)
    is_chief = not view.console.quiet
    if sum(map(len, results.values())) > 1 and is_chief:
        run_folder.write_summary(output_dir, summary, markdown(summary))
    view.console.print(table(summary))
    view.print(f"Results: {output_dir}")
    chosen = {variant["name"] for variant in summary["variants"] if variant["chosen"]}
    (*_, last) = (results[name][-1] for name in plan.variants if name in chosen)
    saved_model = Path(str(last.output_dir)) / run_folder.SAVED_MODEL
    if is_chief and saved_model.is_dir():
        view.print(f"SavedModel: {saved_model}")
    return last


def _make_room(output_dir: Path, plan: Plan, configs: list[TrainingConfig]) -> None:
    run_folder.require_room(output_dir, configs)
    files.writable_folder(output_dir)
    if len(configs) > 1:
        run_folder.write_plan(output_dir, plan.to_json())


def _before(result: TrainingResult) -> str:
    if result.epochs_before == result.epochs_run:
        return ", finished before"
    return f", resumed after epoch {result.epochs_before}" * (result.epochs_before > 0)


def _advice(result: TrainingResult, config: TrainingConfig) -> str:
    """Returns what is said of a run that diverged."""
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
        f"causes: {'; '.join(causes)}. model.keras has the best epoch before, "
        f"{run_folder.CHECKPOINT} the state of the last; --init_from=model.keras with "
        "a smaller --learning_rate starts from there."
    )


def summarise(
    plan: Plan, results: Mapping[str, Sequence[TrainingResult]]
) -> dict[str, Any]:
    """Returns a table as plain data: a variant a row, mean and standard deviation.

    Standard deviations are those of a sample (n - 1), and None for a single run.
    """

    def spread(values: Sequence[float]) -> dict[str, Any]:
        return {
            "mean": statistics.fmean(values),
            "standard_deviation": statistics.stdev(values) if len(values) > 1 else None,
            "values": list(values),
        }

    planned = plan.to_json()
    accuracies = {
        name: dict(enumerate(result.validation_accuracy for result in results[name]))
        for name in plan.variants
    }
    chosen = best_of_each_group(plan.groups, accuracies)
    for variant in planned["variants"]:
        rows = results[variant["name"]]
        variant["chosen"] = variant["name"] in chosen
        for field in _SPREADS:
            variant[field] = spread([getattr(result, field) for result in rows])
        variant["diverged"] = sum(result.diverged for result in rows)
        variant["parameters"] = rows[0].parameters
        variant["test_examples"] = rows[0].test_examples
    return planned


_SPREADS = (
    "test_accuracy",
    "validation_accuracy",
    "best_epoch",
    "epochs_run",
    "seconds",
)


def _rows(summary: Mapping[str, Any]) -> tables.Table:
    def name(variant: Mapping[str, Any]) -> str:
        count = variant["diverged"]
        return f"{variant['name']} ({count} diverged)" if count else variant["name"]

    def cell(
        field: str, decimals: int, factor: float = 1
    ) -> Callable[[Mapping[str, Any]], str]:
        return lambda variant: tables.spread(
            [factor * value for value in variant[field]["values"]], decimals
        )

    accuracy = cell("test_accuracy", 2, factor=100)
    return tables.Table.of(
        summary["variants"],
        [
            ("Variant", name),
            ("Runs", lambda variant: str(len(variant["seeds"]))),
            ("Validation accuracy %", cell("validation_accuracy", 2, factor=100)),
            ("Test accuracy %", lambda v: accuracy(v) if v["chosen"] else ""),
            ("Best epoch", cell("best_epoch", 1)),
            ("Seconds", cell("seconds", 1)),
        ],
        "Mean (standard deviation) over the runs. The best epoch is the one with the "
        "highest validation accuracy; the test data was scored at that epoch only. Of "
        "several learning or dropout rates those with the best mean validation "
        "accuracy are chosen, and only their test accuracy shown.",
    )


def table(summary: Mapping[str, Any]) -> Table:
    """Returns a summary as a table for the terminal: mean (standard deviation)."""
    rows = _rows(summary)
    view = Table(*rows.columns, title=escape(summary["title"]))
    for row in rows.rows:
        view.add_row(*map(escape, row))
    return view


def markdown(summary: Mapping[str, Any]) -> str:
    """Returns a summary as a Markdown page: mean (standard deviation)."""
    table = tables.markdown(_rows(summary))
    return f"# {summary['title']}\n\n{table}\n    {summary['command']}\n"
