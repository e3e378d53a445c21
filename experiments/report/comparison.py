"""What came out of the variants, side by side and against each other."""

from collections.abc import Sequence

from experiments.records.studies import Run, Study, Variant
from experiments.report import paper
from experiments.tables import Table, signed, spread
from experiments.training.checkpoints import is_finite
from gaaf_keras.analysis import Difference, paired_difference


def results(study: Study) -> Table:
    """Returns accuracy, epochs and time of each variant, and the paper's beside it."""
    rows = []
    with_paper = any(_paper_row(variant) for variant in study.chosen)
    for variant in study.variants:
        percent = _percent(variant.values("test_accuracy"))
        row = [
            _name(variant),
            str(len(variant.runs)),
            spread(_percent(variant.values("validation_accuracy")), 2),
            spread(percent, 2) if variant.chosen else "not chosen",
            spread(variant.values("best_epoch"), 1),
            spread(variant.values("seconds"), 1),
        ]
        published = _paper_row(variant) if variant.chosen else None
        if with_paper:
            row += ["", ""] if published is None else _published(published)
        rows.append(row)
    columns = [
        *("variant", "seeds", "validation accuracy %", "test accuracy %"),
        *("best epoch", "seconds"),
    ]
    if with_paper:
        columns += ["paper: test accuracy %", "paper: epochs"]
    caption = (
        "Mean (standard deviation, n − 1) over the seeds. The best epoch is the first "
        "with the highest validation accuracy; the test data was scored there, once."
    )
    return Table(columns, rows, caption + cut_short(study.variants))


def cut_short(variants: Sequence[Variant]) -> str:
    """Returns a sentence about runs that might have got further, if any.

    Not about those that were to have all of their epochs.
    """
    runs = [
        run
        for variant in variants
        for run in variant.runs.values()
        if run.config.patience < run.config.epochs
    ]
    count = sum(
        t.result["epochs_run"] - t.result["best_epoch"] < t.config.patience
        for t in runs
        if not t.diverged
    )
    if not count:
        return ""
    return (
        f" {count} of {len(runs)} runs ended at their last epoch and not "
        "because their accuracy had stopped rising: with more epochs they may get "
        "further."
    )


def _name(variant: Variant) -> str:
    return (
        f"{variant.name} ({variant.diverged} diverged)"
        if variant.diverged
        else variant.name
    )


def _paper_row(variant: Variant) -> paper.PaperRow | None:
    config = variant.config
    changed = (
        config.shape_function is not None or config.unit_gain or config.strength != 1
    )
    if changed or not paper.is_network(config):
        return None
    return paper.row(
        config.dataset,
        accelerated=config.accelerates,
        dropout=config.dropout > 0,
        batch_norm=config.batch_norm,
    )


def _published(row: paper.PaperRow) -> list[str]:
    accuracy, epochs = f"{row.accuracy:.2f}", ""
    if row.accuracy_deviation is not None:
        accuracy += f" ({row.accuracy_deviation:g})"
    if row.epochs is not None:
        epochs = f"{row.epochs:g} ({row.epochs_deviation:g})"
    return [accuracy, epochs]


# A field of `result.json`, its title, factor and decimals, and what it is called if it
# is higher or lower.
_COMPARED = (
    ("test_accuracy", "test accuracy, % points", 100, 2, ("better", "worse")),
    ("best_epoch", "best epoch", 1, 1, ("later", "earlier")),
    ("seconds", "seconds", 1, 1, ("longer", "shorter")),
)


def comparisons(study: Study) -> list[tuple[Variant, Variant]]:
    """Returns which variants are compared: with the base, and with their like."""
    base = study.base
    pairs = []
    for variant in study.chosen:
        like = study.counterpart(variant)
        for other in (base, like):
            new = other is not None and other is not variant
            if new and (variant, other) not in pairs:
                pairs.append((variant, other))
    if study.dropout is not None:
        for variant in study.chosen:
            pair = variant, study.dropout
            if variant.config.accelerates and pair not in pairs:
                pairs.append(pair)
    return [
        (variant, other)
        for variant, other in pairs
        if other is not None and set(variant.runs) & set(other.runs)
    ]


def seeds_of(variant: Variant, other: Variant, field: str) -> list[int]:
    """Returns the seeds that both have, for a difference in a field.

    When a run came to its best or to its end says nothing if it diverged.
    """
    return [
        seed
        for seed in variant.runs
        if seed in other.runs
        and (
            field == "test_accuracy"
            or not (variant.runs[seed].diverged or other.runs[seed].diverged)
        )
    ]


def paired(
    variant: Variant, other: Variant, field: str, factor: float
) -> Difference | None:
    """Returns by how much two variants differ.

    None without a pair of seeds; and of the accuracies if a run diverged, which
    makes them all but normally distributed.
    """
    seeds = seeds_of(variant, other, field)
    failed = field == "test_accuracy" and (variant.diverged or other.diverged)
    if failed or not seeds:
        return None
    return paired_difference(
        [factor * value for value in variant.values(field, seeds)],
        [factor * value for value in other.values(field, seeds)],
    )


def differences(
    study: Study, more: Sequence[tuple[Variant, Variant]] = ()
) -> Table | None:
    """Returns the differences between variants with their confidence intervals.

    Args:
        study: What was trained.
        more: Pairs to compare beside those of `comparisons`.
    """
    rows = []
    for variant, other in [*comparisons(study), *more]:
        row = [f"{_name(variant)} − {_name(other)}"]
        row.append(str(len(seeds_of(variant, other, "test_accuracy"))))
        for field, _, factor, decimals, words in _COMPARED:
            difference = paired(variant, other, field, factor)
            if difference is None:
                row += ["–", "–"]
            else:
                row += [interval(difference, decimals), verdict(difference, words)]
        rows.append(row)
    if not rows:
        return None
    columns = ["difference", "pairs"]
    for _, title, *_ in _COMPARED:
        columns += [title, "shown"]
    return Table(
        columns,
        rows,
        "Mean difference over pairs of runs with the same seed, and its 95 % "
        "confidence interval (Student’s t, n − 1). Nothing is shown if the interval "
        "includes 0 or has no width. The intervals are for one comparison each; of "
        "twenty, one misses on average. Accuracies are not compared where a run "
        "diverged, epochs and seconds are without those runs; seconds depend on "
        "what else the machine did.",
    )


def interval(difference: Difference, decimals: int) -> str:
    """Returns a difference and its interval as text."""
    mean = signed(difference.mean, decimals)
    if difference.low is None or difference.high is None:
        return mean
    low, high = (signed(v, decimals) for v in (difference.low, difference.high))
    return f"{mean} [{low}, {high}]"


def verdict(difference: Difference, words: tuple[str, str]) -> str:
    """Returns what a difference shows, in the words for higher and for lower."""
    if difference.direction == "not shown":
        return "one pair: nothing" if difference.low is None else "nothing"
    return words[difference.direction == "lower"]


def reached(study: Study) -> Table | None:
    """Returns when each variant reached the best accuracy of base and of dropout."""
    targets = [variant for variant in (study.base, study.dropout) if variant]
    if not targets:
        return None
    rows = []
    for variant in study.chosen:
        row = [variant.name]
        for target in targets:
            if target is variant:
                row += ["–", "–", "–"]
                continue
            seeds = [seed for seed in variant.runs if seed in target.runs]
            moments = {
                seed: when_reached(
                    variant.runs[seed],
                    target.runs[seed].result["validation_accuracy"],
                )
                for seed in seeds
            }
            there = {seed: moment for seed, moment in moments.items() if moment}
            row.append(f"{len(there)} of {len(seeds)}")
            for index, field in ((0, "epoch"), (1, "seconds")):
                own = [moment[index] for moment in there.values()]
                theirs = [_at_best(target.runs[seed], field) for seed in there]
                times = f"{spread(own, 1)} of {spread(theirs, 1)}"
                row.append(times if there else "–")
        rows.append(row)
    columns = ["variant"]
    for target in targets:
        best = f"{target.name}’s best"
        columns += [f"reached {best}", f"epochs to {best}", f"seconds to {best}"]
    return Table(
        columns,
        rows,
        "For each seed, the first epoch with a validation accuracy as high as the best "
        "of the other variant’s training with that seed; behind “of”, when that "
        "training had it, over the same seeds. The runs not counted did not get "
        "there before they ended. Even a variant that is no worse gets there in about "
        "half of its runs only, since a best is a maximum.",
    )


def _at_best(run: Run, field: str) -> float:
    best = int(run.result["best_epoch"])
    return run.history[best - 1][field] if best else 0.0


def when_reached(run: Run, accuracy: float) -> tuple[float, float] | None:
    """Returns epoch and seconds at which a run first was as accurate."""
    for row in run.history:
        if is_finite(row) and row["val_accuracy"] >= accuracy:
            return row["epoch"], row["seconds"]
    return None


def _percent(values: Sequence[float]) -> list[float]:
    return [100 * value for value in values]
