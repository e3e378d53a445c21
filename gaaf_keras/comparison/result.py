"""The result of a comparison: a verdict in words, tables, pictures."""

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import rich.console
import rich.jupyter
import rich.table
import rich.text
from rich.markup import escape

from gaaf_keras._core.printing import rendered
from gaaf_keras.analysis.statistics import Difference, Spread, decimals_of, signed
from gaaf_keras.comparison.answers import PLAIN, Answer, answers
from gaaf_keras.comparison.records import Run

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_FEW = 5  # pairs; with fewer, intervals are wide
_FEWEST = 3  # pairs for a verdict without a caution
_PERCENT_DECIMALS = 3  # at most
SAME_START = (
    "All runs start from the weights of the given model; seeds differ only in the "
    "order of batches and in dropout."
)
_DIGITS = 4  # at most, of values that are not percentages


class Comparison(rich.jupyter.JupyterMixin):
    """What `gaaf_keras.compare` returns; `print` and notebooks show all of it.

    Attributes:
        runs: One dictionary per run, for your own statistics: `variant`,
            `learning_rate` (the factor), `seed`, `monitor`, `higher` (whether that is
            better), `value` at `best_epoch`, `failed`, `test` where it is shown,
            `epochs`, `seconds`, `history`.
        answers: A `gaaf_keras.comparison.Answer` at the model's own learning rate, and
            another with each variant at its best rate, if several rates were given.
        cautions: Reasons for caution, as sentences.
    """

    def __init__(
        self,
        runs: Sequence[Run],
        factors: Sequence[float],
        notes: Sequence[str] = (),
    ) -> None:
        self.answers = tuple(answers(runs, factors))
        self._factors = sorted(factors)
        shown = {
            run.key
            for answer in self.answers
            for found in answer.runs.values()
            for run in found.values()
            if answer.measured.startswith("test ")
        }
        # Test scores must not choose a learning rate.
        self._runs = [
            run if run.key in shown else dataclasses.replace(run, test=None)
            for run in runs
        ]
        self.cautions = (*self._cautions(), *notes)

    @property
    def runs(self) -> list[dict[str, Any]]:
        """The runs as plain records."""
        return [dataclasses.asdict(run) for run in self._runs]

    @property
    def verdict(self) -> str:
        """What the runs show, one sentence per answer."""
        return "\n".join(map(_sentence, self.answers)) or "No run has ended."

    def plot(self) -> "Figure":
        """Draws the differences and, with several learning rates, values by rate.

        Raises:
            ImportError: If Matplotlib is not installed.
        """
        from gaaf_keras.analysis import figures

        several = len(self._factors) > 1
        count = several + sum(bool(each.differences) for each in self.answers)
        figure, places = figures.panels(max(count, 1))
        if several:
            self._draw_values(places.pop(0))
        for answer in self.answers:
            if answer.differences:
                scale, unit = _scale(answer)
                figures.draw_differences(
                    {k: v.times(scale) for k, v in answer.differences.items()},
                    answer.title,
                    f"{answer.measured} against plain{unit and ','}{unit}",
                    higher_is_better=answer.higher,
                    place=places.pop(0),
                )
        return figure

    def _draw_values(self, place: Any) -> None:
        """Draws the mean value of each variant at each learning rate."""
        from gaaf_keras.analysis import figures

        names = list(dict.fromkeys(run.variant for run in self._runs))
        style_of = figures.styles(names)
        lines = []
        for name in names:
            means = {
                factor: Spread.of(values).mean
                for factor in self._factors
                if (
                    values := [
                        run.value
                        for run in self._runs
                        if (run.variant, run.learning_rate) == (name, factor)
                        and run.value is not None
                    ]
                )
            }
            points = list(means), list(means.values())
            lines.append(figures.Line(*points, name, style_of[name], marked=True))
        monitor = next((run.monitor for run in self._runs if run.monitor), "")
        title = "By learning rate, without failed runs"
        x_label = "factor on the learning rate"
        figures.draw(lines, title, x_label, monitor, log_x=True, place=place)

    def _cautions(self) -> list[str]:
        found = []
        pairs = [d.n for answer in self.answers for d in answer.differences.values()]
        if pairs and min(pairs) < _FEW:
            found.append(f"{_about_seeds(min(pairs))} Give seeds={_FEW} or more.")
        monitor = next((run.monitor for run in self._runs if run.monitor), "val_")
        if not monitor.startswith("val_"):
            found.append(
                "There is no validation data: the comparison shows how well the "
                "training data is learned."
            )
        if len(self._factors) > 1 and self.answers:
            answer = self.answers[-1]
            ends = {self._factors[0], self._factors[-1]}
            names = [name for name in answer.runs if answer.learning_rate(name) in ends]
            if names and answer.title.startswith("Each"):
                found.append(best_at_an_end(names))
        return found

    def __rich__(self) -> rich.console.Group:
        lines = [self.verdict, *(f"Caution: {each}" for each in self.cautions)]
        return rich.console.Group(
            *(rich.text.Text(line) for line in lines), *map(_table, self.answers)
        )

    def __str__(self) -> str:
        return rendered(self)

    __repr__ = __str__


def best_at_an_end(names: Sequence[str]) -> str:
    """Returns the caution about variants whose best learning rate may lie beyond."""
    return (
        f"Best at the lowest or highest learning rate tried: {', '.join(names)}. A "
        "better rate may lie beyond."
    )


def _about_seeds(pairs: int) -> str:
    if pairs == 1:
        return "Only 1 seed: it is not known how much runs differ by chance."
    text = f"Only {pairs} seeds: a difference that is not shown may still exist"
    if pairs < _FEWEST:
        text += f", and a difference shown by {pairs} is weak evidence"
    return f"{text}."


def _scale(answer: Answer) -> tuple[float, str]:
    """Returns the factor by which values are multiplied for display, and the unit."""
    name = answer.measured.rsplit(maxsplit=1)[-1].removeprefix("val_")
    return (100.0, " points") if "accuracy" in name or name == "acc" else (1.0, "")


def _sentence(answer: Answer) -> str:
    """Returns what an answer shows, and no more."""
    plain = answer.runs.get(PLAIN, {})
    if not plain:
        return _joined(answer, ["there is no plain model to compare with"])
    if failed := answer.failed(PLAIN):
        text = f"plain failed in {failed} of {_runs(len(plain))}"
        return _joined(answer, [f"{text}, so no variant is compared with it"])
    parts = [text for name in answer.runs if (text := _about(answer, name))]
    others = [name for name in answer.differences if not answer.effect(name)]
    if len(answer.runs) == 1:
        parts.append("there is nothing to compare it with")
    elif others and all(answer.differences[name].n == 1 for name in others):
        parts.append("one run of each cannot show a difference")
    elif others:
        subject = "no other variant shows" if parts else "no variant shows"
        parts.append(f"{subject} a difference")
    return _joined(answer, parts)


def _about(answer: Answer, name: str) -> str:
    """Returns what is shown about a variant, if anything."""
    if failed := answer.failed(name):
        return f"{name} failed in {failed} of {_runs(len(answer.runs[name]))}"
    effect = answer.effect(name)
    if not effect:
        return ""
    scale, unit = _scale(answer)
    difference = answer.differences[name].times(scale)
    few = ", with only two pairs" if difference.n < _FEWEST else ""
    return f"{name} {effect}{few} ({_in_words(difference, unit)})"


def _joined(answer: Answer, parts: list[str]) -> str:
    return f"{answer.title} ({answer.measured}): {'; '.join(parts)}."


def _runs(count: int) -> str:
    return f"{count} run{'s' * (count != 1)}"


def _in_words(difference: Difference, unit: str) -> str:
    low, high = difference.low, difference.high
    assert low is not None
    assert high is not None
    decimals = _decimals(difference, unit)
    mean, low_text, high_text = (
        signed(value, decimals) for value in (difference.mean, low, high)
    )
    if difference.identical:
        return f"{mean}{unit} in each of {difference.n} pairs"
    return f"{mean}{unit}, corrected 95 % interval {low_text} to {high_text}"


def _decimals(difference: Difference, unit: str) -> int:
    """Returns as many decimals as the result needs, but no more than anyone reads."""
    bounds = (difference.mean, difference.low, difference.high)
    largest = max(abs(value) for value in bounds if value is not None)
    most = _PERCENT_DECIMALS if unit else decimals_of(largest, _DIGITS)
    return min(difference.decimals, most)


def _table(answer: Answer) -> rich.table.Table:
    scale, unit = _scale(answer)
    table = rich.table.Table(
        title=answer.title,
        title_justify="left",
        caption=f"{escape(answer.measured)}{unit and ', % and'}{unit}: mean (standard "
        "deviation, n − 1). Differences pair runs with the same seed; intervals "
        "(95 %, Student’s t) and p are corrected for the number of variants (Holm).",
        caption_justify="left",
    )
    table.add_column("variant")
    for title in ("rate", "runs", "failed", escape(answer.measured)):
        table.add_column(title, justify="right")
    for title in ("difference", "p"):
        table.add_column(title)
    differing = [
        difference.times(scale)
        for difference in answer.differences.values()
        if not difference.identical
    ]
    means = [abs(each.mean) for name in answer.runs if (each := answer.spread(name))]
    usual = 2 if unit else decimals_of(max(means, default=0.0), _DIGITS)
    decimals = max((_decimals(each, unit) for each in differing), default=usual)
    decimals = max(decimals if unit else min(decimals, usual), 1)
    for name, runs in answer.runs.items():
        spread = answer.spread(name)
        value = "–"
        if spread is not None:
            value = f"{scale * spread.mean:.{decimals}f}"
            if spread.standard_deviation is not None:
                value += f" ({scale * spread.standard_deviation:.{decimals}f})"
        difference = answer.differences.get(name)
        found = ["–", "–"]
        if difference is not None:
            p = difference.p
            difference = difference.times(scale)
            text = difference.with_decimals(_decimals(difference, unit), exactly=True)
            found = [text, "–" if p is None else f"{p:.3g}"]
        table.add_row(
            *(escape(name), f"{answer.learning_rate(name):g}x", str(len(runs))),
            *(str(answer.failed(name)), value, *found),
        )
    return table
