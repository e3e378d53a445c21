"""Writes docs/results.md, its pictures and the README's table from the records here.

    python results/write.py

Nothing in the tables and verdicts is typed by hand: they follow from the records, which
`python -m gaaf_keras.report FOLDER --records=FILE` has made of trainings.
"""

import dataclasses
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from absl import app
from claims import claims

from gaaf_keras.analysis import figures, prediction_interval
from gaaf_keras.report import comparing, inside, pictures, records
from gaaf_keras.report.inside import Analyses
from gaaf_keras.report.reading import Study, Variant
from gaaf_keras.report.tables import Table, markdown, spread

HERE = Path(__file__).parent
DOCS = HERE.parent / "docs"
IMAGES = DOCS / "images" / "results"
README = HERE.parent / "README.md"
FIXED_RATE = 0.1
MARK = "<!-- results -->"


def main(arguments: Sequence[str]) -> None:
    """Writes everything anew."""
    if len(arguments) > 1:
        sys.exit(f"write.py: unexpected argument {arguments[1]!r}")
    IMAGES.mkdir(parents=True, exist_ok=True)
    (DOCS / "results.md").write_text("\n".join(page()), encoding="utf-8")
    before, _, after = README.read_text(encoding="utf-8").split(MARK)
    table = markdown(summary())
    README.write_text(f"{before}{MARK}\n{table}{MARK}{after}", encoding="utf-8")


def page() -> Iterator[str]:
    """Yields the parts of docs/results.md."""
    yield (HERE / "introduction.md").read_text(encoding="utf-8")
    study, analyses = records.read(HERE / "mnist.json")
    yield from paper_table(study, analyses)
    for base in ("tanh", "relu"):
        yield from scale_and_shape(base)


def paper_table(study: Study, analyses: Analyses) -> Iterator[str]:
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
    yield markdown(claims(study, analyses))
    yield "### Gradients and saturation\n"
    yield from tables(inside.gradients(study), inside.saturation(study, analyses))
    for title, drawn in (
        ("Weights (the paper's figure 1)", pictures.weights),
        ("Correlations between node values (figure 2)", pictures.correlations),
        ("Net inputs of the test images (figure 5)", pictures.net_inputs),
    ):
        yield f"### {title}\n"
        yield from images("mnist", drawn(study, analyses))


def scale_and_shape(base: str) -> Iterator[str]:
    """Yields the section on one activation at several learning rates."""
    study = rates(base)
    yield f"## Scale against shape: {base}\n"
    yield made_by(study)
    yield from images(f"mnist_{base}", pictures.learning_rates(study))
    yield f"### At a learning rate of {FIXED_RATE:g}\n"
    fixed = at_fixed_rate(study)
    yield from tables(
        comparing.results(fixed),
        predictions(fixed),
        comparing.differences(fixed),
        inside.gradients(fixed),
    )
    yield "### Each at its own best learning rate\n"
    yield from tables(
        comparing.results(only_chosen(study)),
        predictions(only_chosen(study)),
        comparing.differences(study),
    )


def rates(base: str) -> Study:
    """Returns the study of one activation at several learning rates."""
    study, _ = records.read(HERE / f"mnist_{base}_rates.json")
    return study


def only_chosen(study: Study) -> Study:
    """Returns a study without the learning rates that were not chosen."""
    return dataclasses.replace(study, variants=study.chosen)


def at_fixed_rate(study: Study) -> Study:
    """Returns a study with one learning rate for all."""
    variants = [
        dataclasses.replace(variant, name=variant.group, chosen=True)
        for variant in study.variants
        if variant.config.learning_rate == FIXED_RATE
    ]
    return dataclasses.replace(study, variants=variants)


def summary() -> Table:
    """Returns the README's table: accuracy at one and at the own learning rate."""
    rows = []
    for base in ("tanh", "relu"):
        study = rates(base)
        fixed = {variant.group: variant for variant in at_fixed_rate(study).chosen}
        own = {variant.group: variant for variant in study.chosen}
        for group, chosen in own.items():
            rows.append(
                [
                    f"{base}, {group}",
                    accuracy(fixed[group]),
                    against(fixed[group], fixed["base"]),
                    f"{chosen.config.learning_rate:g}",
                    accuracy(chosen),
                    against(chosen, own["base"]),
                    spread(chosen.values("best_epoch"), 1),
                ]
            )
    columns = [
        *("MLP on MNIST", f"test accuracy %, rate {FIXED_RATE:g}", "against base"),
        *("own best rate", "test accuracy %", "against base", "best epoch"),
    ]
    return Table(columns, rows)


def accuracy(variant: Variant) -> str:
    """Returns a variant's test accuracy in percent."""
    diverged = sum(t.diverged for t in variant.trainings.values())
    if diverged:
        return f"{diverged} of {len(variant.trainings)} diverged"
    return spread([100 * value for value in variant.values("test_accuracy")], 2)


def against(variant: Variant, base: Variant) -> str:
    """Returns the difference in test accuracy between a variant and the base."""
    if variant is base:
        return ""
    difference = comparing.paired(variant, base, "test_accuracy", 100)
    assert difference is not None
    verdict = comparing.verdict(difference, ("better", "worse"))
    return f"{comparing.interval(difference, 2)}: {verdict}"


def predictions(study: Study) -> Table:
    """Returns where the means of as many other seeds will lie."""
    rows = []
    for variant in study.chosen:
        row = [variant.name]
        for field, factor, decimals in (
            ("test_accuracy", 100, 2),
            ("best_epoch", 1, 1),
        ):
            values = [factor * value for value in variant.values(field)]
            low, high = prediction_interval(values, len(values))
            row.append(f"{low:.{decimals}f} to {high:.{decimals}f}")
        rows.append(row)
    seeds = len(study.chosen[0].trainings)
    return Table(
        ["variant", "mean test accuracy %", "mean best epoch"],
        rows,
        f"95 % prediction intervals: where the mean of {seeds} other seeds will lie.",
    )


def made_by(study: Study) -> str:
    """Returns how the records of a study were made."""
    trainings = [t for variant in study.variants for t in variant.trainings.values()]
    resolved = trainings[0].resolved
    seeds = sorted({t.config.seed for t in trainings})
    versions = ", ".join(f"{k} {v}" for k, v in resolved["versions"].items())
    hours = sum(t.result["seconds"] for t in trainings) / 3600
    return (
        f"{len(trainings)} trainings, seeds {', '.join(map(str, seeds))}; {versions}; "
        f"{', '.join(resolved['devices'])}; {hours:.1f} hours of training.\n\n"
        f"```bash\n{study.command}\n```\n"
    )


def tables(*found: Table | None) -> Iterator[str]:
    """Yields tables as Markdown."""
    yield from (markdown(table) for table in found if table is not None)


def images(prefix: str, found: pictures.Pictures) -> Iterator[str]:
    """Writes pictures and yields them as Markdown."""
    for name, figure in found.items():
        figures.save(figure, IMAGES, f"{prefix}_{name}")
        title = name.replace("_", " ")
        yield f"![{title}](images/results/{prefix}_{name}.svg)\n"


if __name__ == "__main__":
    app.run(main)
