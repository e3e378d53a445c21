"""The page itself: which sections there are, in which order, in which words."""

import dataclasses
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
from rich.console import Console
from rich.progress import track

from experiments.records import files, run_folder
from experiments.records.studies import Study, read
from experiments.report import comparison, measurements, pictures
from experiments.report.analysis import analysis_of
from experiments.tables import Table
from gaaf_keras.analysis import Difference
from gaaf_keras.analysis.figures import save

_TEMPLATE = Path(__file__).parent / "page.html"


@dataclasses.dataclass(frozen=True)
class Section:
    """A part of the page.

    Attributes:
        name: What links call it.
        title: Its heading.
        text: Paragraphs.
        tables: Tables.
        pictures: Pictures as SVG, by name.
        commands: Commands, a line each.
        facts: Names and what they are.
    """

    name: str
    title: str
    text: Sequence[str] = ()
    tables: Sequence[Table] = ()
    pictures: Mapping[str, str] = dataclasses.field(default_factory=dict)
    commands: str = ""
    facts: Sequence[tuple[str, str]] = ()


def write(
    folder: str | os.PathLike[str],
    data_dir: str | None = None,
    console: Console | None = None,
) -> Path:
    """Writes the report of a run, of a suite, or of several seeds.

    The networks are analysed first, unless that has been done: `analysis.json` in a
    training's folder has what was found.

    Keras's random seed is set, and its session cleared.

    Args:
        folder: What `train.py` has written. It gets `report.html`, one page that needs
            nothing else, and `figures/` with every picture as PNG and SVG.
        data_dir: Where the prepared data set lies, if it has moved since.
        console: Where to show progress. Defaults to the terminal.

    Returns:
        The path of the page.

    Raises:
        UsageError: If there is no finished run, if a model or the data set cannot
            be read, or the folder not be written to.

    Examples:
        ```python
        from experiments import report

        report.write("runs/mnist")
        ```
    """
    study = read(Path(folder).expanduser())
    console = Console(highlight=False) if console is None else console
    wanted = [
        (variant.name, seed, run)
        for variant in study.chosen
        for seed, run in variant.runs.items()
    ]
    analyses: dict[str, dict[int, Any]] = {}
    for name, seed, run in track(
        wanted, "Looking into the networks", console=console, transient=True
    ):
        analyses.setdefault(name, {})[seed] = analysis_of(run, data_dir)
    figures = files.writable_folder(study.folder / run_folder.FIGURES)
    page = _page(study, _sections(study, analyses, figures))
    path = study.folder / run_folder.REPORT
    files.write_text(path, page)
    return path


def _page(study: Study, sections: Sequence[Section]) -> str:
    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, undefined=jinja2.StrictUndefined
    )
    template = environment.from_string(_TEMPLATE.read_text(encoding="utf-8"))
    runs = sum(len(variant.runs) for variant in study.variants)
    subtitle = f"{runs} runs, {len(study.variants)} variants"
    if study.unfinished:
        subtitle += f"; {study.unfinished} more are not finished and not in here"
    return template.render(
        title=study.title,
        subtitle=subtitle,
        summary=_summary(study),
        sections=[section for section in sections if not _is_empty(section)],
    )


def _is_empty(section: Section) -> bool:
    return not (section.tables or section.pictures or section.facts)


def _summary(study: Study) -> list[str]:
    """Returns what the page shows, in sentences that claim no more than it does."""
    sentences = []
    for variant, other in comparison.comparisons(study):
        seeds = comparison.seeds_of(variant, other, "test_accuracy")
        diverged = [
            f"{sum(v.runs[seed].diverged for seed in seeds)} of {v.name} diverged"
            for v in (variant, other)
            if any(v.runs[seed].diverged for seed in seeds)
        ]
        parts = []
        for field, title, factor, decimals in (
            ("test_accuracy", "test accuracy", 100, 2),
            ("best_epoch", "best epoch", 1, 1),
        ):
            difference = comparison.paired(variant, other, field, factor)
            if difference is not None:
                unit = " % points" if factor > 1 else ""
                text = comparison.interval(difference, decimals)
                parts.append(f"{_shown(title, difference)} ({text}{unit})")
        pairs = f"{len(seeds)} pair{'s' * (len(seeds) != 1)} of seeds"
        sentences.append(
            f"{variant.name} against {other.name}, {', '.join([pairs, *diverged])}: "
            f"{'; '.join(parts)}."
        )
    return sentences


def _shown(title: str, difference: Difference) -> str:
    if difference.low is None:
        return f"{title}: one pair shows nothing"
    if difference.direction == "not shown":
        return f"{title}: no difference shown"
    return f"{title} {difference.direction}"


def _sections(
    study: Study, analyses: Mapping[str, Mapping[int, Any]], figures: Path
) -> list[Section]:
    def saved(found: pictures.Pictures) -> dict[str, str]:
        return {name: save(figure, figures, name) for name, figure in found.items()}

    def some(*found: Table | None) -> list[Table]:
        return [table for table in found if table is not None and table.rows]

    return [
        Section(
            "results",
            "Accuracy, epochs, time",
            tables=some(
                comparison.results(study),
                comparison.differences(study),
                comparison.reached(study),
            ),
            pictures=saved(pictures.differences(study)),
        ),
        Section(
            "learning_rates",
            "Learning rates",
            [
                "A larger gradient works in part like a larger learning rate. Only at "
                "the best rate of each is it fair to compare two variants. The band is "
                "one standard deviation over seeds; errors of more than twice the "
                "smallest, such as those of runs that failed, are above the "
                "picture."
            ],
            pictures=saved(pictures.learning_rates(study)),
        ),
        Section(
            "curves",
            "Learning curves",
            [
                "Thin lines are single runs, thick ones their means as far as all "
                "of them go, with a band of one standard deviation, cut off where no "
                "training is; over time, one run is drawn strongly. An error of 0 "
                "is drawn at half of the smallest other one."
            ],
            pictures=saved(pictures.learning_curves(study)),
        ),
        Section(
            "gradient_flow",
            "Gradient flow",
            [
                "How much gradient reaches the nodes of each layer, measured now and "
                "then during training in the network’s training mode. The paper’s "
                "table 2 holds that dropout makes it larger."
            ],
            some(measurements.gradients(study)),
            saved(pictures.gradient_flow(study)),
        ),
        Section(
            "saturation",
            "Pre-activations and saturation",
            [
                "Where the pre-activations of the test images lie after training: the "
                "paper’s figure 5, in which dropout drives them into the saturation "
                "area. The first seed is drawn strongly, the others thinly."
            ],
            some(measurements.saturation(study, analyses)),
            saved(pictures.pre_activations(study, analyses)),
        ),
        Section(
            "pre_activation_variance",
            "Pre-activation variance and the gradient it buys",
            [
                "The paper’s mechanism: dropout’s noise moves pre-activations about, "
                "and so gives them a derivative on average where they had none. The "
                "pictures set that derivative beside the shape that was derived from "
                "the noise (DropoutMatched, for noise that is Gaussian and equally "
                "strong in all nodes) and beside the default one, which is the paper’s "
                "for tanh and ReLU."
            ],
            some(
                measurements.pre_activation_variance(study, analyses),
                measurements.expected_derivatives(study, analyses),
            ),
            saved(pictures.expected_derivatives(study, analyses)),
        ),
        Section(
            "co_adaptation",
            "Co-adaptation",
            [
                "Correlations between the values of two nodes on test images: the "
                "paper’s figure 2. Correlated nodes need not depend on each other, nor "
                "the other way round; so the second row of pictures takes nodes away. "
                "A random part of one layer’s nodes is held at their means; where "
                "nodes are of use only together with others, accuracy falls sooner."
            ],
            pictures={
                **saved(pictures.correlations(study, analyses)),
                **saved(pictures.ablation(study, analyses)),
            },
        ),
        Section(
            "weights",
            "Weights",
            ["Before and after training: the paper’s figure 1."],
            pictures=saved(pictures.weights(study, analyses)),
        ),
        Section(
            "flatness",
            "Flatness and robustness",
            [
                "The paper holds that gradient in the saturation area leads to flat "
                "regions of the loss. A smaller eigenvalue is a smaller curvature; but "
                "that of a cross-entropy shrinks with the loss itself and depends on "
                "the scale of the weights, so that it does not tell flatness from a "
                "training that went further. The pictures show what accuracy is left, "
                "on the test images analysed, when weights or images are disturbed."
            ],
            some(measurements.flatness(study, analyses)),
            saved(pictures.flatness(study, analyses)),
        ),
        Section(
            "functions",
            "Activations",
            ["As the trained networks compute them: the paper’s figure 6."],
            pictures=saved(pictures.functions(analyses)),
        ),
        _provenance(study, analyses),
    ]


def _provenance(study: Study, analyses: Mapping[str, Mapping[int, Any]]) -> Section:
    variant = study.variants[0]
    run = next(iter(variant.runs.values()))
    config, resolved = run.config, run.resolved
    versions = resolved.get("versions", {})
    found = analyses.get(study.chosen[0].name, {})
    analysis: Mapping[str, Any] = next(iter(found.values()), {})
    facts = [
        ("data", config.dataset),
        ("seeds", ", ".join(map(str, variant.runs))),
        ("test examples scored", str(run.result["test_examples"])),
        ("parameters", f"{run.result['parameters']:,}"),
        ("devices", ", ".join(resolved.get("devices", ["not recorded"]))),
        ("versions", ", ".join(f"{k} {v}" for k, v in versions.items())),
    ]
    if "examples" in analysis:
        facts.append(
            (
                "examples analysed",
                f"{analysis['examples']} of test; {analysis['hessian_examples']} of "
                "training for the Hessian",
            )
        )
    facts += [(each.name, _differing(each.config, study)) for each in study.variants]
    commands = [study.command, f"python -m experiments.report {study.folder}"]
    return Section(
        "made",
        "How this was made",
        commands="\n".join(command for command in commands if command),
        facts=facts,
    )


def _differing(config: Any, study: Study) -> str:
    """Returns the settings of a variant that not all variants share, or all."""
    own = dataclasses.asdict(config)
    others = [dataclasses.asdict(variant.config) for variant in study.variants]
    hidden = {"output_dir", "seed", "data_dir", "download"}
    names = [
        name
        for name in own
        if name not in hidden
        and (len(others) == 1 or any(other[name] != own[name] for other in others))
    ]
    return ", ".join(f"{name} = {own[name]}" for name in names)
