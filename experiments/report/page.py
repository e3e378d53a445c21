"""The page itself: its sections, their order and their words."""

import dataclasses
import os
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path

import jinja2
from rich.progress import track

from experiments.config import PLACES, TrainingConfig
from experiments.records import files, run_folder
from experiments.records.studies import Study, read
from experiments.report import comparison, measurements, pictures
from experiments.report.analysis import analyse
from experiments.report.pictures import Pictures
from experiments.tables import Table, as_csv, latex
from gaaf_keras.analysis.figures import save

_TEMPLATE = Path(__file__).parent / "page.html"


@dataclasses.dataclass(frozen=True)
class Section:
    """A part of the page; sections with nothing to show are left out.

    Attributes:
        name: Its name in links.
        title: Its heading.
        text: A paragraph.
        tables: The functions that make its tables.
        pictures: The functions that make its pictures.
    """

    name: str
    title: str
    text: str = ""
    tables: tuple[Callable[[Study], Table], ...] = ()
    pictures: tuple[Callable[[Study], Pictures], ...] = ()


_SECTIONS = (
    Section(
        "results",
        "Accuracy, epochs, time",
        tables=(comparison.scores, comparison.differences, comparison.reached),
        pictures=(pictures.differences,),
    ),
    Section(
        "learning_rates",
        "Learning rates",
        "A larger gradient acts in part like a larger learning rate, so it is "
        "only fair to compare two variants at the best rate of each. The band is "
        "one standard deviation over seeds. Errors of more than twice the "
        "smallest, such as those of failed runs, are above the picture, but for "
        "the best of each variant.",
        pictures=(pictures.learning_rates,),
    ),
    Section(
        "curves",
        "Learning curves",
        "Thin lines are single runs; thick lines are their means as far as all "
        "runs go, with a band of one standard deviation, cut off where there is "
        "no run; over time, one run is drawn strongly. An error of 0 is drawn at "
        "half of the smallest other one.",
        pictures=(pictures.learning_curves,),
    ),
    Section(
        "gradient_flow",
        "Gradient flow",
        "How much gradient reaches the nodes of each layer, measured at intervals "
        "during training in the network’s training mode. According to the paper’s "
        "table 2, dropout makes it larger.",
        (measurements.gradients,),
        (pictures.gradient_flow,),
    ),
    Section(
        "saturation",
        "Pre-activations and saturation",
        "Where the pre-activations of the test images lie after training: the "
        "paper’s figure 5, in which dropout drives them into the saturation "
        "area. The first seed is drawn strongly, the others faintly.",
        (measurements.saturation,),
        (pictures.pre_activations,),
    ),
    Section(
        "pre_activation_variance",
        "Pre-activation variance and the gradient it buys",
        "The paper’s mechanism: dropout’s noise moves pre-activations around, "
        "and so gives them a mean derivative where they had none. The pictures "
        "compare that derivative with the shape derived from the noise "
        "(DropoutMatched, for noise that is Gaussian and equally strong in all "
        "nodes) and with the default shape, which is the paper’s for tanh and "
        "ReLU.",
        (measurements.pre_activation_variance, measurements.expected_derivatives),
        (pictures.expected_derivatives,),
    ),
    Section(
        "co_adaptation",
        "Co-adaptation",
        "Correlations between the values of two nodes on test images: the "
        "paper’s figure 2. Correlated nodes need not depend on each other, nor "
        "dependent nodes be correlated; so the second row of pictures takes nodes "
        "away. A random part of one layer’s nodes is held at their means; if "
        "nodes are useful only together with others, accuracy falls sooner.",
        pictures=(pictures.correlations, pictures.ablation),
    ),
    Section(
        "weights",
        "Weights",
        "Before and after training: the paper’s figure 1.",
        pictures=(pictures.weights,),
    ),
    Section(
        "flatness",
        "Flatness and robustness",
        "The paper claims that gradient in the saturation area leads to flat "
        "regions of the loss. A smaller eigenvalue means a smaller curvature; but "
        "that of a cross-entropy shrinks with the loss itself and depends on the "
        "scale of the weights, so it cannot tell flatness from a run that trained "
        "further. The pictures show the remaining accuracy on the analysed test "
        "images when weights or images are disturbed.",
        (measurements.flatness,),
        (pictures.flatness,),
    ),
    Section(
        "functions",
        "Activations",
        "As the trained networks compute them: the paper’s figure 6.",
        pictures=(pictures.functions,),
    ),
)


def write(
    folder: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    data_dir: str | None = None,
    output_dir: str | os.PathLike[str] | None = None,
) -> Path:
    """Writes the report of a run, a suite, several seeds, or several of these.

    The networks are analysed first, unless that has been done; `analysis.json` in a
    run's folder has the results.

    This sets Keras's random seed and clears its session.

    Args:
        folder: A folder that `train.py` has written, a folder that contains several of
            these, or a list of folders.
        data_dir: Folder of the prepared data set, if it has moved.
        output_dir: The folder for `report.html`, one self-contained page, `figures/`
            with every picture as PNG and SVG, and `tables/` with every table as CSV and
            LaTeX. Defaults to the folder, or the common parent of several.

    Returns:
        The path of the page.

    Raises:
        UsageError: If there is no finished run, a model or the data set cannot be
            read, or the folder cannot be written to.

    Examples:
        ```python
        from experiments import report

        report.write("runs/mnist")
        ```
    """
    several = [folder] if isinstance(folder, str | os.PathLike) else folder
    study = read(*(Path(each).expanduser() for each in several))
    runs = [run for variant in study.chosen for run in variant.runs.values()]
    for run in track(runs, "Analysing the networks", transient=True):
        analyse(run, data_dir)
    output = study.folder if output_dir is None else Path(output_dir).expanduser()
    page = _page(study, output)
    files.write_text(output / run_folder.REPORT, page)
    return output / run_folder.REPORT


def _page(study: Study, output: Path) -> str:
    """Returns the page, and writes its pictures and tables next to it."""
    figures = files.writable_folder(output / run_folder.FIGURES)
    exported = files.writable_folder(output / run_folder.TABLES)
    sections = []
    for section in _SECTIONS:
        made = {make.__name__: make(study) for make in section.tables}
        tables = {name: table for name, table in made.items() if table.rows}
        for name, table in tables.items():
            files.write_text(exported / f"{name}.csv", as_csv(table))
            files.write_text(exported / f"{name}.tex", latex(table))
        drawn = {
            name: save(figure, figures, name)
            for draw in section.pictures
            for name, figure in draw(study).items()
        }
        if tables or drawn:
            sections.append((section, [*tables.values()], drawn))
    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, undefined=jinja2.StrictUndefined
    )
    template = environment.from_string(_TEMPLATE.read_text(encoding="utf-8"))
    return template.render(
        study=study,
        summary=comparison.summary(study),
        sections=sections,
        facts=_facts(study),
        folders=" ".join(shlex.quote(str(each)) for each in study.folders),
    )


def _facts(study: Study) -> dict[str, str]:
    """Returns how the runs were trained."""
    run = study.runs[0]
    versions = run.resolved.get("versions", {})
    facts = {
        "data": run.config.dataset,
        "seeds": ", ".join(map(str, study.variants[0].runs)),
        "test examples scored": str(run.result["test_examples"]),
        "parameters": f"{run.result['parameters']:,}",
        "devices": ", ".join(run.resolved.get("devices", ["not recorded"])),
        "versions": ", ".join(f"{name} {v}" for name, v in versions.items()),
    }
    analysis = study.chosen[0].analyses[0]
    if "examples" in analysis:
        facts["examples analysed"] = (
            f"{analysis['examples']} of test; {analysis['hessian_examples']} of "
            "training for the Hessian"
        )
    return facts | {
        each.name: _differing(each.config, study) for each in study.variants
    }


def _differing(config: TrainingConfig, study: Study) -> str:
    """Returns the settings in which a variant differs from others, or all of them."""
    own = dataclasses.asdict(config)
    others = [dataclasses.asdict(variant.config) for variant in study.variants]
    return ", ".join(
        f"{name} = {value}"
        for name, value in own.items()
        if name not in (*PLACES, "seed")
        and (len(others) == 1 or any(other[name] != value for other in others))
    )
