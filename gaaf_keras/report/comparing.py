"""What came out of the variants, side by side and against each other."""

from collections.abc import Sequence

from gaaf_keras.analysis import Difference, paired_difference
from gaaf_keras.experiments.checkpoints import is_finite
from gaaf_keras.report import paper
from gaaf_keras.report.reading import Study, Training, Variant
from gaaf_keras.report.tables import Table, signed, spread


def results(study: Study) -> Table:
    """Returns accuracy, epochs and time of each variant, and the paper's beside it."""
    rows = []
    with_paper = any(_paper_row(variant) for variant in study.chosen)
    for variant in study.variants:
        percent = _percent(variant.values("test_accuracy"))
        row = [
            _name(variant),
            str(len(variant.trainings)),
            spread(_percent(variant.values("validation_accuracy")), 2),
            spread(percent, 2) if variant.chosen else "not chosen",
            spread(variant.values("best_epoch"), 1),
            spread(variant.values("seconds"), 1),
        ]
        published = _paper_row(variant)
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
    cut_short = sum(
        _was_cut_short(training)
        for variant in study.variants
        for training in variant.trainings.values()
    )
    if cut_short:
        caption += (
            f" {cut_short} trainings ended at their last epoch and not because their "
            "accuracy had stopped rising: with more epochs they may get further."
        )
    return Table(columns, rows, caption)


def _was_cut_short(training: Training) -> bool:
    result, config = training.result, training.config
    waited = result["epochs_run"] - result["best_epoch"]
    return not training.diverged and waited < config.patience


def _name(variant: Variant) -> str:
    diverged = sum(training.diverged for training in variant.trainings.values())
    return f"{variant.name} ({diverged} diverged)" if diverged else variant.name


def _paper_row(variant: Variant) -> paper.PaperRow | None:
    config = variant.config
    return paper.row(
        config.dataset,
        accelerated=config.accelerates,
        dropout=config.dropout > 0,
        batch_norm=config.batch_norm,
    )


def _published(row: paper.PaperRow) -> list[str]:
    def cell(mean: float | None, deviation: float | None) -> str:
        if mean is None:
            return ""
        return f"{mean:g}" if deviation is None else f"{mean:g} ({deviation:g})"

    return [
        cell(row.accuracy, row.accuracy_deviation),
        cell(row.epochs, row.epochs_deviation),
    ]


_COMPARED: tuple[tuple[str, str, float, int, str], ...] = (
    ("test_accuracy", "test accuracy, % points", 100, 2, "higher"),
    ("best_epoch", "best epoch", 1, 1, "lower"),
    ("seconds", "seconds", 1, 1, "lower"),
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
    return [(variant, other) for variant, other in pairs if other is not None]


def paired(variant: Variant, other: Variant, field: str, factor: float) -> Difference:
    """Returns by how much two variants differ, over the seeds that both have."""
    seeds = [seed for seed in variant.trainings if seed in other.trainings]
    return paired_difference(
        [factor * value for value in variant.values(field, seeds)],
        [factor * value for value in other.values(field, seeds)],
    )


def differences(study: Study) -> Table | None:
    """Returns the differences between variants with their confidence intervals."""
    rows = []
    for variant, other in comparisons(study):
        if not set(variant.trainings) & set(other.trainings):
            continue
        row = [f"{variant.name} − {other.name}"]
        for field, _, factor, decimals, better in _COMPARED:
            difference = paired(variant, other, field, factor)
            row += [interval(difference, decimals), verdict(difference, better)]
            count = difference.n
        rows.append([row[0], str(count), *row[1:]])
    if not rows:
        return None
    columns = ["difference", "pairs"]
    for _, title, *_ in _COMPARED:
        columns += [title, "shows"]
    return Table(
        columns,
        rows,
        "Mean difference over pairs of trainings with the same seed, and its 95 % "
        "confidence interval (Student's t, n − 1). Nothing is called better or worse "
        "whose interval includes 0. The intervals are for one comparison each; of "
        "twenty, one misses on average.",
    )


def interval(difference: Difference, decimals: int) -> str:
    """Returns a difference and its interval as text."""
    mean = signed(difference.mean, decimals)
    if difference.low is None or difference.high is None:
        return mean
    low, high = (signed(v, decimals) for v in (difference.low, difference.high))
    return f"{mean} [{low}, {high}]"


def verdict(difference: Difference, better: str) -> str:
    """Returns what a difference shows, where `better` is "higher" or "lower"."""
    if difference.low is None:
        return "one pair: nothing"
    if difference.direction == "not shown":
        return "no difference"
    return "better" if difference.direction == better else "worse"


def reached(study: Study) -> Table | None:
    """Returns when each variant reached the best accuracy of base and of dropout."""
    targets = [variant for variant in (study.base, study.dropout) if variant]
    if not targets:
        return None
    rows = []
    for variant in study.chosen:
        row = [variant.name]
        for target in targets:
            seeds = [seed for seed in variant.trainings if seed in target.trainings]
            found = [
                when_reached(
                    variant.trainings[seed],
                    target.trainings[seed].result["validation_accuracy"],
                )
                for seed in seeds
            ]
            there = [moment for moment in found if moment is not None]
            row.append(f"{len(there)} of {len(seeds)}")
            for index, decimals in ((0, 1), (1, 1)):
                values = [moment[index] for moment in there]
                row.append(spread(values, decimals) if values else "never")
        rows.append(row)
    columns = ["variant"]
    for target in targets:
        best = f"{target.name}’s best"
        columns += [f"reached {best}", f"epochs to {best}", f"seconds to {best}"]
    return Table(
        columns,
        rows,
        "For each seed, the first epoch with a validation accuracy as high as the best "
        "of the other variant’s training with that seed. Epochs and seconds are of the "
        "trainings that got there; those that did not would have needed more.",
    )


def when_reached(training: Training, accuracy: float) -> tuple[float, float] | None:
    """Returns epoch and seconds at which a training first was as accurate."""
    for row in training.history:
        if is_finite(row) and row["val_accuracy"] >= accuracy:
            return row["epoch"], row["seconds"]
    return None


def _percent(values: Sequence[float]) -> list[float]:
    return [100 * value for value in values]
