"""What the runs show: at the model's own learning rate, and at each variant's best."""

import dataclasses
import math
import statistics
from collections.abc import Mapping, Sequence

from gaaf_keras.analysis.statistics import Difference, Spread, paired_differences
from gaaf_keras.comparison.records import Run

PLAIN = "plain"


@dataclasses.dataclass(frozen=True)
class Answer:
    """Variants compared with the plain model, each at one learning rate.

    Attributes:
        title: The learning rate in words, as the beginning of a sentence.
        measured: The value compared, such as `"val_accuracy"`.
        higher: Whether a higher value is better.
        runs: The runs, by variant (plain first) and seed.
        differences: For each variant, its mean difference from plain over pairs with
            the same seed, with an interval and a p-value corrected for the number of
            variants. Missing if there is no pair, or if the variant or plain failed.
    """

    title: str
    measured: str
    higher: bool
    runs: Mapping[str, Mapping[int, Run]]
    differences: Mapping[str, Difference]

    def values(self, variant: str) -> dict[int, float]:
        """Returns the finite values of a variant by seed, without runs that failed."""
        is_test = self.measured.startswith("test ")
        found = {
            seed: run.test if is_test else run.value
            for seed, run in self.runs[variant].items()
        }
        return {
            seed: value
            for seed, value in found.items()
            if value is not None and math.isfinite(value)
        }

    def spread(self, variant: str) -> Spread | None:
        """Returns the mean and deviation of a variant's values; None without values."""
        values = list(self.values(variant).values())
        return Spread.of(values) if values else None

    def learning_rate(self, variant: str) -> float:
        """Returns the factor on the model's own rate."""
        return next(iter(self.runs[variant].values())).learning_rate

    def failed(self, variant: str) -> int:
        """Returns how many runs of a variant failed."""
        return sum(run.failed for run in self.runs[variant].values())

    def effect(self, variant: str) -> str:
        """Returns `"helps"`, `"harms"`, or `""` if no difference is shown."""
        difference = self.differences.get(variant)
        if difference is None or difference.direction == "not shown":
            return ""
        return "helps" if (difference.direction == "higher") == self.higher else "harms"


def answers(runs: Sequence[Run], factors: Sequence[float]) -> list[Answer]:
    """Returns what the runs show.

    Args:
        runs: The runs, those of the plain model first.
        factors: The planned learning rates of each variant.

    Returns:
        The answer at the model's own rate, if it is among the factors; and the answer
        at the best rate of each variant, if there are several.
    """
    several = len(factors) > 1
    found = []
    names = dict.fromkeys(run.variant for run in runs)
    if not several or 1 in factors:
        factor = 1 if several else factors[0]
        title = "At the model's own learning rate"
        if factor != 1:
            title = f"At {factor:g} times the model's own learning rate"
        at_it = {name: _at(runs, name, factor) for name in names}
        found.append(_answer(title, at_it, tested=not several))
    if several:
        chosen = {
            name: _at(runs, name, best_rate(runs, name, factors)) for name in names
        }
        found.append(_answer("Each at its own best learning rate", chosen, tested=True))
    return [answer for answer in found if answer.runs]


def best_rate(
    runs: Sequence[Run], variant: str, factors: Sequence[float]
) -> float | None:
    """Returns the best learning rate of a variant, by the values that chose epochs.

    It has the fewest failed runs and, among these, the best mean over the seeds that
    all rates have. None without such a seed.
    """
    by_rate = {factor: _at(runs, variant, factor) for factor in factors}
    seeds = set.intersection(*(set(found) for found in by_rate.values()))
    if not seeds:
        return None

    def loss(factor: float) -> tuple[int, float]:
        found = [by_rate[factor][seed] for seed in sorted(seeds)]
        values = [run.value for run in found if run.value is not None]
        mean = statistics.fmean(values) if values else math.inf
        higher = any(run.higher for run in found if not run.failed)
        return sum(run.failed for run in found), -mean if higher else mean

    return min(factors, key=loss)


def _at(runs: Sequence[Run], variant: str, factor: float | None) -> dict[int, Run]:
    return {
        run.seed: run
        for run in runs
        if (run.variant, run.learning_rate) == (variant, factor)
    }


def _answer(
    title: str, runs: Mapping[str, Mapping[int, Run]], *, tested: bool
) -> Answer:
    runs = {name: found for name, found in runs.items() if found}
    known = [run for found in runs.values() for run in found.values() if run.monitor]
    reached = [run for run in known if not run.failed]
    monitor = next((run.monitor for run in known), "")
    if tested and any(run.test is not None for run in reached):
        monitor = f"test {monitor.removeprefix('val_')}"
    answer = Answer(title, monitor, any(run.higher for run in reached), runs, {})
    if PLAIN not in runs or answer.failed(PLAIN):
        return answer
    plain = answer.values(PLAIN)
    pairs = {}
    for name in runs:
        values = answer.values(name)
        seeds = [seed for seed in plain if seed in values]
        if name != PLAIN and seeds and not answer.failed(name):
            pairs[name] = [values[s] for s in seeds], [plain[s] for s in seeds]
    return dataclasses.replace(answer, differences=paired_differences(pairs))
