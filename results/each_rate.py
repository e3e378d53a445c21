"""Every variant against the plain network at the learning rates that somebody has."""

import dataclasses
import functools
import itertools
from collections.abc import Collection

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from parts import machines, recorded

from experiments import UsageError
from experiments.records.studies import Run, Variant
from experiments.report import comparison
from experiments.tables import Table
from gaaf_keras.analysis import Difference, paired_difference

# The records of the pairs (`drop_in_NAME`) and of what chose the rates (`rate_NAME`).
NETWORKS = {
    "tanh MLP": "tanh_mlp",
    "tanh, 12 hidden layers": "tanh_deep",
    "ReLU MLP": "relu_mlp",
    "ReLU residual MLP": "relu_resmlp",
    "ReLU CNN": "relu_cnn",
    "ReLU CNN, batch norm": "relu_cnn_batch_norm",
    "LSTM": "lstm",
}
VARIANTS = ("unit gain", "strength 0.3", "one-sided", "paper's form", "gates")
FACTORS = {
    0.5: "at half of plain's best rate",
    1.0: "at plain's best rate",
    2.0: "at twice plain's best rate",
}
_OF_ONE_NETWORK = ("gates",)  # not in the picture
_INK = "#1f2328"  # which figures.save turns into the colour of the text around it
_COLOURS = {"better": "#2a7fd4", "worse": "#d98200", "fails": "#cf4a12"}
_VERDICTS = (
    *("better", "no difference shown", "worse", "fails", "plain fails"),
    "not compared",
)
_CHANCE = 0.1  # the accuracy of guessing one of ten classes


@dataclasses.dataclass(frozen=True)
class Outcome:
    """A variant against the plain network with the same rate and seeds.

    Attributes:
        difference: Of test accuracies, in percentage points, of the pairs in which
            neither failed; None if there are fewer than two.
        failed: How many runs of the variant failed.
        plain_failed: How many of the plain network.
        pairs: How many pairs there are.
    """

    difference: Difference | None
    failed: int
    plain_failed: int
    pairs: int

    @property
    def verdict(self) -> str:
        """What this shows."""
        if 2 * self.plain_failed > self.pairs:
            return "plain fails"
        if self.failed > self.plain_failed:
            return "fails"
        if self.difference is None:
            return "not compared"
        return comparison.verdict(self.difference, ("better", "worse"))

    def __str__(self) -> str:
        found = "–"
        if self.difference is not None and 2 * self.failed <= self.pairs:
            shown = self.difference.direction != "not shown"
            found = f"{'**' * shown}{self.difference.with_decimals(2)}{'**' * shown}"
        if self.failed or self.plain_failed:
            found += f" (failed: {self.failed}, plain {self.plain_failed})"
        return found


def lengths(name: str) -> list[int]:
    """Returns for how many epochs a network is trained, the shorter first."""
    return sorted({v.config.epochs for v in recorded(f"drop_in_{name}").variants})


@functools.cache
def best_rate(name: str, epochs: int) -> float:
    """Returns the best rate of the plain network by validation accuracy.

    Raises:
        UsageError: If none was tried beyond it.
    """
    means = {
        variant.config.learning_rate: sum(variant.values("validation_accuracy"))
        for variant in recorded(f"rate_{name}").variants
        if variant.config.epochs == epochs
    }
    best = max(means, key=means.__getitem__)
    if best in (min(means), max(means)):
        raise UsageError(
            f"rate_{name}: the best rate for {epochs} epochs, {best:g}, is at the edge "
            "of those tried. Try more."
        )
    return best


def outcome(name: str, epochs: int, factor: float, variant: str) -> Outcome:
    """Returns what a variant does at a rate.

    Args:
        name: The network, as in `NETWORKS`.
        epochs: How long it is trained.
        factor: The rate, relative to the plain network's best.
        variant: One of `VARIANTS` that the network has.
    """
    rate = best_rate(name, epochs) * factor
    ours, plain = (_variant(name, each, epochs, rate) for each in (variant, "plain"))
    seeds = sorted(set(ours.runs) & set(plain.runs))
    pairs = [(ours.runs[seed], plain.runs[seed]) for seed in seeds]
    whole = [pair for pair in pairs if not any(map(_failed, pair))]
    difference = None
    if len(whole) > 1:
        scores = ([100 * run.result["test_accuracy"] for run in pair] for pair in whole)
        difference = paired_difference(*zip(*scores, strict=True))
    failed = [sum(map(_failed, runs)) for runs in zip(*pairs, strict=True)]
    return Outcome(difference, *failed, len(pairs))


def has(name: str, variant: str) -> bool:
    """Whether a network has a variant."""
    return any(_kind(each) == variant for each in recorded(f"drop_in_{name}").variants)


def table() -> Table:
    """Returns every network and variant, a column a rate."""
    rows = [
        [
            f"{title}, {epochs} epochs",
            f"{best_rate(name, epochs):g}",
            _accuracy(name, epochs),
            variant,
            *(str(outcome(name, epochs, factor, variant)) for factor in FACTORS),
        ]
        for title, name in NETWORKS.items()
        for epochs in lengths(name)
        for variant in VARIANTS
        if has(name, variant)
    ]
    return Table(
        ["network", "plain's best rate", "plain, test %", "variant", *FACTORS.values()],
        rows,
        "Mean difference in test accuracy from the plain network with the same rate "
        "and seed, in percentage points, and its 95 % interval (t), bold where the "
        "interval excludes 0. Pairs in which either run failed are left out; a dash "
        "means that more than half of the variant's runs failed. A run fails if its "
        "loss is not finite or its accuracy is below twice that of guessing.",
    )


def picture() -> dict[str, Figure]:
    """Returns every network and variant at every rate, a coloured cell each."""
    shown = [variant for variant in VARIANTS if variant not in _OF_ONE_NETWORK]
    rows = [
        (f"{title}, {epochs} epochs", name, epochs)
        for title, name in NETWORKS.items()
        for epochs in lengths(name)
    ]
    columns = len(shown) * len(FACTORS)
    figure = Figure(figsize=(8.8, 0.6 + 0.28 * len(rows)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for (place, variant), (step, factor) in itertools.product(
        enumerate(shown), enumerate(FACTORS)
    ):
        for row, (_, name, epochs) in enumerate(rows):
            if has(name, variant):
                x = place * len(FACTORS) + step
                _draw_cell(axes, x, row, outcome(name, epochs, factor, variant))
    for place in range(1, len(shown)):
        x = place * len(FACTORS) - 0.5
        axes.axvline(x, color=_INK, linewidth=0.7)
    axes.set_xlim(-0.5, columns - 0.5)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_yticks(range(len(rows)), [title for title, _, _ in rows])
    axes.set_xticks(range(columns), ["½", "1", "2"] * len(shown))
    axes.xaxis.tick_top()
    axes.tick_params(length=0, labelsize=9, labelcolor=_INK)
    for place, variant in enumerate(shown):
        middle = place * len(FACTORS) + 1
        axes.text(middle, -1.4, variant, ha="center", color=_INK, fontsize=10)
    axes.spines[:].set_visible(False)
    return {"all": figure}


def _draw_cell(axes: Axes, x: int, y: int, found: Outcome) -> None:
    colour = _COLOURS.get(found.verdict)
    if colour is not None:
        cell = ((x - 0.47, y - 0.44), 0.94, 0.88)
        axes.add_patch(Rectangle(*cell, facecolor=colour, alpha=0.45, linewidth=0))
    text = f"fails {found.failed}" if found.verdict == "fails" else "–"
    if found.difference and "fails" not in found.verdict:
        mean = round(found.difference.mean, 1)
        text = f"{mean:+.1f}".replace("-", "−") if mean else "0.0"
    axes.text(x, y, text, ha="center", va="center", fontsize=8, color=_INK)


def made_by() -> str:
    """Returns on what the runs were, and their commands."""
    studies = [
        recorded(f"{kind}_{name}")
        for name in NETWORKS.values()
        for kind in ("rate", "drop_in")
    ]
    runs = sum(len(study.runs) for study in studies)
    commands = "\n".join(study.command for study in studies)
    return f"{runs:,} runs, on {machines(studies)}:\n\n```bash\n{commands}\n```"


def says(
    verdict: str, name: str, variant: str, epochs: int, factor: float = 1.0
) -> str:
    """Returns by how much a variant differs, if that is what a page says of it.

    Raises:
        UsageError: If the records show something else.
    """
    found = outcome(name, epochs, factor, variant)
    if found.verdict != verdict or found.difference is None:
        raise UsageError(
            f"drop_in_{name}: '{variant}' at {factor:g} times the best rate of "
            f"{epochs} epochs is said to be '{verdict}', and the records show "
            f"'{found.verdict}'. Change the words of the page."
        )
    return found.difference.with_decimals(2)


def summary() -> Table:
    """Returns how often each variant is better, worse, or fails, a column a rate."""
    return Table(
        ["variant", *FACTORS.values()],
        [
            [variant, *(_counts(variant, factor) for factor in FACTORS)]
            for variant in VARIANTS
        ],
        "",
    )


def counts(variant: str, *factors: float) -> dict[str, int]:
    """Returns how often each verdict on a variant comes out at some rates."""
    found = [
        outcome(name, epochs, factor, variant).verdict
        for name in NETWORKS.values()
        if has(name, variant)
        for epochs in lengths(name)
        for factor in factors
    ]
    return {verdict: found.count(verdict) for verdict in _VERDICTS}


def where(variant: str, verdict: str, *factors: float) -> str:
    """Returns in which networks a verdict on a variant comes out, and how often."""
    found = []
    for title, name in NETWORKS.items():
        times = sum(
            outcome(name, epochs, factor, variant).verdict == verdict
            for epochs in (lengths(name) if has(name, variant) else ())
            for factor in factors
        )
        if times:
            found.append(title if times == 1 else f"{title}: both lengths")
    return "; ".join(found) or "none"


def largest_loss(variant: str, factor: float, left_out: Collection[str] = ()) -> str:
    """Returns the largest difference by which a variant is worse, and in what network.

    Args:
        variant: The variant.
        factor: The rate, relative to the plain network's best.
        left_out: Titles of networks to leave out.

    Raises:
        UsageError: If it fails more often than the plain network.
    """
    if counts(variant, factor)["fails"]:
        raise UsageError(
            f"'{variant}' is said not to fail at {factor:g} times plain's best rate, "
            f"and it does in: {where(variant, 'fails', factor)}. Change the words of "
            "the page."
        )
    losses = [
        (each.difference, title)
        for title, name in NETWORKS.items()
        if has(name, variant) and title not in left_out
        for epochs in lengths(name)
        if (each := outcome(name, epochs, factor, variant)).difference
        and each.verdict == "worse"
    ]
    worst, title = min(losses, key=lambda loss: loss[0].mean)
    return f"{worst.with_decimals(2)} ({title})"


def _counts(variant: str, factor: float) -> str:
    found = counts(variant, factor).items()
    return ", ".join(f"{count} {verdict}" for verdict, count in found if count)


def _accuracy(name: str, epochs: int) -> str:
    plain = _variant(name, "plain", epochs, best_rate(name, epochs))
    return comparison.mean(plain, "test_accuracy")


def _variant(name: str, kind: str, epochs: int, rate: float) -> Variant:
    for each in recorded(f"drop_in_{name}").variants:
        close = abs(each.config.learning_rate / rate - 1) < 1e-6  # noqa: PLR2004
        if _kind(each) == kind and each.config.epochs == epochs and close:
            return each
    raise UsageError(
        f"drop_in_{name}: no run of '{kind}' with {epochs} epochs at {rate:g}, a rate "
        f"that rate_{name} asks for. Train it with --learning_rate."
    )


def _kind(variant: Variant) -> str:
    return variant.name.partition(", learning rate ")[0]


def _failed(run: Run) -> bool:
    return run.diverged or run.result["test_accuracy"] < 2 * _CHANCE
