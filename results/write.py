"""Writes docs/results.md, its pictures and the README's table from the records here.

    python results/write.py

Nothing in the tables and verdicts is typed by hand: they follow from the records, which
`python -m gaaf_keras.report FOLDER --records=FILE` has made of trainings.
"""

import dataclasses
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import claims
import search
from absl import app
from matplotlib.figure import Figure

from gaaf_keras.analysis import figures, prediction_interval
from gaaf_keras.experiments import UsageError
from gaaf_keras.report import comparing, inside, pictures, records
from gaaf_keras.report.inside import Analyses
from gaaf_keras.report.reading import Study, Variant
from gaaf_keras.report.tables import Table, markdown, spread

HERE = Path(__file__).parent
README = HERE.parent / "README.md"
PAGE = HERE.parent / "docs" / "results.md"
IMAGES = PAGE.parent / "images" / "results"
FIXED_RATE = 0.1
MARK = "<!-- results -->"
SEARCHES = {
    "tanh": {
        "MLP": "search_tanh_mlp.json",
        "12 hidden layers": "search_tanh_deep.json",
    },
    "relu": {
        "MLP": "search_relu_mlp.json",
        "CNN with batch norm": "search_relu_cnn.json",
    },
}
RATES = {"tanh": "mnist_rates.json", "relu": "mnist_relu_rates.json"}

Part = str | tuple[str, Figure]  # Markdown, or a picture with its name


def main(arguments: Sequence[str]) -> None:
    """Writes everything anew."""
    if len(arguments) > 1:
        sys.exit(f"write.py: unexpected argument {arguments[1]!r}")
    readme = README.read_text(encoding="utf-8").split(MARK)
    if len(readme) != 3:  # noqa: PLR2004
        sys.exit(f"write.py: README.md must have '{MARK}' before and after the table")
    try:
        parts = list(page())
        readme[1] = f"\n{markdown(summary())}"
    except UsageError as error:
        sys.exit(f"write.py: {error}")
    IMAGES.mkdir(parents=True, exist_ok=True)
    for path in IMAGES.iterdir():
        path.unlink()
    for part in parts:
        if isinstance(part, tuple):
            figures.save(part[1], IMAGES, part[0], png=False)
    PAGE.write_text(text(parts), encoding="utf-8")
    README.write_text(MARK.join(readme), encoding="utf-8")


def text(parts: Sequence[Part]) -> str:
    """Returns the page as Markdown."""
    return "\n".join(
        part
        if isinstance(part, str)
        else f"![{part[0].replace('_', ' ')}](images/results/{part[0]}.svg)\n"
        for part in parts
    )


def page() -> Iterator[Part]:
    """Yields the parts of docs/results.md."""
    yield (HERE / "introduction.md").read_text(encoding="utf-8")
    for base, name in RATES.items():
        if (HERE / name).is_file():
            yield in_short(base)
    yield from paper_table(*records.read(HERE / "mnist.json"))
    for base, name in RATES.items():
        yield f"## Scale against shape: {base}\n"
        if (HERE / name).is_file():
            yield from scale_and_shape(base)
        else:
            yield not_run(name)
    for base, names in SEARCHES.items():
        yield f"## The search for a shape: {base}\n"
        missing = [name for name in names.values() if not (HERE / name).is_file()]
        for name in missing:
            yield not_run(name)
        if not missing:
            yield from searched(names)


def not_run(name: str) -> str:
    """Returns what is said of records that are not there."""
    command = f"python train.py --suite={Path(name).stem} --runs=5"
    return f"Not run yet. The command: `{command}`.\n"


def searched(names: Mapping[str, str]) -> Iterator[Part]:
    """Yields the section on the search with one activation."""
    studies = {network: records.read(HERE / name)[0] for network, name in names.items()}
    for study in studies.values():
        yield made_by(study)
    yield from tables(search.table(studies))


def paper_table(study: Study, analyses: Analyses) -> Iterator[Part]:
    """Yields the section on the paper's MNIST table and figures."""
    yield "## The paper's MNIST table\n"
    yield made_by(study)
    yield from tables(
        comparing.results(study),
        predictions(study),
        comparing.differences(study),
        comparing.reached(study),
    )
    yield "### What the paper claims of it\n"
    yield markdown(claims.table(study, analyses))
    yield "### Gradients and saturation\n"
    yield from tables(inside.gradients(study), inside.saturation(study, analyses))
    yield (
        "### Flatness and robustness\n\n"
        "The paper says that saturated solutions are flat and robust, and does not "
        "measure it. All have the same learning rate here: what a larger step would "
        "do for the plain network is not told apart.\n"
    )
    yield from tables(inside.flatness(study, analyses))
    for title, drawn in (
        ("Weights (the paper's figure 1)", pictures.weights),
        ("Correlations between node values (figure 2)", pictures.correlations),
        ("Net inputs of the test images (figure 5)", pictures.net_inputs),
    ):
        yield f"### {title}\n"
        yield from named("mnist", drawn(study, analyses))


def scale_and_shape(base: str) -> Iterator[Part]:
    """Yields the section on one activation at several learning rates."""
    study = rates(base)
    yield made_by(study)
    yield from named(f"mnist_{base}", pictures.learning_rates(study))
    yield f"### At a learning rate of {FIXED_RATE:g}\n"
    fixed = at_fixed_rate(study)
    yield from tables(
        comparing.results(fixed),
        predictions(fixed),
        comparing.differences(fixed, against_gaaf(fixed)),
        inside.gradients(fixed),
    )
    yield "### Each at its own best learning rate\n"
    own = dataclasses.replace(study, variants=study.chosen)
    yield from tables(
        comparing.results(own),
        predictions(own),
        comparing.differences(own, against_gaaf(own)),
    )
    yield "### All learning rates\n"
    yield from tables(comparing.results(study))


def in_short(base: str) -> str:
    """Returns whether GAAF gives more than a larger step would, in a list."""
    study = rates(base)
    own = {variant.group: variant for variant in study.chosen}
    seeds = len(own["base"].trainings)
    rate = own["base"].config.learning_rate
    lines = [
        f"- {group} at {variant.config.learning_rate:g}: "
        f"{against(variant, own['base']) or 'not compared, since trainings diverged'}"
        for group, variant in own.items()
        if group != "base"
    ]
    return "\n".join(
        [
            f"**{base}**, test accuracy against plain {base} at its best learning rate "
            f"of {rate:g}, in percentage points ({seeds} seeds, 95 % intervals):",
            "",
            *lines,
            "",
        ]
    )


def rates(base: str) -> Study:
    """Returns the study of one activation at several learning rates."""
    study, _ = records.read(HERE / RATES[base])
    return study


def at_fixed_rate(study: Study) -> Study:
    """Returns a study with one learning rate for all."""
    variants = [
        dataclasses.replace(variant, name=variant.group, chosen=True)
        for variant in study.variants
        if variant.config.learning_rate == FIXED_RATE
    ]
    if not variants:
        raise UsageError(f"No training of '{study.title}' has rate {FIXED_RATE:g}.")
    return dataclasses.replace(study, variants=variants)


def against_gaaf(study: Study) -> list[tuple[Variant, Variant]]:
    """Returns the pairs that tell the scale of the gradient from its shape."""
    gaaf = study.chosen_of("GAAF")
    return [
        (variant, gaaf)
        for variant in study.chosen
        if variant.config.accelerates and variant is not gaaf
    ]


def summary() -> Table:
    """Returns the README's table: accuracy at one and at the own learning rate."""
    rows = []
    variants = []
    for base in RATES:
        study = rates(base)
        tried = [variant.config.learning_rate for variant in study.variants]
        fixed = {variant.group: variant for variant in at_fixed_rate(study).chosen}
        own = {variant.group: variant for variant in study.chosen}
        for group, chosen in own.items():
            rate = chosen.config.learning_rate
            at_end = rate in (min(tried), max(tried))
            rows.append(
                [
                    f"{base}, {group}",
                    accuracy(fixed[group]),
                    against(fixed[group], fixed["base"]),
                    f"{rate:g}" + " (no other was tried beyond)" * at_end,
                    accuracy(chosen),
                    against(chosen, own["base"]),
                    spread(chosen.values("best_epoch"), 1),
                ]
            )
            variants += [fixed[group], *([chosen] if rate != FIXED_RATE else [])]
    columns = [
        *("MLP on MNIST", f"test accuracy %, rate {FIXED_RATE:g}", "against base"),
        *("own best rate", "test accuracy %", "against base", "best epoch"),
    ]
    seeds = len(variants[0].trainings)
    return Table(
        columns,
        rows,
        f"Mean (standard deviation) over {seeds} seeds; differences are of pairs with "
        "the same seed, with 95 % confidence intervals. Learning rates are chosen by "
        "validation accuracy, dropout has a rate of 0.2."
        + comparing.cut_short(variants),
    )


def accuracy(variant: Variant) -> str:
    """Returns a variant's test accuracy in percent."""
    count = _diverged(variant)
    if count:
        return f"{count} of {len(variant.trainings)} diverged"
    return spread([100 * value for value in variant.values("test_accuracy")], 2)


def against(variant: Variant, base: Variant) -> str:
    """Returns the difference in test accuracy between a variant and the base."""
    if variant is base or _diverged(variant) or _diverged(base):
        return ""
    difference = comparing.paired(variant, base, "test_accuracy", 100)
    if difference is None:
        return ""
    verdict = {"higher": "better", "lower": "worse"}.get(
        difference.direction, "no difference shown"
    )
    return f"{comparing.interval(difference, 2)}: {verdict}"


def _diverged(variant: Variant) -> int:
    return sum(training.diverged for training in variant.trainings.values())


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
            if _diverged(variant) or len(set(values)) == 1:
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
        "dash where trainings diverged or all seeds gave the same.",
    )


def made_by(study: Study) -> str:
    """Returns how the records of a study were made."""
    trainings = [t for variant in study.variants for t in variant.trainings.values()]
    seeds = sorted({training.config.seed for training in trainings})
    machines = {
        ", ".join(
            [*training.resolved["devices"]]
            + [f"{k} {v}" for k, v in training.resolved["versions"].items()]
        )
        for training in trainings
    }
    config = trainings[0].config
    return (
        f"{len(trainings)} trainings, seeds {', '.join(map(str, seeds))}, at most "
        f"{config.epochs} epochs, until {config.patience} have passed without a better "
        f"validation accuracy; on {'; '.join(sorted(machines))}.\n\n"
        f"```bash\n{study.command}\n```\n"
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


if __name__ == "__main__":
    app.run(main)
