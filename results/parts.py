"""Parts of the results pages: studies, and the text about each."""

import dataclasses
import functools
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

from experiments import UsageError
from experiments.records import committed
from experiments.records.studies import Study, Variant
from experiments.report import comparison
from experiments.tables import Table, markdown

HERE = Path(__file__).parent
RATES = {"tanh": "mnist_rates", "relu": "mnist_relu_rates"}
FIXED_RATE = 0.1
FULL_SIZE = {
    f"full_{name}{more}": f"{title}, {word} batch normalisation"
    for name, title in {
        "cifar10": "CIFAR-10",
        "cifar100": "CIFAR-100",
        "svhn": "SVHN",
    }.items()
    for more, word in {"_batch_norm": "with", "": "without"}.items()
}


@functools.cache
def recorded(name: str) -> Study:
    """Returns the study in a file of records in this folder."""
    return committed.read(HERE / f"{name}.json")


def full_size() -> dict[str, Study]:
    """Returns what is recorded of all images and the paper's width, by its file."""
    return {path.stem: recorded(path.stem) for path in sorted(HERE.glob("full_*.json"))}


def answer(name: str, study: Study) -> str:
    """Returns which variants are better than the plain one, and which are worse."""
    found: dict[str, list[str]] = {}
    for variant in study.chosen:
        if study.plain is None or variant is study.plain:
            continue
        difference = comparison.paired(variant, study.plain, "test_accuracy")
        word = comparison.verdict(difference, ("better", "worse")) if difference else ""
        shown = f" ({difference.with_decimals(2)})" if difference else ""
        found.setdefault(word or "not compared", []).append(variant.group + shown)
    verdicts = "; ".join(f"{word}: {', '.join(found[word])}" for word in sorted(found))
    edges = [v.group for v in study.chosen if _edge(v, study)]
    more = f" At the edge of the rates tried: {', '.join(edges)}." if edges else ""
    return f"**{FULL_SIZE.get(name, study.title)}**, against plain: {verdicts}.{more}"


def only(study: Study, groups: Collection[str]) -> Study:
    """Returns a study with only some groups."""
    variants = [variant for variant in study.variants if variant.group in groups]
    return dataclasses.replace(study, variants=variants)


def chosen(study: Study) -> Study:
    """Returns a study with only the chosen variants."""
    return dataclasses.replace(study, variants=study.chosen)


def at_rate(study: Study, rate: float) -> Study:
    """Returns a study with one learning rate for all."""
    variants = [
        dataclasses.replace(variant, name=variant.group, chosen=True)
        for variant in study.variants
        if variant.config.learning_rate == rate
    ]
    if not variants:
        raise UsageError(f"No run of '{study.title}' has rate {rate:g}.")
    return dataclasses.replace(study, variants=variants)


def against_gaaf(study: Study) -> list[tuple[Variant, Variant]]:
    """Returns the pairs that separate the scale of the gradient from its shape."""
    gaaf = study.chosen_of("GAAF")
    return [
        (variant, gaaf)
        for variant in study.chosen
        if variant.config.accelerates and variant is not gaaf
    ]


def made_by(study: Study) -> str:
    """Returns how the records of a study were made."""
    runs = study.runs
    seeds = sorted({run.config.seed for run in runs})
    config = runs[0].config
    return (
        f"**How it was made:** {len(runs)} runs, seeds "
        f"{', '.join(map(str, seeds))}, at most {config.epochs} epochs, stopped after "
        f"{config.patience} without an improvement in validation accuracy; on "
        f"{machines([study])}.\n\n"
        f"```bash\n{study.command}\n```\n\n"
    )


def machines(studies: Iterable[Study]) -> str:
    """Returns what the runs of some studies ran on."""
    found = {
        ", ".join(
            [*run.resolved["devices"]]
            + [f"{k} {v}" for k, v in run.resolved["versions"].items()]
        )
        for study in studies
        for run in study.runs
    }
    return "; ".join(sorted(found))


def compared(study: Study, more: Sequence[tuple[Variant, Variant]] = ()) -> str:
    """Returns the scores of the variants, and the differences of the chosen ones."""
    return tables(comparison.scores(study), comparison.differences(study, more))


def tables(*found: Table) -> str:
    """Returns tables as Markdown, without times: other work ran on the machine."""
    texts = []
    for table in found:
        titles = list(table.columns)
        kept = [
            index
            for index, title in enumerate(titles)
            if "seconds" not in title
            and not (title == "verdict" and "seconds" in titles[index - 1])
        ]
        columns, *rows = (
            [row[index] for index in kept] for row in (titles, *table.rows)
        )
        if rows:
            texts.append(markdown(Table(columns, rows, table.caption)))
    return "\n".join([*texts, ""])


def accuracy(variant: Variant) -> str:
    """Returns a variant's test accuracy in percent."""
    if variant.diverged:
        return f"{variant.diverged} of {len(variant.runs)} diverged"
    return comparison.mean(variant, "test_accuracy")


def rate_of(variant: Variant, study: Study) -> str:
    """Returns a learning rate, and whether it is at an edge of the rates tried."""
    edge = _edge(variant, study)
    more = f" (none {edge} tried)" if edge else ""
    return f"{variant.config.learning_rate:g}{more}"


def _edge(variant: Variant, study: Study) -> str:
    """Returns which rates beyond a variant's were not tried; empty if some were."""
    rate = variant.config.learning_rate
    tried = sorted({each.config.learning_rate for each in study.variants})
    if len(tried) == 1 or rate not in (tried[0], tried[-1]):
        return ""
    return "smaller" if rate == tried[0] else "larger"
