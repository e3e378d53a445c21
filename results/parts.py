"""What the sections of docs/results.md are made of."""

import dataclasses
import functools
from collections.abc import Iterator, Sequence
from pathlib import Path

from matplotlib.figure import Figure

from experiments.records import committed
from experiments.records.studies import Study, Variant
from experiments.report import comparison, pictures
from experiments.report.measurements import Analyses
from experiments.tables import Table, markdown, spread
from gaaf_keras.analysis import prediction_interval

HERE = Path(__file__).parent

Part = str | tuple[str, Figure]  # Markdown, or a picture with its name


@functools.cache
def recorded(name: str) -> tuple[Study, Analyses]:
    """Returns the study that a file of records here is about, and its analyses."""
    return committed.read(HERE / name)


def not_run(name: str, flags: str = "--runs=3") -> str:
    """Returns what is said of records that are not there."""
    command = f"python train.py --suite={Path(name).stem} --download {flags}"
    return f"Not run yet. The command: `{command}`.\n"


def made_by(study: Study) -> str:
    """Returns how the records of a study were made."""
    runs = [t for variant in study.variants for t in variant.runs.values()]
    seeds = sorted({run.config.seed for run in runs})
    machines = {
        ", ".join(
            [*run.resolved["devices"]]
            + [f"{k} {v}" for k, v in run.resolved["versions"].items()]
        )
        for run in runs
    }
    config = runs[0].config
    return (
        f"{len(runs)} runs, seeds {', '.join(map(str, seeds))}, at most "
        f"{config.epochs} epochs, until {config.patience} have passed without a better "
        f"validation accuracy; on {'; '.join(sorted(machines))}.\n\n"
        f"```bash\n{study.command}\n```\n"
    )


def chosen(study: Study) -> Study:
    """Returns a study of the variants that are chosen alone."""
    return dataclasses.replace(study, variants=study.chosen)


def compared(
    study: Study, more: Sequence[tuple[Variant, Variant]] = ()
) -> Iterator[Part]:
    """Yields what came out of the variants, and how those that are chosen differ."""
    yield from tables(
        comparison.results(study),
        predictions(study),
        comparison.differences(study, more),
    )


def tables(*found: Table | None) -> Iterator[Part]:
    """Yields tables as Markdown, without times: the machine had other work too."""
    for table in found:
        if table is None:
            continue
        titles = list(table.columns)
        kept = [
            index
            for index, title in enumerate(titles)
            if "seconds" not in title
            and not (title == "shown" and "seconds" in titles[index - 1])
        ]
        rows = [[row[index] for index in kept] for row in table.rows]
        yield markdown(Table([titles[index] for index in kept], rows, table.caption))


def named(prefix: str, found: pictures.Pictures) -> Iterator[Part]:
    """Yields pictures with names of their own."""
    yield from ((f"{prefix}_{name}", figure) for name, figure in found.items())


def predictions(study: Study) -> Table:
    """Returns where the means of as many other seeds will lie."""
    rows = []
    for variant in study.chosen:
        row = [variant.name]
        for field, factor, decimals, most in (
            ("test_accuracy", 100, 2, 100.0),
            ("best_epoch", 1, 1, float(variant.config.epochs)),
        ):
            values = [factor * value for value in variant.values(field)]
            if variant.diverged or len(set(values)) == 1:
                row.append("–")
                continue
            low, high = prediction_interval(values, len(values))
            low, high = max(low, 0.0), min(high, most)
            row.append(f"{low:.{decimals}f} to {high:.{decimals}f}")
        rows.append(row)
    return Table(
        ["variant", "mean test accuracy %", "mean best epoch"],
        rows,
        "95 % prediction intervals: where the mean of as many other seeds lies with "
        "that probability, if they are normally distributed, with the same settings. A "
        "dash where runs diverged or all seeds gave the same.",
    )


def accuracy(variant: Variant) -> str:
    """Returns a variant's test accuracy in percent."""
    if variant.diverged:
        return f"{variant.diverged} of {len(variant.runs)} diverged"
    return spread([100 * value for value in variant.values("test_accuracy")], 2)


def rate_of(variant: Variant, study: Study) -> str:
    """Returns a learning rate, and whether none was tried beyond it."""
    rate = variant.config.learning_rate
    tried = sorted({each.config.learning_rate for each in study.variants})
    if len(tried) == 1 or rate not in (tried[0], tried[-1]):
        return f"{rate:g}"
    return f"{rate:g} (none {'smaller' if rate == tried[0] else 'larger'} tried)"


def against(variant: Variant, base: Variant) -> str:
    """Returns the difference in test accuracy between a variant and the base."""
    if variant is base:
        return ""
    difference = comparison.paired(variant, base, "test_accuracy", 100)
    if difference is None:
        return ""
    verdict = {"higher": "better", "lower": "worse"}.get(
        difference.direction, "no difference shown"
    )
    return f"{comparison.interval(difference, 2)}: {verdict}"


def against_gaaf(study: Study) -> list[tuple[Variant, Variant]]:
    """Returns the pairs that tell the scale of the gradient from its shape."""
    gaaf = study.chosen_of("GAAF")
    return [
        (variant, gaaf)
        for variant in study.chosen
        if variant.config.accelerates and variant is not gaaf
    ]
