"""Writes docs/results.md, its pictures and the README's table from the records here.

    python results/write.py

Nothing in the tables and verdicts is typed by hand: they follow from the records, which
`python -m experiments.report FOLDER --records=FILE` has made of runs.
"""

import dataclasses
import sys
from collections.abc import Iterator, Sequence

import claims
import convolutional
import parts
import search
from absl import app

from experiments import UsageError
from experiments.records.studies import Study
from experiments.report import comparison, measurements, pictures
from experiments.report.measurements import Analyses
from experiments.tables import Table, markdown, spread
from gaaf_keras.analysis import figures

README = parts.HERE.parent / "README.md"
PAGE = parts.HERE.parent / "docs" / "results.md"
IMAGES = PAGE.parent / "images" / "results"
FIXED_RATE = 0.1
MARK = "<!-- results -->"
RATES = {"tanh": "mnist_rates.json", "relu": "mnist_relu_rates.json"}


def main(arguments: Sequence[str]) -> None:
    """Writes everything anew."""
    if len(arguments) > 1:
        sys.exit(f"write.py: unexpected argument {arguments[1]!r}")
    readme = README.read_text(encoding="utf-8").split(MARK)
    if len(readme) != 3:  # noqa: PLR2004
        sys.exit(f"write.py: README.md must have '{MARK}' before and after the table")
    try:
        found = list(page())
        readme[1] = f"\n{in_readme()}"
    except UsageError as error:
        sys.exit(f"write.py: {error}")
    IMAGES.mkdir(parents=True, exist_ok=True)
    for path in IMAGES.iterdir():
        path.unlink()
    for part in found:
        if isinstance(part, tuple):
            figures.save(part[1], IMAGES, part[0], png=False)
    PAGE.write_text(text(found), encoding="utf-8")
    README.write_text(MARK.join(readme), encoding="utf-8")


def text(found: Sequence[parts.Part]) -> str:
    """Returns the page as Markdown."""
    return "\n".join(
        part
        if isinstance(part, str)
        else f"![{part[0].replace('_', ' ')}](images/results/{part[0]}.svg)\n"
        for part in found
    )


def page() -> Iterator[parts.Part]:
    """Yields the parts of docs/results.md."""
    yield (parts.HERE / "introduction.md").read_text(encoding="utf-8")
    yield from own_rates()
    yield markdown(summary())
    yield "## Is there a better shape?\n"
    yield from search.in_short()
    yield from paper_table(*parts.recorded("mnist.json"))
    for base in RATES:
        yield f"## Scale against shape: {base}\n"
        yield from scale_and_shape(base)
    yield from convolutional.section()
    yield from search.sections()


def own_rates() -> Iterator[parts.Part]:
    """Yields what each variant gives at its own best learning rate, as pictures."""
    for base in RATES:
        own = parts.chosen(rates(base))
        seeds = len(own.variants[0].runs)
        title = f"{base} MLP on MNIST, each at its best rate"
        yield from parts.named(f"mnist_{base}", pictures.differences(own, title))
    yield (
        "Test accuracy, each variant at its own best learning rate of the same grid: "
        f"mean difference over {seeds} pairs of runs with the same seed, and its "
        "95 % confidence interval. Where that includes 0, no difference is shown, and "
        "the mark is hollow. Dropout has a rate of 0.2.\n"
    )


def in_readme() -> str:
    """Returns what the README says: pictures are side by side there."""
    lines = []
    for part in (*own_rates(), *search.in_short()):
        if isinstance(part, str):
            lines += ["", part] if lines and lines[-1].startswith("<img") else [part]
        else:
            path = f"docs/images/results/{part[0]}.svg"
            alt = f"{part[1].get_suptitle()}: differences in test accuracy"
            lines.append(f'<img src="{path}" width="49%" alt="{alt}">')
    return "\n".join(lines)


def paper_table(study: Study, analyses: Analyses) -> Iterator[parts.Part]:
    """Yields the section on the paper's MNIST table and figures."""
    yield "## The paper's MNIST table\n"
    yield parts.made_by(study)
    yield from parts.compared(study)
    yield from parts.tables(comparison.reached(study))
    yield "### What the paper claims of it\n"
    yield markdown(claims.table(study, analyses))
    yield "### Gradients and saturation\n"
    yield from parts.tables(
        measurements.gradients(study), measurements.saturation(study, analyses)
    )
    yield (
        "### Flatness and robustness\n\n"
        "The paper says that saturated solutions are flat and robust, and does not "
        "measure it. All have the same learning rate here: what a larger step would "
        "do for the plain network is not told apart.\n"
    )
    yield from parts.tables(measurements.flatness(study, analyses))
    for title, drawn in (
        ("Weights (the paper's figure 1)", pictures.weights),
        ("Correlations between node values (figure 2)", pictures.correlations),
        ("Pre-activations of the test images (figure 5)", pictures.pre_activations),
    ):
        yield f"### {title}\n"
        yield from parts.named("mnist", drawn(study, analyses))


def scale_and_shape(base: str) -> Iterator[parts.Part]:
    """Yields the section on one activation at several learning rates."""
    study = rates(base)
    yield parts.made_by(study)
    yield from parts.named(f"mnist_{base}", pictures.learning_rates(study))
    yield f"### At a learning rate of {FIXED_RATE:g}\n"
    fixed = at_fixed_rate(study)
    yield from parts.compared(fixed, parts.against_gaaf(fixed))
    yield from parts.tables(measurements.gradients(fixed))
    yield "### Each at its own best learning rate\n"
    own = parts.chosen(study)
    yield from parts.compared(own, parts.against_gaaf(own))
    yield "### All learning rates\n"
    yield from parts.tables(comparison.results(study))


def rates(base: str) -> Study:
    """Returns the study of one activation at several learning rates."""
    study, _ = parts.recorded(RATES[base])
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


def summary() -> Table:
    """Returns accuracy at one learning rate and at each variant's own best."""
    rows = []
    variants = []
    for base in RATES:
        study = rates(base)
        fixed = {variant.group: variant for variant in at_fixed_rate(study).chosen}
        own = {variant.group: variant for variant in study.chosen}
        for group, chosen in own.items():
            rate = chosen.config.learning_rate
            rows.append(
                [
                    f"{base}, {group}",
                    parts.accuracy(fixed[group]),
                    parts.against(fixed[group], fixed["base"]),
                    parts.rate_of(chosen, study),
                    parts.accuracy(chosen),
                    parts.against(chosen, own["base"]),
                    spread(chosen.values("best_epoch"), 1),
                ]
            )
            variants += [fixed[group], *([chosen] if rate != FIXED_RATE else [])]
    columns = [
        *("MLP on MNIST", f"test accuracy %, rate {FIXED_RATE:g}", "against base"),
        *("own best rate", "test accuracy %", "against base", "best epoch"),
    ]
    seeds = len(variants[0].runs)
    return Table(
        columns,
        rows,
        f"Mean (standard deviation) over {seeds} seeds; differences are of pairs with "
        "the same seed, with 95 % confidence intervals. Learning rates are chosen by "
        "validation accuracy, dropout has a rate of 0.2."
        + comparison.cut_short(variants),
    )


if __name__ == "__main__":
    app.run(main)
