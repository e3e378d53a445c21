"""The results of the variants, side by side and against each other."""

from collections.abc import Sequence

from experiments.config import TrainingConfig
from experiments.records.history import Row, is_finite
from experiments.records.studies import Run, Study, Variant
from experiments.report import paper
from experiments.tables import Column, Table, spread
from gaaf_keras.analysis import Difference, paired_difference
from gaaf_keras.comparison.result import SAME_START, best_at_an_end

_UNITS = {"test_accuracy": (100, 2), "validation_accuracy": (100, 2)}
FEWEST_PAIRS = 3  # for a verdict without a caution
_NO_UNIT = (1, 1)  # factor and decimals of other fields of `result.json`
# A field, its title, and the words for a higher and a lower value.
_COMPARED = (
    ("test_accuracy", "test accuracy, % points", ("better", "worse")),
    ("best_epoch", "best epoch", ("later", "earlier")),
    ("seconds", "seconds", ("longer", "shorter")),
)


def mean(variant: Variant, field: str) -> str:
    """Returns the mean and standard deviation of a field, accuracies in percent."""
    factor, decimals = _UNITS.get(field, _NO_UNIT)
    return spread([factor * value for value in variant.values(field)], decimals)


def scores(study: Study) -> Table:
    """Returns accuracy, epochs and time of each variant, next to the paper's."""
    columns: list[Column[Variant]] = [
        ("variant", _name),
        ("seeds", lambda variant: str(len(variant.runs))),
        ("validation accuracy %", lambda variant: mean(variant, "validation_accuracy")),
        (
            "test accuracy %",
            lambda v: mean(v, "test_accuracy") if v.chosen else "not chosen",
        ),
        ("best epoch", lambda variant: mean(variant, "best_epoch")),
    ]
    if study.has_own_times:
        columns.append(("seconds", lambda variant: mean(variant, "seconds")))
    if any(paper.scores(variant.config) for variant in study.chosen):
        columns += [
            ("paper: test accuracy %", lambda variant: _published(variant)[0]),
            ("paper: epochs", lambda variant: _published(variant)[1]),
        ]
    caption = (
        "Mean (standard deviation, n − 1) over the seeds. The best epoch is the first "
        "with the highest validation accuracy; the test data was scored there, once."
    )
    if not study.has_own_times:
        caption += " Runs trained at once share their time, which is not compared."
    return Table.of(study.variants, columns, caption + cut_short(study.variants))


def cut_short(variants: Sequence[Variant]) -> str:
    """Returns a sentence about runs that more epochs might improve, if any.

    Not about runs that were to use all epochs: without early stopping on purpose, or
    with a learning rate that falls to 0.
    """
    runs = [
        run
        for variant in variants
        for run in variant.runs.values()
        if _more_might_help(run.config)
    ]
    count = sum(
        run.result["epochs_run"] - run.result["best_epoch"] < run.config.patience
        for run in runs
        if not run.diverged
    )
    if not count:
        return ""
    return (
        f" {count} of {len(runs)} runs ended at their last epoch, not because "
        "their accuracy had stopped rising: with more epochs it might rise "
        "further."
    )


def _more_might_help(config: TrainingConfig) -> bool:
    """Whether a run that ends at its last epoch might be better with more of them."""
    may_stop = config.patience < config.epochs
    unasked = config.patience == TrainingConfig.patience  # the default
    return config.learning_rate_schedule != "cosine" and (may_stop or unasked)


def _name(variant: Variant) -> str:
    failed = variant.diverged
    return f"{variant.name} ({failed} diverged)" if failed else variant.name


def _published(variant: Variant) -> tuple[str, str]:
    return (paper.scores(variant.config) if variant.chosen else None) or ("", "")


def comparisons(study: Study) -> list[tuple[Variant, Variant]]:
    """Returns the pairs to compare: with plain, and with the plain counterpart."""
    pairs = [
        (variant, other)
        for variant in study.chosen
        for other in (study.plain, study.counterpart(variant))
    ]
    pairs += [(v, study.dropout) for v in study.chosen if v.config.accelerates]
    return [
        (variant, other)
        for index, (variant, other) in enumerate(pairs)
        if other is not None
        and other is not variant
        and (variant, other) not in pairs[:index]
        and set(variant.runs) & set(other.runs)
    ]


def seeds_of(variant: Variant, other: Variant, field: str) -> list[int]:
    """Returns the seeds that both have, for a difference in a field.

    Leaves out diverged runs where their best epoch or time means nothing.
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


def paired(variant: Variant, other: Variant, field: str) -> Difference | None:
    """Returns the difference between two variants; for accuracies in % points.

    None without a pair of seeds; for accuracies also if a run diverged, because then
    they are far from normally distributed.
    """
    seeds = seeds_of(variant, other, field)
    failed = field == "test_accuracy" and (variant.diverged or other.diverged)
    if failed or not seeds:
        return None
    factor, _ = _UNITS.get(field, _NO_UNIT)
    ours, theirs = (each.values(field, seeds) for each in (variant, other))
    return paired_difference(ours, theirs).times(factor)


def differences(study: Study, more: Sequence[tuple[Variant, Variant]] = ()) -> Table:
    """Returns the differences between variants with their confidence intervals.

    Args:
        study: The study.
        more: Pairs to compare in addition to those of `comparisons`.
    """
    rows = []
    compared = _COMPARED if study.has_own_times else _COMPARED[:-1]  # no seconds
    for variant, other in [*comparisons(study), *more]:
        row = [f"{_name(variant)} − {_name(other)}"]
        row.append(str(len(seeds_of(variant, other, "test_accuracy"))))
        for field, _, words in compared:
            difference = paired(variant, other, field)
            if difference is None:
                row += ["–", "–"]
            else:
                _, decimals = _UNITS.get(field, _NO_UNIT)
                row += [difference.with_decimals(decimals), verdict(difference, words)]
        rows.append(row)
    columns = ["difference", "pairs"]
    for _, title, _ in compared:
        columns += [title, "verdict"]
    return Table(
        columns,
        rows,
        "Mean difference over pairs of runs with the same seed, and its 95 % "
        "confidence interval (Student’s t, n − 1). No difference is shown if the "
        "interval includes 0. Where all differences are equal, their deviation is "
        "taken to be one step: the smallest distance between two of the values. Each "
        "interval is for a single comparison: about one in twenty misses the true "
        "value. Accuracies are not compared where a run diverged; epochs and seconds "
        "leave those runs out. Seconds depend on what else the machine was doing.",
    )


def verdict(difference: Difference, words: tuple[str, str]) -> str:
    """Returns what a difference shows, in the words for higher and lower."""
    if difference.low is None:
        return "not shown by one pair"
    if difference.direction == "not shown":
        return "no difference shown"
    word = words[difference.direction == "lower"]
    return word if difference.n >= FEWEST_PAIRS else f"{word}, with only two pairs"


def summary(study: Study) -> list[str]:
    """Returns what the tables show, in sentences that claim no more than they do."""
    sentences = [_sentence(*pair) for pair in comparisons(study)]
    if len(study.chosen) > 1 and all(v.config.accelerates for v in study.chosen):
        sentences.append(_without_plain(study))
    return [*sentences, *(f"Caution: {each}" for each in _cautions(study))]


def _without_plain(study: Study) -> str:
    """Returns the advice for a study in which all variants are accelerated."""
    config = study.chosen[0].config
    advice = f"Add --activation={config.activation.removeprefix('gaaf_')},"
    advice += f"{config.activation} to compare with the plain activation."
    if config.init_from:
        advice = "Choose --suite=compare, which trains the plain model too."
    return f"No variants are compared, because all are accelerated. {advice}"


def _cautions(study: Study) -> list[str]:
    """Returns reasons for caution about the comparisons, if there are any."""
    counts = [len(seeds_of(*pair, "test_accuracy")) for pair in comparisons(study)]
    if not counts:
        return []
    found = []
    if names := [v.name for v in study.chosen if _is_at_an_end(v, study)]:
        found.append(best_at_an_end(names))
    if sentence := cut_short(study.chosen):
        found.append(sentence.strip())
    if max(counts) > 1 and any(run.config.init_from for run in study.runs):
        found.append(SAME_START)
    if min(counts) < FEWEST_PAIRS:
        found.append(
            f"Fewer than {FEWEST_PAIRS} pairs of seeds decide nothing: their intervals "
            "hold only if the differences are normally distributed. Use --runs=5 or "
            "more."
        )
    return found


def _is_at_an_end(chosen: Variant, study: Study) -> bool:
    """Whether a variant has the lowest or highest of the learning rates tried."""
    rates = {
        each.config.learning_rate
        for each in study.variants
        if each.group == chosen.group
    }
    return len(rates) > 1 and chosen.config.learning_rate in {min(rates), max(rates)}


def _sentence(variant: Variant, other: Variant) -> str:
    """Returns what a pair of variants shows, the verdict first."""
    seeds = seeds_of(variant, other, "test_accuracy")
    pairs = f"{len(seeds)} pair{'s' * (len(seeds) != 1)} of seeds"
    names = f"{variant.name} and {other.name}"
    found = paired(variant, other, "test_accuracy")
    if found is None:
        counts = {
            v.name: sum(v.runs[s].diverged for s in seeds) for v in (variant, other)
        }
        failed = [f"{count} of {name}" for name, count in counts.items() if count]
        text = f"{names} are not compared: of {pairs}, {' and '.join(failed)} diverged."
    else:
        if found.low is None:
            text = f"One pair of {names} cannot show a difference"
        elif found.direction == "not shown":
            text = f"No difference between {names} is shown"
        else:
            word = {"higher": "better", "lower": "worse"}[found.direction]
            text = f"{variant.name} is {word} than {other.name}"
        in_each = "" if found.identical and found.n > 1 else f", {pairs}"
        text += f": test accuracy (% points) {found.with_decimals(2)}{in_each}."
    epochs = paired(variant, other, "best_epoch")
    if epochs is not None and epochs.direction != "not shown":
        word = {"higher": "later", "lower": "earlier"}[epochs.direction]
        text += f" Its best epoch is {word}: {epochs.with_decimals(1)}."
    return text


def reached(study: Study) -> Table:
    """Returns when each variant reached the best accuracy of plain and of dropout."""
    targets = [variant for variant in (study.plain, study.dropout) if variant]
    columns = ["variant"]
    for target in targets:
        best = f"{target.name}’s best"
        columns += [f"reached {best}", f"epochs to {best}"]
        columns += [f"seconds to {best}"] * study.has_own_times
    fields = ("epoch", "seconds")[: 1 + study.has_own_times]
    rows = [
        [
            variant.name,
            *(cell for each in targets for cell in _reached(variant, each, fields)),
        ]
        for variant in study.chosen
        if targets
    ]
    return Table(
        columns,
        rows,
        "For each seed, the first epoch with a validation accuracy at least as high as "
        "the best of the other variant’s run with that seed; after “against”, the "
        "epoch or time at which that run reached it, over the same seeds. The runs not "
        "counted ended before they got there. Even a variant that is no worse gets "
        "there in only about half of its runs, because the target is the maximum of a "
        "noisy curve.",
    )


def _reached(variant: Variant, target: Variant, fields: Sequence[str]) -> list[str]:
    """Returns in how many runs a variant reached another's best, and when."""
    if target is variant:
        return ["–"] * (1 + len(fields))
    seeds = [seed for seed in variant.runs if seed in target.runs]
    there = {
        seed: row
        for seed in seeds
        if (row := _first_as_good(variant.runs[seed], target.runs[seed]))
    }
    cells = [f"{len(there)} of {len(seeds)}"]
    for field in fields:
        own = [row[field] for row in there.values()]
        theirs = [_at_best(target.runs[seed], field) for seed in there]
        both = f"{spread(own, 1)} against {spread(theirs, 1)}"
        cells.append(both if there else "–")
    return cells


def _first_as_good(run: Run, other: Run) -> Row | None:
    """Returns the first epoch at which a run was as accurate as another's best."""
    best = other.result["validation_accuracy"]
    good = (
        row for row in run.history if is_finite(row) and row["val_accuracy"] >= best
    )
    return next(good, None)


def _at_best(run: Run, field: str) -> float:
    best = int(run.result["best_epoch"])
    return run.history[best - 1][field] if best else 0.0
